"""Which column of the data is which column of the task, and rows of files as a table with the task's columns."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow
from datasets.fingerprint import generate_random_fingerprint

from tasks.base import Column, Task
from tasks.errors import UserError
from tasks.progress import progress
from tasks.reading.json_rows import lists_below
from tasks.reading.rows import Row, listed
from tasks.reading.values import EMPTY_TEXT, array_of, read_values, row_id

logger = logging.getLogger(__name__)

#: Columns that name a row, by preference. The first that exists becomes ``id``.
ID_COLUMNS = ("id", "guid")


@dataclass
class Loaded:
    """One split as it came: ``data`` has ``where`` and the task's columns, ``ids`` what the data calls each row.

    ``choices`` are (file or split, what was decided while it was read), ``counts`` how often.
    """

    data: datasets.Dataset
    ids: list[str | None]
    counts: Counter[str] = field(default_factory=Counter)
    choices: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Table:
    """The rows of one file. ``origin`` is its name in messages; ``lenient``: a row without an input is left out."""

    origin: str
    rows: Iterable[Row]
    lenient: bool = False


def columns_of(task: Task) -> tuple[Column, ...]:
    """Every column of a task, those of the input first."""
    return tuple(task.input_columns) + tuple(task.target_columns)


def parse_column_map(text: str | None, task: Task) -> dict[str, str]:
    """``"document=body,summary=title"`` as {our name: their name}.

    Raises UserError where a piece is not ``ours=theirs``, ours is not a column of the task, or a name is given twice.
    """
    known = list(dict.fromkeys(column.name for column in (*columns_of(task), *task.optional_columns)))
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


def folded(name: str) -> str:
    """A column's name for comparison: in NFC, without case, spaces, _ and -."""
    return re.sub(r"[\s_\ufeff\u200b-]", "", unicodedata.normalize("NFC", str(name))).casefold()


def names_of(task: Task, column: Column) -> tuple[tuple[str, ...], ...]:
    """What a column may be called in the data without --column_map: our name, aliases, last aliases.

    A txt file calls its one column ``text``.
    """
    return ((column.name,), (*column.aliases, *(("text",) if len(columns_of(task)) == 1 else ())), column.last_aliases)


def resolve_columns(
    task: Task, available: Collection[str], column_map: dict[str, str], origin: str, *, targets: bool = True
) -> dict[str, str]:
    """{our name: their name} for the columns of ``origin`` (a file or split, for the message).

    ``column_map`` wins, then that of the task's model where it fits, then our own name, then an alias, then a last alias.
    No column of the data is used twice. Raises UserError where a column is missing, or two fit; without ``targets`` a target
    column may be missing, and is not in the result.
    """
    there = f"the columns there are {listed(available)}"
    needed = [column.name for column in (columns_of(task) if targets else task.input_columns)]
    result: dict[str, str] = {}

    def fitting(names: Iterable[str]) -> list[str]:
        wanted = {folded(name) for name in names}
        return [name for name in available if folded(name) in wanted and name not in result.values()]

    remembered = parse_column_map(task.column_map, task)
    for giver, mapping in (("--column_map", column_map), ("the model's task.json", remembered)):
        for ours in mapping.keys() - result.keys():
            theirs = mapping[ours]
            found = [theirs] if theirs in available else fitting([theirs])
            if len(found) == 1 and found[0] not in result.values():
                result[ours] = found[0]
            elif ours in needed and (mapping is column_map or ours not in available):
                reason = f"no column {theirs!r}, which {giver} gives for {ours!r}"
                raise UserError(f"{origin}: {reason}; {there}; correct --column_map {ours}=NAME")
    for level in range(3):
        for column in columns_of(task):
            if column.name in result:
                continue
            names = names_of(task, column)[level]
            found = [name for name in names[:1] if level == 0 and name in available and name not in result.values()]
            found = found or fitting(names)
            if level == 2 and found:  # a title is a summary, but not beside a column that may be the summary itself
                hints = {folded(name) for names in names_of(task, column)[:2] for name in names if len(name) > 1}
                others = (name for name in fitting(available) if any(hint in folded(name) for hint in hints))
                found += [name for name in others if name not in found]
            if len(found) > 1:
                which = f"{column.name} could be {' or '.join(found)}"
                raise UserError(f"{origin}: {which}; name it with --column_map {column.name}=NAME")
            if found:
                result[column.name] = found[0]
    for column in columns_of(task):
        if column.name in needed and column.name not in result and not column.optional:
            reason = f"no column {column.name!r} ({column.help})"
            raise UserError(f"{origin}: {reason}; {there}; if one of them is meant, add --column_map {column.name}=NAME")
    return {name: result[name] for name in (column.name for column in columns_of(task)) if name in result}


def beside_of(column: Column, available: Collection[str]) -> str | None:
    """The column of the data that completes ``column``, such as ``answer_start`` beside a text."""
    wanted = {folded(name) for name in column.beside}
    return next((name for name in available if folded(name) in wanted), None)


def choice_of(task: Task, columns: dict[str, str], available: Collection[str]) -> str:
    """Which columns were read as which, in words; nothing where all have the task's own names.

    Of rows that come in several shapes, those that are not read are named, too.
    """
    shown = [f"{ours} = {theirs}" for ours, theirs in columns.items() if ours != theirs]
    besides = ((column, beside_of(column, available)) for column in columns_of(task) if column.name in columns)
    shown += [f"{name} completes {column.name}" for column, name in besides if name]
    if shown and any(column.optional for column in columns_of(task)):
        unread = [name for name in available if name not in (*columns.values(), id_column(available))]
        shown += [f"{listed(unread)} not read"] if unread else []
    return ", ".join(shown)


