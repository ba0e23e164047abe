"""What a text of a .txt is: a line, a paragraph, the whole file, or a row of a table under the wrong name."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence

from tasks.base import Task
from tasks.errors import UserError
from tasks.reading.charset import open_text
from tasks.reading.columns import columns_of, resolve_columns
from tasks.reading.delimited import SEPARATORS, separator_of
from tasks.reading.rows import Row, listed

logger = logging.getLogger(__name__)

#: What a .txt is read as beside the three values of --txt_unit.
TABLE = "table"


def units_of(task: Task, files: Mapping[str, Sequence[str]], unit: str | None, column_map: dict[str, str]) -> dict[str, str]:
    """{path: unit} of the .txt among the ``files`` of each split; ``unit`` is --txt_unit. The log says which.

    A table whose header fits the task is read as one. Raises UserError where a task with several columns has no table, and
    where a task of plain text has one without the user having said what is meant.
    """
    units: dict[str, str] = {}
    for split, paths in files.items():
        found = {
            path: _unit(task, path, unit, column_map, split != "test") for path in paths if path.lower().endswith(".txt")
        }
        for kind in dict.fromkeys(found.values()):
            named = [path for path in found if found[path] == kind]
            more = f" and {len(named) - 1} more" * (len(named) > 1)
            what = "a table with a header" if kind == TABLE else f"one text a {kind}"
            logger.info("%s%s: read as %s%s", named[0], more, what, "" if unit or kind == TABLE else " (--txt_unit)")
        units |= found
    return units


def _unit(task: Task, path: str, unit: str | None, column_map: dict[str, str], targets: bool) -> str:
    columns = [column.name for column in columns_of(task)]
    several = len(columns) > 1
    if unit and not several:
        return unit
    delimiter, header = separator_of(path)
    column, problem = None, None
    if len(header) > 1:
        try:
            column = resolve_columns(task, header, column_map, path, targets=targets)[columns[0]]
        except UserError as error:
            problem = error
    if column and (several or column_map):
        return TABLE
    may_be = column or (delimiter == "\t" and len(header) > 1 and all(map(str.strip, header)))
    even = may_be and _is_even(path, delimiter, len(header))
    if several:
        needs = f"the task {task.name} needs {', '.join(columns)}; use csv, tsv, xlsx, json, jsonl or parquet"
        raise problem if even and problem else UserError(f"{path}: a txt file has one column, and {needs}")
    # Between commas even known names may be prose, and between tabs even unknown ones are hardly that.
    if even or (column and delimiter == "\t"):
        what = f"it looks like a table with {SEPARATORS[delimiter]} between its columns ({listed(header)})"
        way_out = f"say what to learn: --column_map {columns[0]}={column} for a column"
        way_out = way_out if column else "to learn one of them, add a line with their names"
        raise UserError(f"{path}: {what}; {way_out}, or --txt_unit line for the lines as they are")
    return "line"


def _is_even(path: str, delimiter: str, width: int) -> bool:
    """Whether every line has ``width`` cells, and there are two at least."""
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    lines = 0
    try:
        with open_text(path, newline="") as file:
            for cells in csv.reader(file, delimiter=delimiter, quoting=quoting):
                if cells and len(cells) != width:
                    return False
                lines += bool(cells)
    except csv.Error:
        return False
    return lines > 1


def read_txt(unit: str, path: str) -> Iterator[Row]:
    """A text a line, a paragraph (up to a blank line) or a file; ``where`` is the line where it begins."""
    texts: list[str] = []
    begins = 1
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            blank = line.isspace()
            if unit == "line" and not blank:
                yield Row({"text": line.removesuffix("\n")}, f"{path} line {number}")
            elif unit == "file" or (unit == "paragraph" and not blank):
                begins = begins if texts else number
                texts.append(line)
            elif texts:
                yield Row({"text": "".join(texts).removesuffix("\n")}, f"{path} line {begins}")
                texts.clear()
    if "".join(texts).strip():
        yield Row({"text": "".join(texts).removesuffix("\n")}, f"{path} line {begins}")
