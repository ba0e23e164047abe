"""Data files of the user -> rows: found by path or glob, each read by its type."""

from __future__ import annotations

import csv
import difflib
import glob
import os
from collections.abc import Iterator

from tasks.base import unusable_character
from tasks.errors import UserError
from tasks.reading.charset import encoding_of, lines_of
from tasks.reading.json_rows import read_json, read_jsonl
from tasks.reading.parquet_rows import read_parquet
from tasks.reading.rows import Row, checked, listed, shown

#: Characters in one cell. Far above any article, low enough that a quote that is never closed cannot fill the memory.
CELL_LIMIT = 1 << 24


def read_rows(pattern: str) -> Iterator[Row]:
    """Every row of the file, or of every file that matches the glob, in the order of the sorted paths.

    Text is left as it is written: no stripping, no Unicode normalisation.

    Raises:
        UserError: no such file, an unknown type, an empty or unreadable file, a damaged row, a file that changes while it
            is read, or files whose columns differ.
    """
    first: tuple[str, set[str]] | None = None
    for path in find_files(pattern):
        reader = READERS[suffix_of(path)]
        columns: set[str] = set()
        try:
            before = _version(path)
            if before[0] == 0:
                raise UserError(f"{path} is empty; give a file that has rows")
            for row in reader(path):
                columns.update(row.values)
                yield checked(row)
            if _version(path) != before:
                raise _changed(path)
        except UnicodeDecodeError:  # the whole file could be decoded a moment ago
            raise _changed(path) from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}; check the file") from None
        except MemoryError:
            raise UserError(f"{path} needs more memory than there is; split it into several files") from None
        if not columns:
            raise UserError(f"{path} holds no rows; give a file that has some")
        if first is None:
            first = (path, columns)
        elif columns != first[1]:
            raise UserError(
                f"{path} has the columns {listed(sorted(columns))}, but {first[0]} has {listed(sorted(first[1]))}; give "
                "files that have the same columns"
            )


