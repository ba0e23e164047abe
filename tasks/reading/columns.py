"""Which column of the data is which column of the task, and rows of files as a table with the task's columns."""

from __future__ import annotations

import bisect
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow
from datasets.fingerprint import generate_random_fingerprint

from tasks.base import Column, Task
from tasks.errors import UserError
from tasks.reading.rows import Row, listed

#: Columns that name a row, by preference. The first that exists becomes ``id``.
ID_COLUMNS = ("id", "guid")

#: Types as a message calls them. 3 and 3.5 go together, "3" and 3 do not.
KINDS = {str: "text", int: "a number", float: "a number", bool: "true/false", list: "a list", dict: "an object"}


@dataclass
class Loaded:
    """One split as it came: ``data`` has ``where`` and the task's columns, ``ids`` what the data calls each row."""

    data: datasets.Dataset
    ids: list[str | None]


def columns_of(task: Task) -> tuple[Column, ...]:
    """Every column of a task, those of the input first."""
    return tuple(task.input_columns) + tuple(task.target_columns)


def parse_column_map(text: str | None, task: Task) -> dict[str, str]:
    """``"document=body,summary=title"`` as {our name: their name}.

    Raises UserError where a piece is not ``ours=theirs``, ours is not a column of the task, or a name is given twice.
    """
    known = [column.name for column in columns_of(task)]
    mapping: dict[str, str] = {}
    for piece in text.split(",") if text else ():
        ours, equals, theirs = (part.strip() for part in piece.partition("="))
        if not (ours and equals and theirs):
            raise UserError(f"--column_map {text}: {piece!r} is not of the form {known[0]}=NAME_IN_THE_DATA")
        if ours not in known:
            reason = f"the task {task.name} has no column {ours!r}; its columns are {', '.join(known)}"
            raise UserError(f"--column_map {text}: {reason}, and stand before the =")
        if ours in mapping or theirs in mapping.values():
            twice = ours if ours in mapping else theirs
            raise UserError(f"--column_map {text}: {twice!r} stands there twice; name each column once")
        mapping[ours] = theirs
    return mapping


def _names(task: Task, column: Column) -> tuple[str, ...]:
    """What a column may be called in the data without --column_map. A txt file calls its one column ``text``."""
    return (column.name, *column.aliases, *(("text",) if len(columns_of(task)) == 1 else ()))


def resolve_columns(
    task: Task, available: Collection[str], column_map: dict[str, str], origin: str, *, targets: bool = True
) -> dict[str, str]:
    """{our name: their name} for the columns of ``origin`` (a file or split, for the message).

    ``column_map`` wins, then our own name, then the first alias that exists. No column of the data is used twice.
    Raises UserError where a column is missing; without ``targets`` a target column may be, and is not in the result.
    """
    there = f"the columns there are {listed(available)}"
    taken = set(column_map.values())
    result: dict[str, str] = {}
    for column in columns_of(task):
        ours, mapped = column.name, column_map.get(column.name)
        names = [mapped] if mapped else [name for name in _names(task, column) if name not in taken]
        theirs = next((name for name in names if name in available), None)
        if theirs:
            taken.add(theirs)
            result[ours] = theirs
        elif targets or column in task.input_columns:
            if mapped:
                reason = f"no column {mapped!r}, which --column_map gives for {ours!r}"
                raise UserError(f"{origin}: {reason}; {there}; correct --column_map {ours}=NAME")
            reason = f"no column {ours!r} ({column.help})"
            raise UserError(f"{origin}: {reason}; {there}; if one of them is meant, add --column_map {ours}=NAME")
    return result


def load_rows(rows: Iterable[Row], task: Task, column_map: dict[str, str], origin: str, *, targets: bool = True) -> Loaded:
    """The rows as an in-memory dataset with the task's columns, everything else dropped.

    A value that a row lacks, and NaN, which is how pandas writes a missing one, becomes None. A target column that is
    allowed to be missing is None in every row. Raises UserError where a column is missing or mixes types.
    """
    names = (name for column in columns_of(task) for name in _names(task, column))
    values: dict[str, list[Any]] = {name: [] for name in (*column_map.values(), *ID_COLUMNS, *names)}
    seen: dict[str, None] = {}
    where: list[str] = []
    for row in rows:
        seen.update(dict.fromkeys(row.values))
        for name, column in values.items():
            column.append(row.values.get(name))
        where.append(row.where)
    found = resolve_columns(task, list(seen), column_map, origin, targets=targets)
    ids = next(([row_id(value) for value in values[name]] for name in ID_COLUMNS if name in seen), None)
    table = {"where": pyarrow.array(where)}
    for column in columns_of(task):
        theirs = found.get(column.name)
        table[column.name] = pyarrow.nulls(len(where)) if theirs is None else _array(values[theirs], theirs, where)
    # Without a fingerprint the whole table would be pickled to get one, which fails where a column exceeds 2 GiB.
    data = datasets.Dataset(pyarrow.table(table), fingerprint=generate_random_fingerprint())
    return Loaded(data, ids or [None] * len(where))


def named(row: dict[str, Any], columns: dict[str, str], where: str) -> dict[str, Any]:
    """A row of a stream: the task's columns under their own names, and ``where``, which is its ``id`` too."""
    return {"id": where, "where": where} | {ours: row.get(theirs) for ours, theirs in columns.items()}


def row_id(value: Any) -> str | None:
    """What the data calls a row, as text; None where it says nothing."""
    return None if value is None or value == "" or _is_nan(value) else str(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _array(values: list[Any], name: str, where: list[str]) -> pyarrow.Array:
    """A column of one type."""
    values = [None if _is_nan(value) else value for value in values]
    kinds: dict[str, int] = {}  # kind -> the first row that has it
    for number, value in enumerate(values):
        if value is not None:
            kinds.setdefault(KINDS.get(type(value)) or type(value).__name__, number)
            if len(kinds) > 1:
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