def say(choices: Iterable[tuple[str, str]]) -> None:
    """Write the choices of ``Loaded`` to the log."""
    for origin, choice in choices:
        logger.info("%s: %s", origin, choice)


def load_rows(rows: Iterable[Row], task: Task, column_map: dict[str, str], origin: str, *, targets: bool = True) -> Loaded:
    """As ``load_tables`` of one table."""
    return load_tables([Table(origin, rows)], task, column_map, targets=targets)


def load_tables(
    tables: Iterable[Table], task: Task, column_map: dict[str, str], *, targets: bool = True, skip: bool = False
) -> Loaded:
    """The rows as an in-memory dataset with the task's columns, everything else dropped; each table has its own names.

    A value that a row lacks becomes None. A target column that is allowed to be missing is None in every row. Raises
    UserError where a column is missing or mixes types; with ``skip`` a value of another type is as good as none.
    """
    data: dict[str, list[Any]] = {column.name: [] for column in columns_of(task)}
    loaded = Loaded(datasets.Dataset.from_dict({}), [])
    where: list[str] = []
    for table in tables:
        places, ids, seen, values = _gather(table, task, column_map)
        try:
            found = resolve_columns(task, seen, column_map, table.origin, targets=targets)
        except UserError as error:
            if len(places) != 1:
                raise
            key, below = _rows_below(seen, task, column_map, error, targets=targets)
            loaded.choices.append((table.origin, f"its rows lie under {key}"))
            places, ids, seen, values = _gather(Table(table.origin, below), task, column_map)
            found = resolve_columns(task, seen, column_map, table.origin, targets=targets)
        choice = choice_of(task, found, seen)
        if choice and choice not in (said for _, said in loaded.choices):
            loaded.choices.append((table.origin, choice))
        read = {}
        for column in columns_of(task):
            theirs, beside = found.get(column.name), beside_of(column, seen)
            read[column.name] = [None] * len(places) if theirs is None else read_values(
                column, values[theirs], values.get(beside), loaded.counts, target=column in task.target_columns
            )  # fmt: skip
        kept = range(len(places))
        if table.lenient:
            inputs = [read[column.name] for column in task.input_columns]
            kept = [n for n in kept if all(isinstance(value := each[n], str) and value.strip() for each in inputs)]
            loaded.counts[EMPTY_TEXT] += len(places) - len(kept)
        for name, column in data.items():
            column += [read[name][n] for n in kept]
        where += [places[n] for n in kept]
        loaded.ids += [ids[n] for n in kept]
    arrays = {"where": pyarrow.array(where, pyarrow.string())}
    arrays |= {name: array_of(values, name, where, skip=skip) for name, values in data.items()}
    say(loaded.choices)
    # Without a fingerprint the whole table would be pickled to get one, which fails where a column exceeds 2 GiB.
    loaded.data = datasets.Dataset(pyarrow.table(arrays), fingerprint=generate_random_fingerprint())
    return loaded


def _gather(
    table: Table, task: Task, column_map: dict[str, str]
) -> tuple[list[str], list[str | None], dict[str, Any], dict[str, list[Any]]]:
    """Where each row stands, its id, every column with its first value, and the columns that the task may read."""
    names = {name for column in columns_of(task) for names in names_of(task, column) for name in (*names, *column.beside)}
    given = (*column_map.values(), *parse_column_map(task.column_map, task).values(), *ID_COLUMNS, *names)
    wanted = {folded(name) for name in given}
    seen: dict[str, Any] = {}
    values: dict[str, list[Any]] = {}
    where: list[str] = []
    with progress(None, f"reading {Path(table.origin).name}") as bar:
        for row in table.rows:
            for name, value in row.values.items():
                if name not in seen:
                    seen[name] = value
                    if folded(name) in wanted:
                        values[name] = [None] * len(where)
            for name, column in values.items():
                column.append(row.values.get(name))
            where.append(row.where)
            bar.update()
    own = id_column(seen)
    return where, [None] * len(where) if own is None else [row_id(value) for value in values[own]], seen, values


def id_column(available: Collection[str]) -> str | None:
    """The column that names the rows."""
    return next((name for known in ID_COLUMNS for name in available if folded(name) == known), None)


def _rows_below(
    content: dict[str, Any], task: Task, column_map: dict[str, str], error: UserError, *, targets: bool
) -> tuple[str, list[Row]]:
    """The one list of objects with the task's columns somewhere in the one object of a file, and its key.

    Raises ``error`` where there is none, naming lists that do not fit, and UserError where several fit.
    """
    fit: dict[str, list[Row]] = {}
    lists = lists_below(content)
    for key, rows in lists.items():
        try:
            resolve_columns(task, {name: None for row in rows for name in row}, column_map, key, targets=targets)
            fit[key] = [Row(row, f"{key} row {number}") for number, row in enumerate(rows, 1)]
        except UserError:
            continue
    if len(fit) == 1:
        return fit.popitem()
    if fit:
        raise UserError(f"{str(error).partition(':')[0]}: the rows could lie under {' or '.join(fit)}; save one as jsonl")
    hint = f"; the rows seem to lie under {' or '.join(lists)}" if lists else ""
    raise UserError(f"{error}{hint}") from None


def named(row: dict[str, Any], task: Task, columns: dict[str, str], where: str) -> dict[str, Any]:
    """A row of a stream: the task's columns under their own names, and ``where``, which is its ``id`` too."""
    values = {
        column.name: read_values(column, [row.get(columns[column.name])], None, Counter(), target=False)[0]
        for column in columns_of(task)
    }
    return {"id": where, "where": where} | values