def _version(path: str) -> tuple[int, int]:
    """Size and time of the last change: another process may still be writing the file."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _changed(path: str) -> UserError:
    return UserError(f"{path} was changed while it was read; run again when it is written")


def find_files(pattern: str) -> list[str]:
    """The paths that ``pattern`` stands for, sorted; each is a file of a known type.

    Raises:
        UserError: there is no such file, it is a folder, or its type is not one that is read.
    """
    pattern = os.path.expanduser(pattern)
    if os.path.isdir(pattern):
        raise UserError(f"{pattern} is a folder; name the files in it, such as '{os.path.join(pattern, '*.jsonl')}'")
    if os.path.lexists(pattern):  # before the glob: a real name may hold brackets
        paths = [pattern]
    elif glob.has_magic(pattern):
        paths = sorted(path for path in set(_matches(pattern)) if not os.path.isdir(path))
        if not paths:
            raise UserError(f"no file matches {pattern}; check the name and the folder (now in {os.getcwd()})")
    else:
        raise UserError(f"there is no file {pattern}{_neighbours(pattern)}")
    for path in paths:
        if suffix_of(path) not in READERS:
            raise UserError(f"{path}: the file type is not known; those that are read: {', '.join(READERS)}")
        if not os.path.isfile(path):
            raise UserError(f"{path} is not a regular file; save the data to one first")
        if unusable_character(path):  # as in archives that were packed under Korean Windows
            raise UserError(f"{path!a}: the name of the file is not UTF-8; rename it")
    return paths


def _matches(pattern: str) -> Iterator[str]:
    """``glob.glob(pattern, recursive=True)``, which enters no folder twice: links in a circle would have no end."""
    if pattern == "**" or pattern.endswith("/**"):
        pattern += "/*"
    base, recursive, rest = ("/" + pattern).partition("/**/")
    if not recursive:
        yield from glob.iglob(pattern)
        return
    seen: set[tuple[int, int]] = set()
    start = base[1:] or ("/" if pattern.startswith("/") else ".")
    for top in glob.iglob(start):
        for folder, names, _ in os.walk(top, followlinks=True):
            status = os.stat(folder)
            place = (status.st_dev, status.st_ino)
            names[:] = [] if place in seen else sorted(name for name in names if not name.startswith("."))
            if place not in seen:
                seen.add(place)
                yield from (path.removeprefix("./") for path in _matches(os.path.join(glob.escape(folder), rest)))


def suffix_of(path: str) -> str:
    """The file type of ``path``: ``.csv``."""
    return os.path.splitext(path)[1].lower()


def _neighbours(path: str) -> str:
    """What the user may have meant: the files beside ``path`` with a similar name."""
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")
    except (OSError, ValueError):  # ValueError: the name holds a NUL
        return f"; there is no folder {folder} either"
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return "; did you mean " + " or ".join(os.path.join(folder, other) for other in close) + "?"
    return f"; nothing in {os.path.abspath(folder or '.')} has a similar name"


def _read_csv(path: str) -> Iterator[Row]:
    yield from _read_cells(path, encoding_of(path), delimiter=",", quoting=csv.QUOTE_MINIMAL)


def _read_tsv(path: str) -> Iterator[Row]:
    # Spreadsheets quote tsv cells; public Korean sets (KorNLI, NSMC) do not, and begin cells with a bare quotation
    # mark. A file in which every quotation mark makes sense as quoting is quoted.
    encoding = encoding_of(path)
    quoting = csv.QUOTE_MINIMAL
    try:
        for _ in _read_cells(path, encoding, delimiter="\t", quoting=quoting):
            pass
    except _Ambiguous:
        raise
    except UserError:
        quoting = csv.QUOTE_NONE
    yield from _read_cells(path, encoding, delimiter="\t", quoting=quoting)


class _Ambiguous(UserError):
    """Quotation marks may hold lines together or be text, and the file makes sense either way."""


def _read_cells(path: str, encoding: str, delimiter: str, quoting: int) -> Iterator[Row]:
    """Rows of a table with a header. ``where`` is the line of the file where the row begins: cells may span several."""
    csv.field_size_limit(CELL_LIMIT)  # of the whole process; the default, 131,072, is shorter than some articles
    widths: set[int] = set()  # cells of each line if quotation marks meant nothing
    last = ""

    def lines() -> Iterator[str]:
        nonlocal last
        for last in lines_of(path, encoding, newline=""):
            if not last.isspace():
                widths.add(last.count(delimiter) + 1)
            yield last

    reader = csv.reader(lines(), delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] = []
    ends: set[str] = set()
    spanning = ""
    line = 1
    try:
        for cells in reader:
            where = f"{path} line {line}"
            if reader.line_num > line:
                spanning = spanning or where
            line = reader.line_num + 1
            if last.endswith(("\r", "\n")):
                ends.add(last[-1])
            if len(ends) > 1:  # csv.writer of Python 3.11 leaves a \r in a cell without quotes
                raise UserError(
                    f"{where}: some rows end in a bare carriage return, others do not; quote cells with line breaks"
                )
            if not cells:  # a blank line
                continue
            if not header:
                header = _header(cells, where)
            elif len(cells) != len(header):
                raise UserError(
                    f"{where}: {len(cells)} cells, but the header has {len(header)} ({listed(header)}); put cells that hold "
                    "a separator or a line break in double quotes"
                )
            elif len(cells) > 1 and cells == header:
                raise UserError(f"{where}: the header stands here once more, as where files were joined; remove it")
            else:
                yield Row(dict(zip(header, cells, strict=True)), where)
    except csv.Error as error:
        raise UserError(f"{path} line {line}: {error}; inside a quoted cell write a double quote twice") from None
    # Lines of one cell say nothing: in csv, where quoting is the rule, a text of several lines is quoted and no more.
    if spanning and widths == {len(header)} and (len(header) > 1 or delimiter == "\t"):
        raise _Ambiguous(
            f"{spanning}: quotation marks hold lines together here, but every line of the file has {len(header)} cells "
            "without them, too; write a quotation mark that is text twice, in quotes, or save the file as jsonl"
        )


def _header(cells: list[str], where: str) -> list[str]:
    """Column names. Space around them is never meant; inside cells it is left alone."""
    names = [cell.strip() for cell in cells]
    seen: set[str] = set()
    for position, name in enumerate(names, 1):
        if not name:
            raise UserError(f"{where}: column {position} of the header has no name; give it one (pandas: index=False)")
        if name in seen:
            raise UserError(f"{where}: two columns of the header are called {shown(name)}; rename one")
        seen.add(name)
    return names


def _read_txt(path: str) -> Iterator[Row]:
    for number, line in enumerate(lines_of(path, encoding_of(path)), 1):
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
