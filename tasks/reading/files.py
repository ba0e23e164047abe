"""Data files of the user -> rows: found by path or glob, each read by its type."""

from __future__ import annotations

import contextlib
import difflib
import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from tasks.errors import UserError, skip_counts
from tasks.reading.delimited import read_table
from tasks.reading.json_rows import read_json, read_jsonl
from tasks.reading.parquet_rows import read_parquet
from tasks.reading.rows import Row, checked
from tasks.reading.txt_units import TABLE, read_txt
from tasks.reading.values import EMPTY_TAIL
from tasks.reading.workbooks import read_xlsx
from tasks.text import nfc, unusable_character

logger = logging.getLogger(__name__)

#: Names of files that tell which split they are.
SPLIT_NAMES = re.compile(r"(^|[^a-z])(?:(train|training)|(valid|validation|val|dev|test|eval))($|[^a-z])", re.IGNORECASE)


def read_rows(pattern: str) -> Iterator[Row]:
    """Every row of the file, or of every file of the folder or glob. Raises as ``find_files`` and ``read_files``."""
    yield from read_files(find_files(pattern))


def read_files(
    paths: Iterable[str],
    *,
    txt_unit: str = "line",
    skip: bool = False,
    counts: Counter[str] | None = None,
    reader: Callable[[str], Iterator[Row | UserError]] | None = None,
) -> Iterator[Row]:
    """Every row of one file after another, its text as it is written: not stripped, not normalised.

    ``txt_unit`` is what a text of a .txt is: a line, a paragraph, the file, or a row of a table. Empty rows at the end of a
    table are left out. With ``skip`` damaged rows are, too. ``counts`` says how many. ``reader`` is another than that of the
    file's type.

    Raises UserError on an empty or unreadable file, and a damaged row.
    """
    counts = Counter() if counts is None else counts
    for path in paths:
        found = False
        empty: list[Row] = []
        read = reader or reader_of(path, txt_unit)
        table = suffix_of(path) in (".csv", ".tsv", ".xlsx") or (suffix_of(path) == ".txt" and txt_unit == TABLE)
        try:
            if os.path.getsize(path) == 0:
                raise UserError(f"{path} is empty; give a file that has rows")
            for row in read(path):
                try:
                    if isinstance(row, UserError):
                        raise row
                    checked(row)
                except UserError as error:
                    if not skip:
                        raise
                    counts.update(skip_counts([error]))
                    logger.debug("%s", error)
                    continue
                if table and all(value is None or value == "" for value in row.values.values()):
                    empty.append(row)
                    continue
                found = True
                yield from empty
                empty.clear()
                yield row
        except UnicodeDecodeError:  # the whole file could be decoded a moment ago
            raise UserError(f"{path} was changed while it was read; run again when it is written") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}; check the file") from None
        except MemoryError:
            raise UserError(f"{path} needs more memory than there is; split it into several files") from None
        if not found:
            raise UserError(f"{path} holds no rows; give a file that has some")
        counts[EMPTY_TAIL] += len(empty)


def find_files(pattern: str) -> list[str]:
    """The paths that ``pattern`` stands for, sorted; each is a file of a known type. Raises UserError where it is not.

    A folder stands for its files of a known type, those in its folders too.
    """
    pattern = os.path.expanduser(pattern)
    if not os.path.lexists(pattern):  # a Mac writes names in decomposed Hangul
        folder, name = os.path.split(pattern)
        with contextlib.suppress(OSError, ValueError):
            same = (each for each in os.listdir(folder or ".") if nfc(each) == nfc(name))
            pattern = next((os.path.join(folder, each) for each in same), pattern)
    literal = pattern
    while literal and not os.path.lexists(literal):  # before the glob: a real name may hold brackets
        literal = os.path.dirname(literal)
    escaped = glob.escape(literal) + pattern[len(literal) :]
    if os.path.isdir(pattern):
        paths = _of_folder(pattern)
    elif os.path.lexists(pattern):
        paths = [pattern]
    elif glob.has_magic(pattern):
        paths = sorted(path for path in set(glob.glob(escaped, recursive=True)) if not os.path.isdir(path))
        if not paths:
            raise UserError(f"no file matches {pattern}; check the name and the folder (now in {os.getcwd()})")
    else:
        raise UserError(f"there is no file {pattern}{_neighbours(pattern)}")
    for path in paths:
        reader_of(path)
        if not os.path.isfile(path):
            raise UserError(f"{path} is not a regular file; save the data to one first")
        if unusable_character(path):  # as in archives that were packed under Korean Windows
            raise UserError(f"{path!a}: the name of the file is not UTF-8; rename it")
    return paths


def _of_folder(folder: str) -> list[str]:
    """Its files that can be read. Raises UserError where there is none, or they are those of several splits."""
    paths = glob.glob(os.path.join(glob.escape(folder), "**", "*"), recursive=True)  # without hidden ones
    known = sorted(path for path in paths if os.path.isfile(path) and suffix_of(path) in READERS)
    if not known:
        raise UserError(f"{folder} is a folder without a file that is read; those that are: {', '.join(READERS)}")
    splits = {}
    for path in known:
        if match := SPLIT_NAMES.search(os.path.relpath(path, folder)):
            splits.setdefault(match[2] is not None, path)
    if len(splits) > 1:
        reason = f"{folder} holds files of several splits, {splits[True]} and {splits[False]}"
        raise UserError(f"{reason}; name those of one, each with its own flag, or give the folder as --dataset")
    others = sum(os.path.isfile(path) for path in paths) - len(known)
    logger.info("%s: %d files%s", folder, len(known), f", and {others} of other types, which are not read" * bool(others))
    return known


def suffix_of(path: str) -> str:
    """The file type of ``path``: ``.csv``."""
    return os.path.splitext(path)[1].lower()


def reader_of(path: str, txt_unit: str = "line") -> Callable[[str], Iterator[Row | UserError]]:
    """What reads a file of the type of ``path``: yields rows, and the errors of those that may be skipped.

    Raises UserError where nothing does.
    """
    suffix = suffix_of(path)
    if suffix not in READERS:
        raise UserError(f"{path}: the file type is not known; those that are read: {', '.join(READERS)}")
    if suffix == ".txt":
        return partial(read_table, "\t") if txt_unit == TABLE else partial(read_txt, txt_unit)
    return READERS[suffix]


def _neighbours(path: str) -> str:
    """What the user may have meant: the files beside ``path`` with a similar name."""
    folder, name = os.path.split(path)
    try:
        close = difflib.get_close_matches(name, os.listdir(folder or "."), n=3)
    except (OSError, ValueError):  # ValueError: the name holds a NUL
        return f"; there is no folder {folder} either"
    if close:
        return "; did you mean " + " or ".join(os.path.join(folder, other) for other in close) + "?"
    return f"; nothing in {os.path.abspath(folder or '.')} has a similar name"


READERS = {
    ".csv": partial(read_table, ","),
    ".tsv": partial(read_table, "\t"),
    ".xlsx": read_xlsx,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".jsonlines": read_jsonl,
    ".txt": partial(read_txt, "line"),
    ".parquet": read_parquet,
}
