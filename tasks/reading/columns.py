"""Which column of the data is which column of the task, and rows of files as a table with the task's columns."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.base import Column, Task
from tasks.errors import UserError
from tasks.reading.rows import Row, listed

if TYPE_CHECKING:
    import datasets
    import pyarrow

#: Columns that name a row, by preference. The first that exists becomes ``id``.
ID_COLUMNS = ("id", "guid")

#: Keys, by their place, in the objects of one column. A table holds all of them in every row: a new key a row would fill
#: the memory with a small file.
KEY_LIMIT = 1000

#: Types as a message calls them. 3 and 3.5 go together, "3" and 3 do not.
KINDS = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true/false",
    list: "a list",
    dict: "an object",
}


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

    Raises:
        UserError: a piece is not ``ours=theirs``, ours is not a column of the task, or a name is given twice.
    """
    known = [column.name for column in columns_of(task)]
    mapping: dict[str, str] = {}
    for piece in text.split(",") if text else ():
        ours, equals, theirs = (part.strip() for part in piece.partition("="))
        if not (ours and equals and theirs):
            raise UserError(f"--column_map {text}: {piece!r} is not of the form {known[0]}=NAME_IN_THE_DATA")
        if ours not in known:
            raise UserError(
                f"--column_map {text}: the task {task.name} has no column {ours!r}; its columns are {', '.join(known)}"
                ", and stand before the ="
            )
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
    Without ``targets`` a target column may be missing, and is then missing in the result.

    Raises:
        UserError: a column is missing; names those that are there.
    """
    there = listed(available)
    result: dict[str, str] = {}
    for ours, theirs in column_map.items():
        if theirs in available:
            result[ours] = theirs
        elif targets or any(ours == column.name for column in task.input_columns):
            raise UserError(
                f"{origin}: no column {theirs!r}, which --column_map gives for {ours!r}; the columns there are "
                f"{there}; correct --column_map {ours}=NAME"
            )
    for column in columns_of(task):
        if column.name in column_map:
            continue
        names = [name for name in _names(task, column) if name in available and name not in result.values()]
        if names:
            result[column.name] = names[0]
        elif targets or column in task.input_columns:
            raise UserError(
                f"{origin}: no column {column.name!r} ({column.help}); the columns there are {there}; "
                f"if one of them is meant, add --column_map {column.name}=NAME"
            )
    return result


def load_rows(rows: Iterable[Row], task: Task, column_map: dict[str, str], origin: str, *, targets: bool = True) -> Loaded:
    """The rows as an in-memory dataset with the task's columns, everything else dropped.

    A value that a row lacks, and NaN, which is how pandas writes a missing one, becomes None. A target column that is
    allowed to be missing is None in every row.

    Raises:
        UserError: a column is missing, or mixes types; names the first row that differs.
    """
    import datasets
    import pyarrow
    from datasets.fingerprint import generate_random_fingerprint

    wanted = {*column_map.values(), *ID_COLUMNS}
    wanted.update(name for column in columns_of(task) for name in _names(task, column))
    values: dict[str, list[Any]] = {}
    seen: dict[str, None] = {}
    where: list[str] = []
    for row in rows:
        seen.update(dict.fromkeys(row.values))
        for name in row.values.keys() & wanted:
            column = values.setdefault(name, [])
            column.extend([None] * (len(where) - len(column)))
            column.append(row.values[name])
        where.append(row.where)
    for column in values.values():
        column.extend([None] * (len(where) - len(column)))
    names = resolve_columns(task, list(seen), column_map, origin, targets=targets)
    ids = next(([row_id(value) for value in values[name]] for name in ID_COLUMNS if name in values), None)
    table = {"where": pyarrow.array(where)}
    for column in columns_of(task):
        theirs = names.get(column.name)
        table[column.name] = pyarrow.nulls(len(where)) if theirs is None else _array(values[theirs], theirs, where)
    # Without a fingerprint the whole table would be pickled to get one, which fails where a column exceeds 2 GiB.
    data = datasets.Dataset(pyarrow.table(table), fingerprint=generate_random_fingerprint())
    return Loaded(data, ids or [None] * len(where))


def row_id(value: Any) -> str | None:
    """What the data calls a row, as text; None where it says nothing."""
    return None if value is None or value == "" or _is_nan(value) else str(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _array(values: list[Any], name: str, where: list[str]) -> pyarrow.Array:
    """A column of one type."""
    import pyarrow

    values = [None if _is_nan(value) else value for value in values]
    kinds: dict[str, int] = {}  # kind -> the first row that has it
    for number, value in enumerate(values):
        if value is not None:
            kinds.setdefault(KINDS.get(type(value)) or type(value).__name__, number)
            if len(kinds) > 1:
                (kind, place), (other, _) = kinds.items()
                raise UserError(
                    f"{where[number]}: column {name!r} holds {other} ({str(value)[:40]!r}), but {kind} in "
                    f"{where[place]}; write the column in one type"
                )
    if kinds.keys() & {"a list", "an object"}:
        _check_keys(values, name, where)
    errors = (pyarrow.ArrowException, TypeError, ValueError, OverflowError)
    try:
        return pyarrow.array(values)
    except errors as error:
        reason = " ".join(str(error).split())[:200]
    # Something nested differs. The rows before the culprit convert, those up to it do not: search by halves.
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            pyarrow.array(values[:middle])
            good = middle
        except errors:
            bad = middle
    raise UserError(
        f"{where[bad - 1]}: column {name!r} is not of the type that it has in the rows before ({reason}); write the "
        "column in one type"
    )


def _check_keys(values: list[Any], name: str, where: list[str]) -> None:
    """Raises UserError where the objects of a column have more than KEY_LIMIT keys between them."""
    keys: set[tuple[Any, ...]] = set()

    def collect(value: Any, place: tuple[Any, ...]) -> None:
        for key, item in value.items() if isinstance(value, dict) else [(None, item) for item in value]:
            keys.add(inner := (place, key))
            if isinstance(item, (dict, list)):
                collect(item, inner)

    for value, row in zip(values, where):
        if value is not None:
            collect(value, ())
        if len(keys) > KEY_LIMIT:
            raise UserError(f"{row}: the objects of column {name!r} have over {KEY_LIMIT:,} different keys; make them alike")
