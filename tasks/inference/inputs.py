"""Rows to predict, from a file, standard input or a terminal, and the lines of their predictions."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tasks.base import Example, Prediction, Task
from tasks.errors import RowError, UserError
from tasks.preparing.splits import row_error
from tasks.reading.columns import load_rows, parse_column_map
from tasks.reading.json_rows import parse
from tasks.reading.rows import Row, checked

logger = logging.getLogger(__name__)

#: The place of a row in messages.
TYPED = "what you typed"


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


def greet(task: Task) -> None:
    """Say how fields typed at a terminal end; arrow keys and history where the system has readline (Windows does not)."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401

    long = [column.name for column in task.input_columns if column.sentences]
    ends = f"{' and '.join(long)}: a line with only . or Ctrl-D ends it; " if long else ""
    logger.info("%s: %san empty line or Ctrl-D ends", task.name, ends)
    if task.output_type == "multiple_choice" and task.temperature is None:
        logger.info("probabilities are not calibrated: they say what the model prefers, not how often it is right")


def typed_row(task: Task) -> Row | None:
    """A row typed at a terminal, column by column, or as a JSON object in the first one; None at its end.

    A long text may hold empty lines: a line ``.`` or Ctrl-D ends it.
    """
    values: dict[str, str] = {}
    for column in task.input_columns:
        lines: list[str] = []
        try:
            while not lines or column.sentences:
                line = input("" if lines else f"{column.name}: ")
                if not (values or lines) and line.lstrip().startswith("{"):
                    with contextlib.suppress(UserError):  # as text, if it is no JSON
                        return Row(parse(line, TYPED, 1), TYPED)
                if not (lines or line.strip()):
                    return None
                if column.sentences and line.strip() == ".":
                    break
                lines.append(line)
        except EOFError:
            if not lines:
                return None
            print()  # the terminal shows nothing for Ctrl-D
        values[column.name] = "\n".join(lines).rstrip()
    return checked(Row(values, TYPED))


def as_line(task: Task, prediction: Prediction, top_labels: int = 3) -> str:
    """A prediction for a terminal, as it was written; a label with the probabilities of the first ``top_labels``."""
    chances = list(task.probabilities(prediction.scores).items())[:top_labels]
    return f"{prediction.text}" + (f" ({', '.join(f'{label} {share:.2f}' for label, share in chances)})" if chances else "")


def as_text(task: Task, prediction: Prediction, top_labels: int = 0) -> str:
    """The text on one line; with ``top_labels`` the most probable labels with their probabilities."""
    probable = [f"{label} {p:.3f}" for label, p in list(task.probabilities(prediction.scores).items())[:top_labels]]
    return ", ".join(probable) or re.sub(r"\s+", " ", prediction.text)  # a space in front joins a text to its prompt


def as_row(
    task: Task, row: dict[str, Any], predictions: Sequence[Prediction], top_labels: int | None = None
) -> dict[str, Any]:
    """A row's id, its columns, the prediction (all of them where there are several), and its scores.

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
    return shown


def as_lines(
    task: Task,
    rows: Sequence[dict[str, Any]],
    answers: Sequence[Sequence[Prediction]],
    form: str,
    top_labels: int | None = None,
) -> list[str]:
    """Rows and their predictions as jsonl, csv or tsv (a column for each label's probability), or text: predictions alone.

    All but jsonl have one line a prediction, whatever line breaks it holds in text.
    """
    if form == "jsonl":
        shown = (as_row(task, row, predictions, top_labels) for row, predictions in zip(rows, answers))
        return [json.dumps(row, ensure_ascii=False) + "\n" for row in shown]
    if form == "text":
        return [as_text(task, prediction, top_labels or 0) + "\n" for predictions in answers for prediction in predictions]
    columns = [column.name for column in task.input_columns]
    labels = list(task.label_words) if task.output_type == "multiple_choice" else []
    table = io.StringIO()
    writer = csv.writer(table, "excel-tab" if form == "tsv" else "excel", lineterminator="\n")
    writer.writerow(["id", *columns, "prediction", *(f"probability_{label}" for label in labels)])
    for row, predictions in zip(rows, answers):
        for prediction in predictions:
            chances = task.probabilities(prediction.scores)
            values = (row["id"], *(row[name] for name in columns), prediction.text)
            writer.writerow([*values, *(chances[label] for label in labels)])
    return [table.getvalue()]
