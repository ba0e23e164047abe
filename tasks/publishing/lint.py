"""What is wrong with a model card before it is published: a list, whatever the text, and never an exception.

The card is printed by our own template and huggingface_hub parses its metadata. What is checked is what its owner's edits
may add or remove, and what a run could not know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from huggingface_hub import ModelCard

from tasks.errors import UserError
from tasks.publishing.edits import SECTION, listed
from tasks.publishing.license import LICENSES, nearest
from tasks.publishing.secrets import excerpt, find_private, find_secrets

CARD = "README.md"
REQUIRED = {
    "language": "write language: ko",
    "license": "name one by its id on the Hub, such as cc-by-nc-sa-4.0",
    "pipeline_tag": "write pipeline_tag: text-generation",
    "library_name": "write library_name: transformers",
}

_NOTES = "|".join(["TO" + "DO", "FIX" + "ME", "TB" + "D", "TBA"])
#: What a card says where nobody wrote anything yet.
_PLACEHOLDER = re.compile(
    rf"(?<![A-Za-z0-9_])(?:{_NOTES})(?![A-Za-z0-9_])"
    r"|more information needed|lorem ipsum|coming soon|to be (?:added|determined|written|filled in)"
    r"|(?<![A-Za-z0-9])your[-_](?:user-?_?name|name|model|org|organization|repo|token|hub|project)(?![A-Za-z0-9])"
    r"|<\s?your\b[^>\n]{0,40}>?|<(?:user_?name|repo_?id|repo_?name|model_?id|model_?name|hub_?id)>"
    r"|(?:내용을|여기에) ?(?:입력|작성)(?:하세요|하십시오|해 ?주세요|$|(?=[^가-힣]))"
    r"|(?:작성|기재) ?예정(?![가-힣])|추가 정보 필요",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(r"\{\{-? ?[A-Za-z_][^{}\n]{0,200}\}\}|\{%-? [^{}\n]{0,200}%\}")
_MARK = re.compile(r"<!--[ \t]{0,5}(/?generated:[\w.-]{0,80})[^>\n]{0,300}?-->")
_IMAGE = re.compile(
    r"!\[[^\]\n]{0,500}\]\([ \t]{0,5}<?([^)\s>]{1,1000})"
    r"|<img\b[^>\n]{0,500}?\bsrc[ \t]{0,5}=[ \t]{0,5}[\"']([^\"'\n]{1,1000})",
    re.IGNORECASE,
)
#: A block of code: its fence, what stands after the fence, and the code. One that is never closed ends with the card.
_CODE = re.compile(
    r"^ {0,3}(?P<fence>(`|~)\2{2,})(?P<language>[^`\n]*)(?:\n|\Z)(?P<code>.*?)(?:^[ \t]*(?P=fence)\2*[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PYTHON = re.compile(r"\s*[{.]{0,2}py(?:thon3?)?\b", re.IGNORECASE)
#: The line of the card (from 0) and what is wrong there; None where something is missing.
Found = Iterator[tuple[int | None, str]]


def lint_path(path: Path, repo_id: str | None = None) -> list[str]:
    """What is wrong with the card ``path``, or with the README.md of the folder ``path``.

    Raises:
        UserError: there is no card, or it is not UTF-8.
    """
    path = Path(path)
    card = path / CARD if path.is_dir() else path
    try:
        text = card.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{card}: not UTF-8 (byte {error.start + 1}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{card}: no model card to read ({error.strerror}); name a {CARD} or its folder") from None
    return lint_card(text, name=card.name, folder=card.parent, repo_id=repo_id)


def lint_card(text: str, *, name: str = CARD, folder: Path | None = None, repo_id: str | None = None) -> list[str]:
    """What is wrong with the card ``text``, one line a finding, in the order of the card's lines.

    ``folder`` holds the images that it shows; ``repo_id`` is where it goes, and what its example has to load.
    """
    if not text.strip():
        return [f"{name}: the card is empty"]
    found: list[tuple[int | None, str]] = []
    if text.startswith("\ufeff"):
        found.append((0, "a byte order mark hides the metadata; save it as UTF-8 without one"))
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    opening = next((i for i, line in enumerate(lines) if line.strip()), 0)
    closing = next((i for i in range(opening + 1, len(lines)) if lines[i].rstrip(" \t") == "---"), None)
    if lines[opening] != "---" or closing is None:
        found.append((opening, "no metadata; the first line is ---, then comes YAML, then --- again"))
        closing = opening - 1
    else:
        found += _check_metadata("\n".join(lines), lines[:closing], opening + 1)
    body = "\n".join(lines[closing + 1 :])
    prose = re.sub(r"`[^`\n]+`", "code", _CODE.sub(lambda block: "\n" * block[0].count("\n"), body))
    prose = "\n" * (closing + 1) + prose  # each line where it stands in the card
    found += [*_check_words(lines, prose), *_check_private(lines, repo_id), *_check_images(prose, folder)]
    found += _check_marks(prose)
    loads = rf"(?<![\w./-]){re.escape(repo_id)}(?![\w-]|[./]\w)" if repo_id else r"from_pretrained\(|pipeline\("
    if not any(_PYTHON.match(block["language"]) and re.search(loads, block["code"]) for block in _CODE.finditer(body)):
        what = excerpt(repo_id or "a model")
        found.append((None, f"no python block loads {what}; show how, so that a reader can copy it"))
    order = sorted(dict.fromkeys(found), key=lambda item: -1 if item[0] is None else item[0])
    places = [name if line is None else f"{name} line {line + 1}" for line, _ in order]
    return [" ".join(f"{place}: {message}".split()) for place, (_, message) in zip(places, order)]


def _check_metadata(text: str, lines: list[str], first: int) -> Found:
    """What huggingface_hub does not read or a card lacks. The metadata is ``lines[first:]``; the Hub checks the rest."""

    def line_of(key: str) -> int | None:
        return next((i for i, line in enumerate(lines) if re.match(rf"{key}[ \t]*:", line)), None)

    try:
        data = ModelCard(text, ignore_metadata_errors=False).data
    except Exception as error:  # whatever it raises, the Hub's own tools would
        mark = getattr(error, "problem_mark", None)
        said = excerpt(getattr(error, "problem", None) or error or type(error).__name__, 200)
        yield mark and first + mark.line, f"huggingface_hub does not read the metadata: {said}"
        return
    for key, advice in REQUIRED.items():
        if not data.get(key):
            yield None, f"{key} is missing; {advice}"
    if data.get("language") and "ko" not in listed(data.get("language")):
        yield line_of("language"), "language does not name ko, which every task here is about"
    license = data.get("license")
    if license and str(license) not in LICENSES:
        advice = nearest(str(license)[:100].lower())
        yield line_of("license"), f"license {excerpt(license)} is not a licence id of the Hub{advice}"
    elif license == "other" and not (data.get("license_name") and data.get("license_link")):
        yield line_of("license"), "license other needs license_name and license_link"


def _check_words(lines: list[str], prose: str) -> Found:
    """Placeholders, in metadata and code too. ``{{...}}`` in code may be BibTeX, so it counts in prose only."""
    for i, (line, text) in enumerate(zip(lines, prose.split("\n"), strict=True)):
        for match in (_PLACEHOLDER.search(line), _TEMPLATE.search(text)):
            if match:
                yield i, f"the placeholder {excerpt(match[0])}; write what is meant or take it out"


def _check_private(lines: list[str], repo_id: str | None) -> Found:
    """Secrets, and what reveals a machine or a person."""
    text, owner = "\n".join(lines), (repo_id or "").split("/")[0].lower()
    kinds = find_secrets(text)
    for i, line in enumerate(lines) if kinds else ():
        for kind in find_secrets(line):
            kinds = [other for other in kinds if other != kind]
            yield i, f"a secret ({kind}); take it out, and revoke it where others saw it"
    for kind in kinds:  # its name and its value stand on two lines
        yield None, f"a secret ({kind}); take it out, and revoke it where others saw it"
    for i, line in enumerate(lines) if find_private(text) else ():
        for kind, what in find_private(line):
            if what.lower() != owner:  # who publishes as minsu may be called minsu
                yield i, f"{kind} {what}; take it out, it tells about one machine or person"


def _check_images(prose: str, folder: Path | None) -> Found:
    """Images that the folder does not hold."""
    for match in _IMAGE.finditer(prose):
        i, link = prose.count("\n", 0, match.start()), match[1] or match[2]
        target = unquote(re.split(r"[?#]", link)[0])
        if re.match(r"(?:https?:)?//|data:|#", link, re.IGNORECASE):
            continue
        if target.startswith("/") or ".." in target.split("/") or ":" in target:
            yield i, f"the image {excerpt(link)} is outside of the folder; copy it there and write its name alone"
        elif folder is not None and not os.path.isfile(os.path.join(folder, target)):
            yield i, f"the image {excerpt(link)} is missing in the folder"


def _check_marks(prose: str) -> Found:
    """Marks of generated sections without their counterpart: the next release would write such a section a second time."""
    outside = SECTION.sub(lambda section: "\n" * section[0].count("\n"), prose)
    for match in _MARK.finditer(outside):
        i = outside.count("\n", 0, match.start())
        yield i, f"the mark {match[1]} has no counterpart; restore it, or take this one out as well"
