"""Rows of JSON and JSON Lines, flat or in the nested layout of SQuAD, with nothing in them lost or guessed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tasks.errors import UserError
from tasks.reading import nested_qa
from tasks.reading.charset import encoding_of, lines_of
from tasks.reading.rows import Row, shown


def read_jsonl(path: str) -> Iterator[Row]:
    """One object a line. Only \\n ends a line: text may hold U+2028 and the like."""
    for number, line in enumerate(lines_of(path, encoding_of(path), newline="\n"), 1):
        if not line.isspace():
            where = f"{path} line {number}"
            yield Row(_object(parse(line.rstrip("\r\n"), path, number), where), where)


def read_json(path: str) -> Iterator[Row]:
    """A list of objects, {"data": [objects]}, the nested layout of SQuAD, or JSON Lines under the wrong name."""
    with open(path, encoding=encoding_of(path)) as file:
        text = file.read()
    if not text.strip():
        return
    try:
        content, repeated = _load(text, path, 1)
    except UserError as error:
        if not isinstance(error.__cause__, json.JSONDecodeError) or error.__cause__.msg != "Extra data":
            raise
        yield from read_jsonl(path)  # a second value after the first: one object a line
        return
    del text
    items = content
    if isinstance(content, dict):
        items = content.get("data", [content])  # a single object is JSON Lines with one line
    if not isinstance(items, list):
        raise UserError(f"{path}: a list of objects is expected, or an object with such a list under 'data'")
    nested = nested_qa.is_nested(items)
    if repeated:
        unit = "article" if nested else "row"
        places = (f"{path} {unit} {number}" for number, item in enumerate(items, 1) if _holds(item, repeated[0]))
        raise _repetition(repeated[0], next(places, path))
    if nested:
        for values, place in nested_qa.flatten(items, path):
            yield Row(values, f"{path} {place}")
    else:
        for number, item in enumerate(items, 1):
            where = f"{path} row {number}"
            yield Row(_object(item, where), where)


def parse(text: str, path: str, first_line: int = 1) -> Any:
    """The value of ``text``, which begins on ``first_line`` of ``path``; NaN is allowed.

    Raises:
        UserError: it is not JSON, nested too deeply, or an object has a key twice.
    """
    value, repeated = _load(text, path, first_line)
    if repeated:
        raise _repetition(repeated[0], f"{path} line {first_line}")
    return value


class _Repeated(dict):
    """An object in which a key stands twice. ``json`` keeps the last value without a word."""

    key: str


def _load(text: str, path: str, first_line: int) -> tuple[Any, list[_Repeated]]:
    """The value of ``text`` and the objects in it that have a key twice."""
    repeated: list[_Repeated] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            value = _Repeated(value)
            value.key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            repeated.append(value)
        return value

    where = f"{path} line {first_line}"
    try:
        return json.loads(text, object_pairs_hook=collect), repeated
    except json.JSONDecodeError as error:
        where = f"{path} line {first_line + error.lineno - 1}"
        raise UserError(f"{where}: not valid JSON ({error.msg} at column {error.colno}); mend it") from error
    except RecursionError:
        raise UserError(f"{where}: the JSON is nested too deeply; flatten it") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{where}: JSON that cannot be read ({str(error).split(';')[0]}); mend it") from None


def _repetition(value: _Repeated, where: str) -> UserError:
    return UserError(f"{where}: the key {shown(value.key)} stands twice in one object; only one of them can be meant")


def _holds(value: Any, part: _Repeated) -> bool:
    """Whether ``part`` is somewhere in ``value``. Without recursion: JSON may be nested as deeply as the stack allows."""
    rest = [value]
    while rest:
        item = rest.pop()
        if item is part:
            return True
        if isinstance(item, (dict, list)):
            rest += item.values() if isinstance(item, dict) else item
    return False


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        kind = "an empty object" if value == {} else type(value).__name__
        raise UserError(f'{where}: {kind} where an object with the columns is expected, such as {{"text": "..."}}')
    return value
