"""One row of data, and what its text may hold, whichever file or stream it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from tasks.errors import RowError, UserError
from tasks.text import unusable_character

#: Lists and objects within each other in one column; answers need three. What walks a value need not fear for its stack.
DEPTH_LIMIT = 20


@dataclass(frozen=True)
class Row:
    """One row of a file. ``where`` says where a human finds it: ``train.csv line 12``, counted from 1."""

    values: dict[str, Any]
    where: str


def checked(row: Row) -> Row:
    """``row`` itself. Raises UserError where text holds a NUL or half of a surrogate pair, or the nesting is too deep."""
    for name, value in row.values.items():
        _check([name, value], name, row.where, -1)
    return row


def _check(value: Any, column: str, where: str, depth: int) -> None:
    if isinstance(value, str):
        if found := unusable_character(value):
            raise RowError(f"{where}: column {shown(column)} holds {found}; remove it", "unusable_character")
    elif isinstance(value, (dict, list)):
        if depth == DEPTH_LIMIT:
            raise UserError(f"{where}: column {shown(column)} is nested more than {DEPTH_LIMIT} deep; flatten it")
        for item in chain(value, value.values()) if isinstance(value, dict) else value:
            _check(item, column, where, depth + 1)


def shown(name: str) -> str:
    """A name of the data for a message: in quotes, short, and with signs that would not be seen spelled out."""
    name = name if len(name) <= 60 else name[:60] + "..."
    return repr(name) if name.isprintable() else ascii(name)


def listed(names: Iterable[str]) -> str:
    """Names of columns for a message: the first twenty, each without what cannot be printed."""
    first = [name if name.isprintable() and len(name) <= 60 else shown(name) for name in islice(names, 21)]
    return ", ".join(first[:20]) + (", ..." if len(first) > 20 else "")
