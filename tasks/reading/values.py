"""One value for the same cell, whichever way it came: a table, JSON, parquet, a workbook or the Hub."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import datasets
import pyarrow

from tasks.base import Column
from tasks.errors import UserError

#: Types as a message calls them. 3 and 3.5 go together, "3" and 3 do not.
KINDS = {str: "text", int: "a number", float: "a number", bool: "true/false", list: "a list", dict: "an object"}

#: What is counted of a split in all_results.json.
READ = (
    "numbers_read_as_text", "lists_joined", "skipped", "empty_rows_at_the_end", "rows_without_text", "messages_left_out",
    "conversations_without_answer",
)  # fmt: skip
NUMBERS, JOINED, SKIPPED, EMPTY_TAIL, EMPTY_TEXT, LEFT_OUT, UNANSWERED = READ


def read_values(
    column: Column, values: Sequence[Any], beside: Sequence[Any] | None, counts: Counter[str], *, target: bool
) -> list[Any]:
    """The values of a column as the task sees them: NaN, which is how pandas writes a missing one, is None.

    A list in a column of sentences is one text. In a ``target`` a number is its shortest text, 2 for 2.0 where every number
    of the column is whole; in an input it is left, since a number among texts is mostly a spreadsheet's mistake.
    """
    values = [None if is_nan(value) else value for value in values]
    if column.read:
        values = [column.read(*pair) for pair in zip(values, beside or [None] * len(values))]
    if column.sentences:
        joined = [_joined(value) for value in values]
        counts[JOINED] += sum(value is not text for value, text in zip(values, joined))
        values = joined
    if target:
        whole = all(number.is_integer() for value in values for number in _floats(value))
        for number, value in enumerate(values):
            text = _as_text(value, whole)
            counts[NUMBERS] += text != value
            values[number] = text
    return values


def label_names(feature: datasets.ClassLabel, values: Iterable[int | None]) -> list[str | None]:
    """Names of class labels, which mean the same everywhere; -1 is no label."""
    words = {None: None, **dict(enumerate(feature.names))}
    return [words.get(value, str(value)) for value in values]


def is_nan(value: Any) -> bool:
    """Whether it is the float that equals nothing."""
    return isinstance(value, float) and math.isnan(value)


def row_id(value: Any) -> str | None:
    """What the data calls a row, as text; None where it says nothing."""
    return (
        None if value is None or value == "" or is_nan(value) else _as_text(value, True) if is_number(value) else str(value)
    )


def is_number(value: Any) -> bool:
    """Whether it is an int or a finite float; true and false are not."""
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)))


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float) and math.isfinite(value):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _floats(item)


def _as_text(value: Any, whole: bool) -> Any:
    """A number as its shortest text; those in a list, or in the ``text`` of an object, too."""
    if is_number(value):
        return str(int(value)) if isinstance(value, int) or (whole and value.is_integer()) else str(value)
    if isinstance(value, list):
        return [_as_text(item, whole) for item in value]
    if isinstance(value, dict) and "text" in value:
        return value | {"text": _as_text(value["text"], whole)}
    return value


def _joined(value: Any) -> Any:
    """A list of sentences, or of paragraphs of them, as one text; of AI-Hub's {"sentence": ...} too. Others as they are."""
    sentences: list[str] = []

    def collect(item: Any) -> bool:
        if isinstance(item, list):
            return all(map(collect, item))
        text = item.get("sentence") if isinstance(item, dict) else item
        if isinstance(text, str) and text.strip():
            sentences.append(text.strip())
        return isinstance(text, str)

    return " ".join(sentences) if isinstance(value, list) and collect(value) else value


def array_of(values: list[Any], name: str, where: Sequence[str], *, skip: bool = False) -> pyarrow.Array:
    """A column of one type: that of the first value. Another raises UserError, or with ``skip`` is None, as if empty."""
    values = list(values)
    kinds: dict[str, int] = {}  # kind -> the first row that has it
    for number, value in enumerate(values):
        if value is not None:
            kinds.setdefault(KINDS.get(type(value)) or type(value).__name__, number)
            if len(kinds) > 1 and skip:
                kinds.popitem()
                values[number] = None
            elif len(kinds) > 1:
                (kind, place), (other, _) = kinds.items()
                holds = f"column {name!r} holds {other} ({str(value)[:40]!r}), but {kind} in {where[place]}"
                raise UserError(f"{where[number]}: {holds}; write the column in one type")
    errors = (pyarrow.ArrowException, TypeError, ValueError, OverflowError)
    try:
        return pyarrow.array(values)
    except errors as error:
        reason = " ".join(str(error).split())[:200]

    def fails(number: int) -> bool:
        try:
            pyarrow.array(values[: number + 1])
        except errors:
            return True
        return False

    # Something nested differs. The rows before the culprit convert, those up to it do not.
    culprit = bisect.bisect_left(range(len(values)), True, key=fails)
    problem = f"column {name!r} is not of the type that it has in the rows before ({reason})"
    raise UserError(f"{where[culprit]}: {problem}; write the column in one type")
