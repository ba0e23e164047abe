"""What a user wants predicted: a file, standard input, or a line typed at a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tasks.base import Example, RowError, Task
from tasks.errors import UserError
from tasks.training.columns import load_rows, parse_column_map
from tasks.training.data import row_error
from tasks.training.files import Row, read_rows


def read_inputs(task: Task, rows: Iterable[Row], origin: str, column_map: str | None = None) -> list[dict[str, Any]]:
    """The rows with ``id``, ``where`` and the task's input columns. ``origin`` names their source in messages.

    Raises:
        UserError: there are none, a column is missing, or mixes types.
    """
    rows = list(rows)
    if not rows:
        raise UserError(f"{origin} holds no rows to predict")
    loaded = load_rows(rows, task, parse_column_map(column_map, task), origin, targets=False)
    return [row | {"id": own or f"row-{n}"} for n, (row, own) in enumerate(zip(loaded.data, loaded.ids))]


def rows_of_lines(task: Task, lines: Iterable[str], origin: str) -> Iterator[Row]:
    """One row a line: a JSON object, or the input columns in their order with tabs between them. Blank lines are skipped.

    Raises:
        UserError: a line is neither.
    """
    names = [column.name for column in task.input_columns]
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        where = f"{origin} line {number}"
        if not text.strip():
            continue
        if text.lstrip().startswith("{"):
            try:
                yield Row(json.loads(text), where)
                continue
            except ValueError as error:
                if len(names) > 1:
                    raise UserError(f"{where}: not valid JSON ({error})") from None
        cells = text.split("\t") if len(names) > 1 else [text]
        if len(cells) != len(names):
            raise UserError(f"{where}: {task.name} needs {' TAB '.join(names)}, or a JSON object with these names")
        yield Row(dict(zip(names, cells)), where)


def input_examples(task: Task, rows: Iterable[dict[str, Any]]) -> list[Example]:
    """The examples of rows to predict. Raises UserError with the place of the first row that cannot be."""
    examples = []
    for row in rows:
        try:
            examples.append(task.input_example(row))
        except RowError as error:
            raise row_error(row, error) from None
    return examples


def read_file(task: Task, path: str, column_map: str | None) -> list[dict[str, Any]]:
    """``read_inputs`` of a file or glob of any type that training reads."""
    return read_inputs(task, read_rows(path), path, column_map)
