"""What is wrong with a model card, before it is published: a list, whatever the text, and never an exception."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from huggingface_hub import ModelCard

from tasks.errors import UserError
from tasks.publishing.lint_metadata import Metadata
from tasks.publishing.secrets import excerpt, find_private, find_secrets

CARD = "README.md"

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
_MARKER = re.compile(r"<!--[ \t]{0,5}(/?)generated:([\w.-]{0,80})([^>\n]{0,300}?)-->")
_IMAGE = re.compile(
    r"!\[[^\]\n]{0,500}\]\([ \t]{0,5}<?([^)\s>]{1,1000})"
    r"|<img\b[^>\n]{0,500}?\bsrc[ \t]{0,5}=[ \t]{0,5}[\"']([^\"'\n]{1,1000})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: ``where`` is the file and, where it is at one, the line."""

    where: str
    message: str

    def __str__(self) -> str:
        return " ".join(f"{self.where}: {self.message}".split())


@dataclass
class _Code:
    """A code block: the line of its fence (from 0), the words after the fence, and what is inside."""

    line: int
    info: str
    lines: list[str] = field(default_factory=list)
    closed: bool = False


def lint_path(path: Path, repo_id: str | None = None) -> list[Finding]:
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
    return _lint(text, card.name, card.parent, repo_id)


def lint_card(text: str, *, folder: Path | None = None, repo_id: str | None = None) -> list[Finding]:
    """What is wrong with the card ``text``, in the order of its lines.

    ``folder`` holds the images that it shows; ``repo_id`` is where it goes, and what its example has to load.
    """
    return _lint(text, CARD, folder, repo_id)


def _lint(text: str, name: str, folder: Path | None, repo_id: str | None) -> list[Finding]:
    found: list[tuple[int | None, str]] = []
    if text.startswith("\ufeff"):
        found.append((0, "a byte order mark hides the metadata; save it as UTF-8 without one"))
        text = text[1:]
    lines = re.split(r"\r\n|\r|\n", text)
    body = 0
    opening = next((i for i, line in enumerate(lines) if line.strip()), None)
    if opening is None:
        return [Finding(name, "the card is empty")]
    closing = next((i for i in range(opening + 1, len(lines)) if lines[i].rstrip(" \t") == "---"), None)
    if lines[opening] != "---":
        found.append((opening, "no metadata; the first line is ---, then comes YAML, then --- again"))
    elif closing is None:
        found.append((opening, "the metadata that opens here is never closed by ---"))
    else:
        body = closing + 1
        of_metadata = Metadata("\n".join(lines[opening + 1 : closing])).found
        found += [(None if line is None else line + opening + 1, message) for line, message in of_metadata]
        if not of_metadata:
            found += _check_loading(text)
    prose, blocks = _split_code(lines, body)
    found += _check_words(lines, blocks)
    found += _check_private(text, lines, repo_id)
    found += _check_python(blocks, repo_id)
    found += _check_images(prose, folder)
    found += _check_sections(prose)
    found += _check_headings(prose)
    order = sorted(dict.fromkeys(found), key=lambda item: -1 if item[0] is None else item[0])
    return [Finding(name if line is None else f"{name} line {line + 1}", message) for line, message in order]


def _check_loading(text: str) -> Iterator[tuple[None, str]]:
    try:
        ModelCard(text, ignore_metadata_errors=False)
    except Exception as error:  # whatever it raises, the Hub's own tools would
        yield None, f"huggingface_hub does not read the metadata: {excerpt(error or type(error).__name__, 200)}"


def _split_code(lines: list[str], start: int) -> tuple[list[str], list[_Code]]:
    """The lines with all code (and the metadata, above ``start``) taken out, and the code blocks."""
    prose, blocks, fence = [""] * start, [], ""
    for i in range(start, len(lines)):
        opening = re.match(r" {0,3}(`{3,}|~{3,})(.*)", lines[i])
        if fence:
            bare = lines[i].strip()
            if len(bare) >= len(fence) and set(bare) == {fence[0]}:
                fence, blocks[-1].closed = "", True
            else:
                blocks[-1].lines.append(lines[i])
            prose.append("code")
        elif opening and "`" not in opening[2]:
            fence = opening[1]
            blocks.append(_Code(i, opening[2].strip()))
            prose.append("code")
        else:
            prose.append(re.sub(r"`[^`\n]+`", "code", lines[i]))
    return prose, blocks


def _check_words(lines: list[str], blocks: list[_Code]) -> Iterator[tuple[int, str]]:
    """Placeholders, in the metadata and in code too; ``{{...}}`` is also how BibTeX keeps capitals."""
    bibtex = {block.line + i for block in blocks for i in range(len(block.lines) + 1) if _is_bibtex(block)}
    for i, line in enumerate(lines):
        for pattern in (_PLACEHOLDER, *([] if i in bibtex else [_TEMPLATE])):
            match = pattern.search(line)
            if match:
                yield i, f"the placeholder {excerpt(match[0])}; write what is meant or take it out"


def _is_bibtex(block: _Code) -> bool:
    return block.info.lower().startswith(("bib", "tex", "latex")) or "".join(block.lines[:1]).lstrip().startswith("@")


