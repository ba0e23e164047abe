"""Data files of the user -> rows: csv, tsv, json, jsonl, txt and parquet, found by path or glob."""

from __future__ import annotations

import csv
import difflib
import glob
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.errors import UserError
from tasks.training import nested_qa
from tasks.training.charset import encoding_of

#: Characters in one cell. Far above any article, low enough that a quote that is never closed cannot fill the memory.
CELL_LIMIT = 1 << 24

# NUL ends strings in C code further down; half of a surrogate pair cannot be written as UTF-8.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """One row of a file. ``where`` says where a human finds it: ``train.csv line 12``, counted from 1."""

    values: dict[str, Any]
    where: str


def read_rows(pattern: str) -> Iterator[Row]:
    """Every row of the file, or of every file that matches the glob, in the order of the sorted paths.

    Text is left as it is written: no stripping, no Unicode normalisation.

    Raises:
        UserError: no such file, an unknown type, an empty or unreadable file, a damaged row, or files whose columns
            differ.
    """
    first: tuple[str, set[str]] | None = None
    for path in find_files(pattern):
        reader = READERS[suffix_of(path)]
        columns: set[str] = set()
        try:
            if os.path.getsize(path) == 0:
                raise UserError(f"{path} is empty; give a file that has rows")
            for row in reader(path):
                columns.update(row.values)
                for name, value in row.values.items():
                    _check_text(name, value, name, row.where)
                yield row
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}; check the file") from None
        if not columns:
            raise UserError(f"{path} holds no rows; give a file that has some")
        if first is None:
            first = (path, columns)
        elif columns != first[1]:
            raise UserError(
                f"{path} has the columns {', '.join(sorted(columns))}, but {first[0]} has "
                f"{', '.join(sorted(first[1]))}; give files that have the same columns"
            )


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
        paths = sorted(path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path))
        if not paths:
            raise UserError(f"no file matches {pattern}; check the name and the folder (now in {os.getcwd()})")
    else:
        raise UserError(f"there is no file {pattern}{_neighbours(pattern)}")
    for path in paths:
        if suffix_of(path) not in READERS:
            raise UserError(f"{path}: the file type is not known; those that are read: {', '.join(READERS)}")
        if not os.path.isfile(path):
            raise UserError(f"{path} is not a regular file; save the data to one first")
    return paths


def suffix_of(path: str) -> str:
    """The file type of ``path``: ``.csv``."""
    return os.path.splitext(path)[1].lower()


def _neighbours(path: str) -> str:
    """What the user may have meant: the files beside ``path`` with a similar name."""
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return f"; there is no folder {folder} either"
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return "; did you mean " + " or ".join(os.path.join(folder, other) for other in close) + "?"
    return f"; nothing in {os.path.abspath(folder or '.')} has a similar name"


