"""Korean text: what of a row is text, and its Unicode forms, as it is compared and as it is written."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from tasks.errors import RowError

#: Letters as people type them one by one (ㅋ, U+314B), by what NFKC makes of them (U+110F), which belongs into a syllable.
_TYPED = {unicodedata.normalize("NFKC", letter): letter for letter in map(chr, range(0x3131, 0x318F))}
del _TYPED["\u1160"]  # a filler

#: A syllable of old Hangul, which has no code point of its own, or a letter that stands in no syllable.
_LETTERS = re.compile("[\u1100-\u115f][\u1160-\u11a7][\u11a8-\u11ff]?|[\u1100-\u11ff]")

#: Letters to Unicode that no Korean reader takes for one: the middle dot that old keyboards have, and fillers.
_NO_LETTERS = frozenset("\u318d\u119e\u115f\u1160\u3164\uffa0")


def nfc(text: str) -> str:
    """``text`` with every Hangul syllable as one code point. macOS and some web pages write it as two or three."""
    return unicodedata.normalize("NFC", text)


def as_typed(text: str) -> str:
    """``text`` in NFC, with letters that stand alone as people type them: ㅋㅋㅋ is U+314B, not the look-alike U+110F.

    KoGPT2's tokenizer reads text in NFKC, so that its model writes the look-alike, which no search for ㅋㅋㅋ finds.
    """
    return _LETTERS.sub(lambda found: _TYPED.get(found.group(), found.group()), nfc(text))


def comparable(text: str) -> str:
    """``text`` in the one form that metrics compare: NFKC (5㎞ is 5km, ① is 1), letters that stand alone as typed."""
    return as_typed(unicodedata.normalize("NFKC", text))


def holds_a_word(text: str) -> bool:
    """Whether there is a letter or a digit in ``text``: not in the middle dot ㆍ, which ``str.isalnum`` takes for one."""
    return any(
        character.isalnum() and unicodedata.category(character) != "Lm" and character not in _NO_LETTERS
        for character in text
    )


def unusable_character(text: str) -> str | None:
    """What in ``text`` later stages cannot write, and where; None if there is nothing.

    NUL ends strings in C code further down; half of a surrogate pair cannot be written as UTF-8.
    """
    if "\0" not in text:
        try:
            text.encode()  # much faster than a search
            return None
        except UnicodeEncodeError:
            pass
    found = re.search("[\0\ud800-\udfff]", text)
    what = "a NUL character" if found.group() == "\0" else "half of a surrogate pair (such as \\ud83d)"
    return f"{what}, as character {found.start() + 1}"


def text_of(row: dict[str, Any], column: str) -> str:
    """The text in ``row[column]``, in NFC: a Mac writes a syllable as two or three characters, which tokenizers spell out.

    Raises:
        RowError: the value is missing, empty, not text, or cannot be written again. Numbers are not converted: a column
            that mixes them with text usually comes from a spreadsheet.
    """
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowError(f"column {column!r} is empty; fill it, or drop such rows with --skip_bad_rows", "no_text")
    if not isinstance(value, str):
        way_out = "join it into one text" if isinstance(value, (list, dict)) else "put it in quotes"
        raise RowError(f"column {column!r} holds {type(value).__name__} {str(value)[:40]!r}, not text; {way_out}", "no_text")
    if found := unusable_character(value):
        raise RowError(f"column {column!r} holds {found}; remove it", "unusable_character")
    return nfc(value)
