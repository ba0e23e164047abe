"""In which encoding a text file is written: UTF-8, UTF-16, UTF-32 with a mark, or CP949 (which contains EUC-KR)."""

from __future__ import annotations

import codecs
import re
from itertools import islice
from typing import TextIO

from tasks.errors import UserError

#: Bytes on either side of a broken one that tell a damaged UTF-8 file from one in CP949.
SAMPLE = 1 << 16

#: Half of the syllables of any Korean text are among these.
COMMON = frozenset("이다는에의가고을하지은도사한로기대나해를인어자리시아서정스제일들있수그게보전장면으구과주라부여만")

#: Byte order mark -> codec of the file, codec that reads the mark as a character. The mark of UTF-16 begins UTF-32's.
MARKS = {
    codecs.BOM_UTF32_LE: ("utf-32", "utf-32-le"),
    codecs.BOM_UTF32_BE: ("utf-32", "utf-32-be"),
    codecs.BOM_UTF8: ("utf-8-sig", "utf-8"),
    codecs.BOM_UTF16_LE: ("utf-16", "utf-16-le"),
    codecs.BOM_UTF16_BE: ("utf-16", "utf-16-be"),
}


def open_text(path: str, newline: str | None = None) -> TextIO:
    """The file opened for reading in its own encoding; ``newline`` as in ``open``. Raises as ``encoding_of``."""
    return open(path, encoding=encoding_of(path), newline=newline)


def first_line(path: str, skip: int = 0) -> str:
    """The first line that is not blank, or its beginning, after ``skip`` others. Only the start of the file is read."""
    with open(path, "rb") as file:
        start = file.read(SAMPLE)
    codec = _names(start)[0]
    try:
        text = codecs.getincrementaldecoder(codec)().decode(start)  # it may end inside of a character
    except UnicodeDecodeError:
        text = start.decode("cp949", "ignore")
    return next(islice((line for line in re.split("\r\n?|\n", text) if line.strip()), skip, None), "")


def encoding_of(path: str) -> str:
    """The name of the codec that reads the whole of ``path`` without an error.

    UTF-8 is tried first because text in another encoding practically never happens to be valid UTF-8. The reverse does
    not hold: damaged UTF-8, Chinese and Japanese can be valid CP949, so that is tried for what they look like in it.

    Raises UserError with the line and the byte where the file is in none of these encodings.
    """
    with open(path, "rb") as file:
        encoding, codec = _names(file.read(SAMPLE))
    begins = f"begins as {encoding.removesuffix('-sig').upper()} but has"
    problem = begins if encoding != "utf-8" else "is neither UTF-8 nor Korean CP949: it has"
    broken = _first_error(path, codec)
    if broken and encoding == "utf-8":
        wrong = _first_error(path, "cp949")
        if _looks_korean(path, broken[0], whole=wrong is None):
            encoding, problem, broken = "cp949", "is Korean CP949 (EUC-KR) but has", wrong
    if broken:
        what = f"{problem} a broken byte at offset {broken[0]}"
        raise UserError(f"{path} line {broken[1]}: the file {what}; mend it, or save the file as UTF-8")
    return encoding


def _names(start: bytes) -> tuple[str, str]:
    """What ``MARKS`` says of a file's first bytes; without a mark UTF-16 where that is certain, else UTF-8.

    In UTF-16 each space and line break has a NUL byte, which no sound file in UTF-8 or CP949 holds. Where there is one, and
    the other byte order and encodings would be a jumble, nearly all characters are ASCII or Hangul, as in Korean text.
    """
    if names := next((names for mark, names in MARKS.items() if start.startswith(mark)), None):
        return names
    for codec in ("utf-16-le", "utf-16-be") if b"\0" in start else ():
        text = codecs.getincrementaldecoder(codec)("ignore").decode(start)
        syllables = [letter for letter in text if "가" <= letter <= "힣"]
        usual = sum(len(letter.encode("euc_kr", "ignore")) == 2 for letter in syllables)
        known = usual + sum("\u3131" <= letter <= "\u318e" or " " <= letter <= "~" or letter in "\t\r\n" for letter in text)
        if known >= 0.8 * len(text) and usual >= 0.75 * len(syllables):
            return codec, codec
    return "utf-8", "utf-8"


def _first_error(path: str, codec: str) -> tuple[int, int] | None:
    """Byte offset (from 0) and line (from 1) of the first byte that ``codec`` cannot decode; None where all is well."""
    lines = 0
    with open(path, encoding=codec, newline="\n") as file:
        try:
            for _ in file:
                lines += 1
        except UnicodeDecodeError as error:  # in the block that was read last
            before = error.object[: error.start].decode(codec, "ignore").count("\n")
            return file.buffer.tell() - len(error.object) + error.start, lines + before + 1
    return None


def _looks_korean(path: str, offset: int, *, whole: bool) -> bool:
    """Whether the text around ``offset``, where it is not valid UTF-8, is Korean in CP949, perhaps with broken bytes.

    Where there is as much Hangul as UTF-8, the file is damaged UTF-8. A ``whole`` (valid) file may hold anything:
    hanja alone, a chat's single jamo. Then only what gives another encoding away counts: syllables outside of the 2,350 of
    KS X 1001 (Johab), jamo that nobody writes (the kana of EUC-JP), hanja amid syllables that are seldom those that Korean
    mostly consists of (GBK). A file with broken bytes has to consist of the 2,350 nearly alone.
    """
    with open(path, "rb") as file:
        file.seek(max(0, offset - SAMPLE))
        sample = file.read(2 * SAMPLE)
    letters = [letter for letter in sample.decode("cp949", "ignore") if letter.isalpha() and not letter.isascii()]
    syllables = [letter for letter in letters if "가" <= letter <= "힣"]
    usual = [letter for letter in syllables if len(letter.encode("euc_kr", "ignore")) == 2]
    hangul = sum("가" <= letter <= "힣" for letter in sample.decode("utf-8", "ignore"))
    if not whole:
        return len(usual) > hangul and len(usual) >= 0.75 * len(letters)
    old = sum("\u3165" <= letter <= "\u318e" and letter != "\u318d" for letter in letters)  # ㆍ is a middle dot
    hanja = sum("\u4e00" <= letter <= "\u9fff" or "\uf900" <= letter <= "\ufaff" for letter in letters)
    common = sum(letter in COMMON for letter in usual)
    chinese = hanja > 0.1 * len(letters) and common < 0.2 * len(usual)
    unusual = len(syllables) - len(usual)
    return len(letters) >= 2 * hangul and unusual <= 0.25 * len(letters) and old <= 0.05 * len(letters) and not chinese
