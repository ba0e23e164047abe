"""Keep what the owner of a card wrote: generated sections are replaced, everything else stays."""

from __future__ import annotations

import re
from typing import Any

#: Opening mark, body, closing mark. The opening mark may say more before its end.
SECTION = re.compile(r"<!-- generated:(?P<name>[\w-]+)[^>]*-->\n(?P<body>.*?)\n?<!-- /generated:(?P=name) -->", re.DOTALL)
#: Which sections the card has ever had, so that one which its owner took out is not put back.
INDEX = re.compile(r"<!-- model card sections: (?P<names>[\w, -]*);[^>]*-->\n?")
FRONT = re.compile(r"\A---[ \t]*\r?\n(?P<yaml>.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)

#: Metadata that only a run can know: without a new value the old one is no longer true.
OF_THE_RUN = ("base_model", "base_model_relation", "metrics", "model-index")


def split_front(card: str) -> tuple[str, str]:
    """The YAML of the front matter ("" where there is none) and the text after it."""
    match = FRONT.match(card)
    return (match["yaml"], card[match.end() :]) if match else ("", card)


def owner_text(card: str) -> str:
    """What is neither generated nor metadata, white space at line ends and empty lines aside."""
    text = INDEX.sub("", SECTION.sub("", split_front(card)[1]))
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def merge_cards(owners: str | None, generated: str) -> str:
    """The generated card with the text and the extra metadata of its owner.

    - A section stands where the owner has it; one whose marks were taken away belongs to the owner, and stays away.
    - A section that the card never had comes after the one that precedes it in the template.
    - A card without any marks, such as one written by hand, keeps all of its text, and the sections follow it.
    - Metadata that is generated is replaced; lists keep what the owner added, other keys stay.
    """
    if not owners or not owners.strip():
        return generated
    front, text = split_front(owners.replace("\r\n", "\n"))
    new_front, new_text = split_front(generated)
    sections = {match["name"]: match[0] for match in SECTION.finditer(new_text)}
    earlier = {match["name"]: match["body"] for match in SECTION.finditer(text)}
    index, new_index = INDEX.search(text), INDEX.search(new_text)
    known = re.split(r",\s*", index["names"]) if index else []
    # A section that has nothing to say any more leaves with its marks.
    merged = SECTION.sub(lambda match: sections.get(match["name"], ""), INDEX.sub("", text, count=1))
    order = list(sections)
    for place, name in enumerate(order):
        if name not in earlier and name not in known:
            merged = _insert(merged, sections[name], order[:place])
    mark = ""
    if new_index:
        names = dict.fromkeys([*re.split(r",\s*", new_index["names"]), *filter(None, known)])
        mark = new_index[0].replace(new_index["names"], ", ".join(names)) + "\n"
    return f"---\n{_merge_metadata(front, new_front, earlier.get('data', ''))}---\n{mark}{merged.strip()}\n"


def _insert(text: str, section: str, before: list[str]) -> str:
    """``section`` after the last section of ``before``, or in front of all sections, or at the end of a text without."""
    ends = {match["name"]: match.end() for match in SECTION.finditer(text)}
    first = SECTION.search(text)
    place = next((ends[name] for name in reversed(before) if name in ends), first.start() if first else len(text))
    return f"{text[:place].rstrip()}\n\n{section}\n\n{text[place:].lstrip()}"


def _merge_metadata(owners: str, generated: str, data_section: str) -> str:
    """The YAML of both. Owners may add keys, tags, languages, and data sets (those that the old card does not speak of).

    Metadata of theirs that cannot be read is dropped: the Hub could not read it either.
    """
    import yaml
    from huggingface_hub.repocard_data import yaml_dump

    try:
        theirs = yaml.safe_load(owners)
    except yaml.YAMLError:
        theirs = None
    ours: dict[str, Any] = yaml.safe_load(generated)
    for key, value in theirs.items() if isinstance(theirs, dict) else ():
        if key in ("tags", "language", "datasets"):
            spoken_of = data_section if key == "datasets" else ""
            old = _listed(ours.get(key))
            joined = old + [item for item in _listed(value) if item not in old and f"`{item}`" not in spoken_of]
            if joined:
                ours[key] = joined if len(joined) > 1 or isinstance(ours.get(key, []), list) else joined[0]
        elif key not in ours and key not in OF_THE_RUN:
            ours[key] = value
    return yaml_dump(ours, sort_keys=False, line_break="\n")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
