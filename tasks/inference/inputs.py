"""Rows to predict, from a file, standard input or a terminal, and the lines of their predictions."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tasks.base import Example, Prediction, RowError, Task
from tasks.errors import UserError
from tasks.preparing.splits import row_error
from tasks.reading.columns import load_rows, parse_column_map
from tasks.reading.json_rows import parse
from tasks.reading.rows import Row, checked

logger = logging.getLogger(__name__)


def read_inputs(task: Task, rows: Iterable[Row], origin: str, column_map: str | None = None) -> list[dict[str, Any]]:
    """``rows`` with ``id``, ``where`` and the task's input columns. ``origin`` names their source in messages.

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
        UserError: a line is neither, or not UTF-8.
    """
    number = 0
    try:
        for number, line in enumerate(lines, 1):
            # Bytes that are not UTF-8 arrive as \udc80 to \udcff from the command line, and in some locales here, too.
            line.encode()
            if line.strip():
                yield checked(_row_of_line(task, line.rstrip("\r\n"), origin, number))
    except UnicodeEncodeError:
        raise UserError(f"{origin} line {number}: not UTF-8; convert it first: iconv -f CP949 -t UTF-8") from None
    except UnicodeDecodeError:  # input is decoded by the block
        raise UserError(f"{origin}: not UTF-8 after line {number}; convert it first: iconv -f CP949 -t UTF-8") from None


def _row_of_line(task: Task, text: str, origin: str, number: int) -> Row:
    names = [column.name for column in task.input_columns]
    where = f"{origin} line {number}"
    if text.lstrip().startswith("{"):
        try:
            return Row(parse(text, origin, number), where)
        except UserError as error:
            if len(names) > 1 or not isinstance(error.__cause__, json.JSONDecodeError):
                raise
    cells = text.split("\t") if len(names) > 1 else [text]
    if len(cells) != len(names):
        raise UserError(f"{where}: {task.name} needs {' TAB '.join(names)}, or a JSON object with these names")
    return Row(dict(zip(names, cells)), where)


def input_examples(task: Task, rows: Iterable[dict[str, Any]]) -> list[Example]:
    """The examples of rows to predict. Raises UserError for the first bad row."""
    examples = []
    for row in rows:
        try:
            examples.append(task.input_example(row))
        except RowError as error:
            raise row_error(row, error) from None
    return examples


def typed_rows(task: Task) -> Iterator[dict[str, Any]]:
    """Rows typed at a terminal, column by column, until an empty line or Ctrl-D."""
    import readline  # noqa: F401 - gives input() arrow keys and history

    logger.info("%s: an empty line or Ctrl-D ends", task.name)
    while True:
        row = {"id": "typed", "where": "what you typed"}
        for column in task.input_columns:
            try:
                row[column.name] = input(f"{column.name}: ")
            except EOFError:
                return
            if not row[column.name].strip():
                return
        yield row


def as_text(task: Task, prediction: Prediction, top_labels: int = 0) -> str:
    """The text on one line; with ``top_labels`` the most probable labels with their probabilities."""
    probable = [f"{label} {p:.3f}" for label, p in list(task.probabilities(prediction.scores).items())[:top_labels]]
    return ", ".join(probable) or re.sub(r"\s+", " ", prediction.text)  # a space in front joins a text to its prompt


def as_json(task: Task, row: dict[str, Any], predictions: Sequence[Prediction], top_labels: int | None = None) -> str:
    """A row's id, its columns, the prediction (all of them where there are several), and its scores, as a JSON object.

    For labels also the probability of the predicted one, those of the ``top_labels`` most probable (all by default), and
    whether a temperature calibrates them.
    """
    shown = {"id": row["id"], **{column.name: row[column.name] for column in task.input_columns}}
    shown["prediction"] = predictions[0].text
    if len(predictions) > 1:
        shown["predictions"] = [prediction.text for prediction in predictions]
    if probable := task.probabilities(predictions[0].scores):
        shown |= {"probability": probable[predictions[0].text], "calibrated": task.temperature is not None}
        shown["probabilities"] = dict(list(probable.items())[:top_labels])
    if predictions[0].scores:
        shown["scores"] = predictions[0].scores
    return json.dumps(shown, ensure_ascii=False)