def _check_private(text: str, lines: list[str], repo_id: str | None) -> Iterator[tuple[int | None, str]]:
    kinds = find_secrets(text)
    for i, line in enumerate(lines) if kinds else ():
        for kind in find_secrets(line):
            kinds = [other for other in kinds if other != kind]
            yield i, f"a secret ({kind}); take it out, and revoke it where others saw it"
    for kind in kinds:  # its name and its value stand on two lines
        yield None, f"a secret ({kind}); take it out, and revoke it where others saw it"
    owner = (repo_id or "").split("/")[0].lower()
    for i, line in enumerate(lines) if find_private(text) else ():
        for kind, what in find_private(line):
            if what.lower() != owner:  # who publishes as minsu may be called minsu
                yield i, f"{kind} {what}; take it out, it tells about one machine or person"


def _check_python(blocks: list[_Code], repo_id: str | None) -> Iterator[tuple[int | None, str]]:
    """Code that does not run, and no code that loads the model."""
    for block in blocks:
        if not block.closed:
            yield block.line, "the code block that opens here is never closed"
    sources = [
        (block, "\n".join(block.lines)) for block in blocks if re.match(r"[{.]{0,2}py(?:thon3?)?\b", block.info, re.I)
    ]
    for block, source in sources:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(source)
        except SyntaxError as error:
            line = block.line + min(max(error.lineno or 0, 0), len(block.lines))
            yield line, f"python that does not parse: {excerpt(error.msg, 100)}"
        except (ValueError, RecursionError, MemoryError) as error:
            yield block.line, f"python that does not parse: {excerpt(error or type(error).__name__, 100)}"
    if repo_id:
        loads, what = rf"(?<![\w./-]){re.escape(repo_id)}(?![\w-]|[./]\w)", repo_id
    else:
        loads, what = r"[\"'][\w.-]{1,96}/[\w.-]{1,96}[\"']|from_pretrained\(|pipeline\(", "a model"
    if not any(re.search(loads, source) for _, source in sources):
        yield None, f"no python block loads {excerpt(what)}; show how, so that a reader can copy it"


def _check_images(prose: list[str], folder: Path | None) -> Iterator[tuple[int, str]]:
    for i, line in enumerate(prose):
        for match in _IMAGE.finditer(line):
            link = match[1] or match[2]
            target = unquote(re.split(r"[?#]", link)[0])
            if re.match(r"(?:https?:)?//|data:|#", link, re.IGNORECASE):
                continue
            if target.startswith("/") or ".." in target.split("/") or ":" in target:
                yield i, f"the image {excerpt(link)} is outside of the folder; copy it there and write its name alone"
            elif folder is not None and not _is_file(folder, target):
                yield i, f"the image {excerpt(link)} is missing in the folder"


def _is_file(folder: Path, name: str) -> bool:
    try:
        return (Path(folder) / name).is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def _check_sections(prose: list[str]) -> Iterator[tuple[int, str]]:
    """Markers of generated sections: balanced, not nested, each name once, and something in between."""
    opened: list[tuple[str, int]] = []
    names: dict[str, int] = {}
    filled = False
    for i, line in enumerate(prose):
        position = 0
        for match in _MARKER.finditer(line):
            filled = filled or _has_text(line[position : match.start()])
            position = match.end()
            name = f"generated:{match[2]}"
            if not match[2]:
                yield i, "a generated section without a name"
            elif not match[1]:
                if opened:
                    yield i, f"{name} opens inside of {opened[-1][0]}, which opened on line {opened[-1][1] + 1}"
                if name in names:
                    yield i, f"{name} was on line {names[name] + 1} already; keep one"
                opened.append((name, i))
                names.setdefault(name, i)
                filled = False
            elif name not in [other for other, _ in opened]:
                yield i, f"/{name} closes what was never opened"
            else:
                while opened[-1][0] != name:
                    yield _unclosed(opened.pop())
                if not filled:
                    yield opened[-1][1], f"{name} is empty; fill it or take it out"
                opened.pop()
                filled = True
        filled = filled or _has_text(line[position:])
    yield from map(_unclosed, opened)


def _unclosed(section: tuple[str, int]) -> tuple[int, str]:
    return section[1], f"{section[0]} is never closed; put <!-- /{section[0]} --> where it ends"


def _has_text(line: str) -> bool:
    return bool(re.sub(r"<!--[^>\n]{0,500}-->", "", line).strip())


def _check_headings(prose: list[str]) -> Iterator[tuple[int, str]]:
    """Headings that the next heading of their level, or the end, follows at once. A smaller heading counts as text."""
    level, at = 0, 0
    lines = [*_without_comments("\n".join(prose)).split("\n"), "# end"]
    for i, line in enumerate(lines):
        match = re.match(r" {0,3}(#{1,6})(?:[ \t]|$)", line)
        if match:
            if level and len(match[1]) <= level:
                yield at, f"the heading {excerpt(lines[at].strip('# '))} has no text under it"
            level, at = len(match[1]), i
        elif line.strip():
            level = 0


def _without_comments(text: str) -> str:
    """``text`` without HTML comments, on the same lines."""
    parts, position = [], 0
    while (start := text.find("<!--", position)) >= 0 and (end := text.find("-->", start)) >= 0:
        parts += [text[position:start], "\n" * text.count("\n", start, end)]
        position = end + 3
    return "".join(parts) + text[position:]