def _check_text(name: str, value: Any, column: str, where: str) -> None:
    """Refuse text that later stages cannot write: a NUL or half of a surrogate pair, however deep it is nested."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, item, column, where)
    elif isinstance(value, list):
        for item in value:
            _check_text("", item, column, where)
    for text in (name, value):
        if isinstance(text, str) and not (text.isascii() and "\0" not in text):
            found = _UNUSABLE.search(text)
            if found:
                what = "a NUL character" if found.group() == "\0" else "half of a surrogate pair (such as \\ud83d)"
                shown = ascii(column) if _UNUSABLE.search(column) else repr(column)
                raise UserError(f"{where}: column {shown} holds {what}, as character {found.start() + 1}; remove it")


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
    except UserError:
        quoting = csv.QUOTE_NONE
    yield from _read_cells(path, encoding, delimiter="\t", quoting=quoting)


def _read_cells(path: str, encoding: str, delimiter: str, quoting: int) -> Iterator[Row]:
    """Rows of a table with a header. ``where`` is the line of the file where the row begins: cells may span several."""
    csv.field_size_limit(CELL_LIMIT)  # of the whole process; the default, 131,072, is shorter than some articles
    with open(path, encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        header: list[str] = []
        line = 1
        try:
            for cells in reader:
                where, line = f"{path} line {line}", reader.line_num + 1
                if not cells:  # a blank line
                    continue
                if not header:
                    header = _header(cells, where)
                elif len(cells) != len(header):
                    raise UserError(
                        f"{where}: {len(cells)} cells, but the header has {len(header)} ({', '.join(header)}); put "
                        "cells that hold a separator or a line break in double quotes"
                    )
                else:
                    yield Row(dict(zip(header, cells, strict=True)), where)
        except csv.Error as error:
            raise UserError(f"{path} line {line}: {error}; inside a quoted cell write a double quote twice") from None


def _header(cells: list[str], where: str) -> list[str]:
    """Column names. Space around them is never meant; inside cells it is left alone."""
    names = [cell.strip() for cell in cells]
    for position, name in enumerate(names, 1):
        if not name:
            raise UserError(f"{where}: column {position} of the header has no name; give it one (pandas: index=False)")
        if names.index(name) != position - 1:
            raise UserError(f"{where}: two columns of the header are called {name!r}; rename one")
    return names


def _read_jsonl(path: str) -> Iterator[Row]:
    # Only \n ends a line: text may hold U+2028 and the like.
    with open(path, encoding=encoding_of(path), newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.isspace():
                where = f"{path} line {number}"
                yield Row(_object(_parse(line.rstrip("\r\n"), path, number), where), where)


def _read_json(path: str) -> Iterator[Row]:
    """A list of objects, {"data": [objects]}, the nested layout of SQuAD, or JSON Lines under the wrong name."""
    with open(path, encoding=encoding_of(path)) as file:
        text = file.read()
    if not text.strip():
        return
    try:
        content = _parse(text, path, 1)
    except UserError as error:
        if not isinstance(error.__cause__, json.JSONDecodeError) or error.__cause__.msg != "Extra data":
            raise
        yield from _read_jsonl(path)  # a second value after the first: one object a line
        return
    del text
    items = content
    if isinstance(content, dict):
        items = content.get("data", [content])  # a single object is JSON Lines with one line
    if not isinstance(items, list):
        raise UserError(f"{path}: a list of objects is expected, or an object with such a list under 'data'")
    if nested_qa.is_nested(items):
        for values, place in nested_qa.flatten(items, path):
            yield Row(values, f"{path} {place}")
    else:
        for number, item in enumerate(items, 1):
            where = f"{path} row {number}"
            yield Row(_object(item, where), where)


def _parse(text: str, path: str, first_line: int) -> Any:
    """The value of ``text``, which begins on ``first_line`` of the file; NaN is allowed."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path} line {first_line + error.lineno - 1}"
        raise UserError(f"{where}: not valid JSON ({error.msg} at column {error.colno}); mend it") from error
    except RecursionError:
        raise UserError(f"{path} line {first_line}: the JSON is nested too deeply; flatten it") from None
    except ValueError as error:  # a number of thousands of digits
        reason = str(error).split(";")[0]
        raise UserError(f"{path} line {first_line}: JSON that cannot be read ({reason}); mend it") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        kind = "an empty object" if value == {} else type(value).__name__
        raise UserError(f'{where}: {kind} where an object with the columns is expected, such as {{"text": "..."}}')
    return value


def _read_txt(path: str) -> Iterator[Row]:
    with open(path, encoding=encoding_of(path)) as file:
        for number, line in enumerate(file, 1):
            if not line.isspace():
                yield Row({"text": line.removesuffix("\n")}, f"{path} line {number}")


def _read_parquet(path: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with open(path, "rb") as source, pyarrow.parquet.ParquetFile(source) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise UserError(f"{path}: two columns have the same name; rename one")
            for batch in file.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, f"{path} row {number}")
    except PermissionError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be read as parquet after row {number}: {reason}; write it again") from None


READERS = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".txt": _read_txt,
    ".parquet": _read_parquet,
}
