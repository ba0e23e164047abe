"""An owner's edits of a card: generated sections are written again, everything else stays."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import yaml
from huggingface_hub.repocard_data import yaml_dump

from tasks.publishing.metadata import is_of_a_run

#: Opening mark, body, closing mark. No mark stands in a body: one that was never closed must not take the owner's text up
#: to the next section. Bounded, because half a megabyte of half marks would take minutes otherwise.
SECTION = re.compile(
    r"<!-- generated:(?P<name>[\w-]{1,80})[^>\n]{0,300}-->[ \t]{0,80}\n"
    r"(?P<body>(?:(?!<!-- /?generated:).)*?)\n?<!-- /generated:(?P=name) -->",
    re.DOTALL,
)
#: The sections that the card was given, so that one that its owner removed is not put back.
INDEX = re.compile(r"<!-- model card sections: (?P<names>[\w, -]{0,2000});[^>\n]{0,300}-->\n?")
#: The Hub allows empty lines in front of it.
FRONT = re.compile(r"\A\s*---[ \t]*\n(?P<yaml>(?:.*?\n)??)---[ \t]*(\n|\Z)", re.DOTALL)

#: Metadata that only a run can know: an old value does not stay.
OF_THE_RUN = ("base_model", "base_model_relation", "model-index")
#: Metadata that belongs to one licence and leaves with it.
OF_A_LICENSE = ("license_name", "license_link")


def split_front(card: str) -> tuple[str, str]:
    """The YAML of the front matter ("" where there is none) and the text after it, lines ended by \\n."""
    card = card.removeprefix("\ufeff").replace("\r\n", "\n")  # what editors on Windows write
    match = FRONT.match(card)
    return (match["yaml"], card[match.end() :]) if match else ("", card)


def read_front(card: str) -> dict[str, Any]:
    """The metadata of a card, empty if it cannot be read: the Hub could not read it either."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        """Nodes with every alias written out: a few lines of merges can stand for billions."""
        if id(node) not in sizes:
            sizes[id(node)] = 0
            inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
            sizes[id(node)] = 1 + (0 if isinstance(node, yaml.ScalarNode) else sum(map(size, inner)))
        return sizes[id(node)]

    try:
        front = split_front(card)[0]
        values = yaml.safe_load(front) if size(yaml.compose(front)) < 100_000 else None
    except Exception:  # not YAML, or a value that its reader chokes on, such as the date 2024-13-45
        values = None
    return values if isinstance(values, dict) else {}


def note_sections(card: str) -> str:
    """``card`` with the names of its sections in its index."""
    index = INDEX.search(card)
    names = [match["name"] for match in SECTION.finditer(card)]
    return card.replace(index[0], _renamed(index, names), 1) if index else card


def by_task(card: str, cards: Mapping[str, str], names: Collection[str]) -> str:
    """``card`` with the sections ``names`` of the ``cards`` of several tasks {task: card}, each under the task's name.

    Above its results stands the last paragraph of the task's summary, which says how good it is.
    """
    found: dict[str, list[str]] = {}
    for task, own in cards.items():
        bodies = {match["name"]: match["body"].strip("\n") for match in SECTION.finditer(own)}
        for name in bodies.keys() & names:
            heading, _, body = bodies[name].partition("\n")
            told = bodies["summary"].split("\n\n")[2:] if name == "results" and "summary" in bodies else []
            found.setdefault(name, [heading]).extend([f"### {task}", *told, body.strip("\n")])

    def joined(match: re.Match[str]) -> str:
        start, end = (place - match.start() for place in match.span("body"))
        parts = "\n\n".join(found.get(match["name"], [match["body"]]))
        return f"{match[0][:start]}{parts}{match[0][end:]}"

    return SECTION.sub(joined, card)


def owner_text(card: str) -> str:
    """What is neither generated nor metadata, without empty lines and spaces at line ends."""
    text = INDEX.sub("", SECTION.sub("", split_front(card)[1]))
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def owner_results(card: str) -> list[dict[str, Any]]:
    """The results in ``model-index`` that no run has written, each with those of its metrics that no run has."""
    found = []
    for model in _mappings(read_front(card).get("model-index")):
        for result in _mappings(model.get("results")):
            metrics = [metric for metric in _mappings(result.get("metrics")) if not is_of_a_run(result, metric)]
            found += [result | {"metrics": metrics}] if metrics else []
    return found


def keep_edits(owners: str | None, generated: str) -> str:
    """The generated card with the text and the extra metadata of its owner.

    - A section stands where the owner has it; one whose marks were taken away belongs to the owner, and stays away.
    - A section that the card never had comes after the one that precedes it in the template.
    - A card without any marks, such as one written by hand, keeps all of its text, and the sections follow it.
    - Metadata that is generated is replaced; lists keep what the owner added, other keys stay.
    - Results that no run has written stay.
    """
    if not owners or not owners.strip():
        return generated
    text, new_text = split_front(owners)[1], split_front(generated)[1]
    sections = {match["name"]: match[0] for match in SECTION.finditer(new_text)}
    earlier = {match["name"]: match["body"] for match in SECTION.finditer(text)}
    index, new_index = INDEX.search(text), INDEX.search(new_text)
    known = _listed_names(index)
    removed = [name for name in known if name not in earlier]
    # A section without content is removed with its marks, and returns when it has some.
    merged = SECTION.sub(lambda match: sections.get(match["name"], ""), INDEX.sub("", text, count=1))
    order = list(sections)
    for place, name in enumerate(order):
        if name not in earlier and name not in known:
            merged = _insert(merged, sections[name], order[:place])
    mark = new_index or index
    first = _renamed(mark, [*(_listed_names(new_index) or order), *removed]).rstrip() + "\n\n" if mark else ""
    metadata = _merge_metadata(read_front(owners), read_front(generated), earlier.get("data", ""), owner_results(owners))
    rest = merged.lstrip("\n").rstrip()
    return f"---\n{metadata}---\n{first}{rest}\n"


def _insert(text: str, section: str, before: list[str]) -> str:
    """Insert ``section`` after the last of ``before``, else in front of all sections, else at the end."""
    ends = {match["name"]: match.end() for match in SECTION.finditer(text)}
    first = SECTION.search(text)
    place = next((ends[name] for name in reversed(before) if name in ends), first.start() if first else len(text))
    after = text[place:].lstrip("\n")
    return f"{text[:place].rstrip()}\n\n{section}\n\n{after}"


def _listed_names(index: re.Match[str] | None) -> list[str]:
    return re.findall(r"[\w-]+", index["names"]) if index else []


def _renamed(index: re.Match[str], names: list[str]) -> str:
    start, end = (place - index.start() for place in index.span("names"))
    return index[0][:start] + ", ".join(dict.fromkeys(names)) + index[0][end:]


def _merge_metadata(theirs: dict[str, Any], ours: dict[str, Any], data_section: str, results: list[dict[str, Any]]) -> str:
    """The YAML of both. Owners may add keys, tags, languages, results, and data sets that the old card does not name."""
    other_license = "license" in ours and ours["license"] != theirs.get("license")
    if results:
        model = (ours.get("model-index") or _mappings(theirs["model-index"]))[0]
        own = model["results"] if "model-index" in ours else []
        own += [result for result in results if result not in own]
        ours["model-index"] = [{"name": model.get("name"), "results": own}]
    measured = [metric.get("type") for result in results for metric in result["metrics"]]
    theirs["metrics"] = [kind for kind in listed(theirs.get("metrics")) if kind in measured]
    for key, value in theirs.items():
        if key in ("tags", "language", "datasets", "metrics"):
            spoken_of = data_section if key == "datasets" else ""
            old = listed(ours.get(key))
            added = [item for item in listed(value) if item not in old and f"/datasets/{item})" not in spoken_of]
            joined = old + added
            if joined:
                ours[key] = joined if len(joined) > 1 or isinstance(ours.get(key, []), list) else joined[0]
        elif key not in ours and key not in OF_THE_RUN and not (key in OF_A_LICENSE and other_license):
            ours[key] = value
    return yaml_dump(ours, sort_keys=False, line_break="\n")


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def listed(value: Any) -> list[Any]:
    """What a card may write as one value or as a list of them."""
    return value if isinstance(value, list) else [] if value is None else [value]
