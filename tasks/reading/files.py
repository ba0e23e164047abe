"""Data files of the user -> rows: found by path or glob, each read by its type."""

from __future__ import annotations

import csv
import difflib
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from tasks.base import unusable_character
from tasks.errors import UserError
from tasks.reading.charset import open_text
from tasks.reading.json_rows import read_json, read_jsonl
from tasks.reading.parquet_rows import read_parquet
from tasks.reading.rows import Row, checked, listed, shown

#: Characters in one cell. Far above any article, low enough that a quote that is never closed cannot fill the memory.
CELL_LIMIT = 1 << 24


def read_rows(pattern: str) -> Iterator[Row]:
    """Every row of the file, or of every file that matches the glob. Raises as ``find_files`` and ``read_files``."""
    yield from read_files(find_files(pattern))


def read_files(paths: Iterable[str]) -> Iterator[Row]:
    """Every row of one file after another, its text as it is written: not stripped, not normalised.

    Raises UserError on an empty or unreadable file, a damaged row, and files whose columns differ.
    """
    first: tuple[str, set[str]] | None = None
    for path in paths:
        columns: set[str] = set()
        try:
            if os.path.getsize(path) == 0:
                raise UserError(f"{path} is empty; give a file that has rows")
            for row in reader_of(path)(path):
                columns.update(row.values)
                yield checked(row)
        except UnicodeDecodeError:  # the whole file could be decoded a moment ago
            raise UserError(f"{path} was changed while it was read; run again when it is written") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}; check the file") from None
        except MemoryError:
            raise UserError(f"{path} needs more memory than there is; split it into several files") from None
        if not columns:
            raise UserError(f"{path} holds no rows; give a file that has some")
        first = first or (path, columns)
        if columns != first[1]:
            has, had = listed(sorted(columns)), listed(sorted(first[1]))
            reason = f"{path} has the columns {has}, but {first[0]} has {had}"
            raise UserError(f"{reason}; give files that have the same columns")


def find_files(pattern: str) -> list[str]:
    """The paths that ``pattern`` stands for, sorted; each is a file of a known type. Raises UserError where it is not."""
    pattern = os.path.expanduser(pattern)
    if os.path.isdir(pattern):
        raise UserError(f"{pattern} is a folder; name the files in it, such as '{os.path.join(pattern, '*.jsonl')}'")
    if os.path.lexists(pattern):  # before the glob: a real name may hold brackets
        paths = [pattern]
    elif glob.has_magic(pattern):
        paths = sorted(path for path in set(glob.glob(pattern, recursive=True)) if not os.path.isdir(path))
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


def suffix_of(path: str) -> str:
    """The file type of ``path``: ``.csv``."""
    return os.path.splitext(path)[1].lower()


def reader_of(path: str) -> Callable[[str], Iterator[Row]]:
    """What reads a file of the type of ``path``. Raises UserError where nothing does."""
    reader = READERS.get(suffix_of(path))
    if reader is None:
        raise UserError(f"{path}: the file type is not known; those that are read: {', '.join(READERS)}")
    return reader


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


def _read_tsv(path: str) -> Iterator[Row]:
    # Spreadsheets quote tsv cells; public Korean sets (KorNLI, NSMC) do not, and begin cells with a bare quotation
    # mark. A file in which every quotation mark makes sense as quoting is quoted.
    quoting = csv.QUOTE_MINIMAL
    try:
        for _ in _read_csv(path, "\t"):
            pass
    except _Ambiguous:
        raise
    except UserError:
        quoting = csv.QUOTE_NONE
    yield from _read_csv(path, "\t", quoting)


class _Ambiguous(UserError):
    """Quotation marks may hold lines together or be text, and the file makes sense either way."""


def _read_csv(path: str, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> Iterator[Row]:
    """Rows of a table with a header. ``where`` is the line of the file where the row begins: cells may span several."""
    csv.field_size_limit(CELL_LIMIT)  # of the whole process; the default, 131,072, is shorter than some articles
    widths: set[int] = set()  # cells of each line if quotation marks meant nothing
    last = ""

    def lines() -> Iterator[str]:
        nonlocal last
        with open_text(path, newline="") as file:
            for last in file:
                if not last.isspace():
                    widths.add(last.count(delimiter) + 1)
                yield last

    reader = csv.reader(lines(), delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] = []
    ends: set[str] = set()
    line, spanning = 1, ""
    try:
        for cells in reader:
            where = f"{path} line {line}"
            if reader.line_num > line:
                spanning = spanning or where
            line = reader.line_num + 1
            ends |= {"\r", "\n"} & set(last[-1:])
            if len(ends) > 1:  # csv.writer of Python 3.11 leaves a \r in a cell without quotes
                problem = "some rows end in a bare carriage return, others do not"
                raise UserError(f"{where}: {problem}; quote cells with line breaks")
            if not cells:  # a blank line
                continue
            if not header:
                header = _header(cells, where)
            elif len(cells) != len(header):
                problem = f"{len(cells)} cells, but the header has {len(header)} ({listed(header)})"
                raise UserError(f"{where}: {problem}; put cells that hold a separator or a line break in double quotes")
            elif len(cells) > 1 and cells == header:
                raise UserError(f"{where}: the header stands here once more, as where files were joined; remove it")
            else:
                yield Row(dict(zip(header, cells, strict=True)), where)
    except csv.Error as error:
        raise UserError(f"{path} line {line}: {error}; inside a quoted cell write a double quote twice") from None
    # Lines of one cell say nothing: in csv, where quoting is the rule, a text of several lines is quoted and no more.
    if spanning and widths == {len(header)} and (len(header) > 1 or delimiter == "\t"):
        reason = f"hold lines together here, but every line of the file has {len(header)} cells without them, too"
        way_out = "write a quotation mark that is text twice, in quotes, or save the file as jsonl"
        raise _Ambiguous(f"{spanning}: quotation marks {reason}; {way_out}")


def _header(cells: list[str], where: str) -> list[str]:
    """Column names. Space around them is never meant; inside cells it is left alone."""
    names = [cell.strip() for cell in cells]
    if "" in names:
        raise UserError(
            f"{where}: column {names.index('') + 1} of the header has no name; give it one (pandas: index=False)"
        )
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(f"{where}: two columns of the header are called {shown(name)}; rename one")
    return names


def _read_txt(path: str) -> Iterator[Row]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.isspace():
                yield Row({"text": line.removesuffix("\n")}, f"{path} line {number}")


READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".txt": _read_txt,
    ".parquet": read_parquet,
}
