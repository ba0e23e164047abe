"""The pages of documentation as tests read them: headings, links, code blocks, commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.conftest import ROOT

#: Every page that a reader of the project is sent to, in both languages.
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
KOREAN = ".ko.md"

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def name_of(page: Path) -> str:
    """The path of a page as the project writes it."""
    return str(page.relative_to(ROOT))


def korean(page: Path) -> Path:
    """The Korean twin of an English page, which need not exist."""
    return page.with_name(page.stem + KOREAN)


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return FENCED.sub("", page.read_text("utf-8"))


def headings(page: Path) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    return [(len(marks), text) for marks, text in re.findall(r"^(#+) (.+)$", prose(page), re.M)]


def anchors(page: Path) -> list[str]:
    """The fragment that GitHub gives each heading: lower case, punctuation dropped, spaces as hyphens."""
    return [re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in headings(page)]


def links(page: Path) -> list[str]:
    """The targets of a page's links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def code_blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each code block, without comments, which are translated."""
    blocks = FENCED.findall(page.read_text("utf-8"))
    return [(language, re.sub(r"(^|[ \t]+)#.*", "", code, flags=re.M)) for language, code in blocks]


def commands(page: Path, with_word: str = "") -> list[list[str]]:
    """The shell commands of a page, word by word: those of the blocks in which ``with_word`` stands."""
    code = "".join(code for language, code in code_blocks(page) if language == "bash" and with_word in code)
    return [words for line in code.replace("\\\n", " ").splitlines() if (words := shlex.split(line))]
