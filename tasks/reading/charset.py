"""In which encoding a text file is written: UTF-8, UTF-16 or UTF-32 with a mark, or CP949 (which contains EUC-KR)."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator

from tasks.errors import UserError

CHUNK = 1 << 20

#: Characters in a line. A file without a line break is read as one line, and may be larger than memory.
LINE_LIMIT = 1 << 26

#: ASCII without control characters other than tab and line breaks.
_TYPED = frozenset(map(chr, [9, 10, 13, *range(32, 127)]))

#: Byte order mark, codec of what follows it, codec of the whole file, name for humans. The mark of UTF-16 begins UTF-32's.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "utf-32", "UTF-32"),
    (codecs.BOM_UTF8, "utf-8", "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16", "UTF-16"),
)


def encoding_of(path: str) -> str:
    """The name of the codec that reads the whole of ``path`` without an error.

    UTF-8 is tried first because text in another encoding practically never happens to be valid UTF-8. The reverse does
    not hold: UTF-8 with a few broken bytes can be valid CP949, so CP949 has to look like Korean too.

    Raises:
        UserError: the file is in none of these encodings; names the line and the byte.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(4)
    for mark, codec, whole, title in MARKS:
        if start.startswith(mark):
            broken = first_error(path, codec, skip=len(mark))
            if broken is None:
                return whole
            raise UserError(_message(path, f"begins as {title} but has", *broken))
    unmarked = _utf16_without_mark(path)
    if unmarked:
        raise UserError(
            f"{path}: the file is {unmarked} without the mark that says so; save it as UTF-8: iconv -f {unmarked} -t UTF-8"
        )
    broken = first_error(path, "utf-8")
    if broken is None:
        return "utf-8"
    if _is_korean(path):
        broken_cp949 = first_error(path, "cp949")
        if broken_cp949 is None:
            return "cp949"
        raise UserError(_message(path, "is Korean CP949 (EUC-KR) but has", *broken_cp949))
    raise UserError(_message(path, "is neither UTF-8 nor Korean CP949: it has", *broken))


def _message(path: str, what: str, offset: int, line: int) -> str:
    return f"{path} line {line}: the file {what} a broken byte at offset {offset}; mend it, or save the file as UTF-8"


def first_error(path: str, codec: str, skip: int = 0) -> tuple[int, int] | None:
    """Byte offset (from 0) and line (from 1) of the first byte that ``codec`` cannot decode; None where all is well.

    ``skip`` bytes at the beginning (a byte order mark) are not decoded. The file is read in chunks, as it may be larger
    than memory. A chunk of nothing but NUL counts as broken: so look holes that a crash left, which may be terabytes long.
    """
    decoder = codecs.getincrementaldecoder(codec)("strict")
    offset, lines = skip, 0
    with open(path, "rb") as file:
        file.seek(skip)
        while True:
            chunk = file.read(CHUNK)
            if chunk and not chunk.strip(b"\0"):
                return offset, lines + 1
            held = len(decoder.getstate()[0])  # the beginning of a character that the last chunk cut in two
            try:
                lines += decoder.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                lines += error.object[: error.start].decode(codec, "ignore").count("\n")
                return offset - held + error.start, lines + 1
            if not chunk:
                return None
            offset += len(chunk)


def lines_of(path: str, encoding: str, newline: str | None = None) -> Iterator[str]:
    """The lines of a text file with their line breaks; ``newline`` as in ``open``.

    Raises:
        UserError: a line is longer than LINE_LIMIT.
    """
    with open(path, encoding=encoding, newline=newline) as file:
        number = 0
        while line := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(line) > LINE_LIMIT:
                raise UserError(f"{path} line {number}: longer than {LINE_LIMIT:,} characters; break the line")
            yield line


def _utf16_without_mark(path: str) -> str | None:
    """UTF-16LE or UTF-16BE where the beginning of ``path`` makes sense as that: Hangul and ASCII nearly alone."""
    with open(path, "rb") as file:
        start = file.read(CHUNK & ~1)
    if b"\0" not in start:  # a text has spaces or line breaks
        return None
    for name in ("UTF-16LE", "UTF-16BE"):
        text = start.decode(name, "replace")
        if sum("가" <= letter <= "힣" or letter in _TYPED for letter in text) >= 0.9 * len(text):
            return name
    return None


def _is_korean(path: str) -> bool:
    """Whether ``path``, which is not valid UTF-8, is Korean text in CP949, perhaps with a few broken bytes.

    Korean text consists of the 2,350 common syllables of KS X 1001 nearly alone. Bytes of another encoding that happen
    to be valid land among hanja, kana and the 8,822 rare syllables as well. And where dropping the broken bytes leaves
    more Hangul as UTF-8 than there is as CP949, the file is damaged UTF-8.
    """
    common = {bytes((row, cell)).decode("euc_kr") for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF)}
    letters = _foreign_letters(path, "cp949")
    korean = sum(count for letter, count in letters.items() if letter in common)
    as_utf8 = _foreign_letters(path, "utf-8")
    hangul = sum(count for letter, count in as_utf8.items() if "가" <= letter <= "힣")
    return korean > hangul and korean >= 0.75 * sum(letters.values())


def _foreign_letters(path: str, codec: str) -> Counter[str]:
    """How often each letter outside ASCII occurs; what ``codec`` cannot decode is left out."""
    letters: Counter[str] = Counter()
    with open(path, encoding=codec, errors="ignore") as file:
        while chunk := file.read(CHUNK).strip("\0"):  # a hole ends what there is to see
            letters.update(chunk)
    return Counter({letter: count for letter, count in letters.items() if letter.isalpha() and not letter.isascii()})
