"""Rows of JSON and JSON Lines, flat or in the nested layout of SQuAD and KorQuAD 1.0, with nothing lost or guessed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tasks.errors import UserError
from tasks.reading.charset import open_text
from tasks.reading.rows import Row, shown

KORQUAD_2 = (
    "this is the layout of KorQuAD 2 (HTML contexts, one 'answer' object a question), which is not read; "
    "use KorQuAD 1.0, or flat rows with context, question and answers"
)
LAYOUT = "KorQuAD 1.0 shows the layout"

#: What a question is called by KorQuAD, KLUE and AI-Hub.
IDS = ("id", "guid", "question_id")


def read_jsonl(path: str) -> Iterator[Row | UserError]:
    """One object a line. Only \\n ends a line: text may hold U+2028 and the like."""
    with open_text(path, newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.isspace():
                where = f"{path} line {number}"
                try:
                    yield Row(_object(parse(line.rstrip("\r\n"), path, number), where), where)
                except UserError as error:
                    yield error


def read_json(path: str) -> Iterator[Row | UserError]:
    """A list of objects, {"data": [objects]}, the nested layout of SQuAD, or JSON Lines under the wrong name.

    Another object is one row, which may hold the rows deeper down (``lists_below``).
    """
    with open_text(path) as file:
        text = file.read()
    if not text.strip():
        return
    try:
        content = parse(text, path)
    except UserError as error:
        if getattr(error.__cause__, "msg", None) != "Extra data":
            raise
        yield from read_jsonl(path)  # a second value after the first: one object a line
        return
    del text
    # A single object is JSON Lines with one line.
    items = content.get("data", [content]) if isinstance(content, dict) else content
    if isinstance(items, dict) and lists_below(items):
        items = [content]
    if not isinstance(items, list):
        raise UserError(f"{path}: a list of objects is expected, or an object with such a list under 'data'")
    if any(isinstance(item, dict) and ("paragraphs" in item or "qas" in item) for item in items):
        yield from _questions(items, path)
        return
    for number, item in enumerate(items, 1):
        where = f"{path} row {number}"
        try:
            yield Row(_object(item, where), where)
        except UserError as error:
            yield error


def lists_below(value: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """{keys that lead there: list} of the lists of objects in the objects of ``value``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            found |= {f"{shown(key)} {deeper}": rows for deeper, rows in lists_below(item).items()}
        elif isinstance(item, list) and item and all(isinstance(row, dict) and row for row in item):
            found[shown(key)] = item
    return found


def parse(text: str, path: str, first_line: int = 1) -> Any:
    """The JSON in ``text``, from ``first_line`` of ``path`` on; may hold NaN. Raises UserError, also on a repeated key."""
    where = path if "\n" in text.strip() else f"{path} line {first_line}"

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            values = " or ".join(repr(item)[:40] for key, item in pairs if key == twice)
            reason = f"the key {shown(twice)} stands twice in one object; only one of them can be meant: {values}"
            raise UserError(f"{where}: {reason}")
        return value

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        where = f"{path} line {first_line + error.lineno - 1}"
        raise UserError(f"{where}: not valid JSON ({error.msg} at column {error.colno}); mend it") from error
    except RecursionError:
        raise UserError(f"{where}: the JSON is nested too deeply; flatten it") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{where}: JSON that cannot be read ({str(error).split(';')[0]}); mend it") from None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        kind = "an empty object" if value == {} else type(value).__name__
        raise UserError(f'{where}: {kind} where an object with the columns is expected, such as {{"text": "..."}}')
    return value


def _questions(articles: list[Any], path: str) -> Iterator[Row]:
    """One flat row a question: id, title, context, question and answers {"text": [...], "answer_start": [...]}.

    A question without an answer (SQuAD 2.0's impossible ones, or a test set) has two empty lists, an offset that is not
    given is None. Raises UserError where the nesting is not that of SQuAD 1.1, SQuAD 2.0 or KorQuAD 1.0.
    """
    for i, article in enumerate(articles, 1):
        if isinstance(article, dict) and "paragraphs" not in article and "qas" in article:
            raise UserError(f"{path} article {i}: {KORQUAD_2}")
        for place, paragraph in _items(article, "paragraphs", f"{path} article {i}", "paragraph"):
            for where, question in _items(paragraph, "qas", place, "question"):
                for holder, key in ((paragraph, "context"), (question, "question")):
                    if not isinstance(holder, dict) or key not in holder:
                        raise UserError(f"{where}: {key!r} is missing; {LAYOUT}")
                if isinstance(question.get("answer"), dict):
                    raise UserError(f"{where}: {KORQUAD_2}")
                answers = [] if question.get("answers") is None else question["answers"]
                answers = [answers] if isinstance(answers, dict) else answers  # AI-Hub
                readable = isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers)
                if not readable or not all(isinstance(answer.get("text"), (str, int, float)) for answer in answers):
                    raise UserError(f"{where}: 'answers' must be a list of objects with a 'text'; {LAYOUT}")
                columns = {
                    "id": next((question[key] for key in IDS if question.get(key) is not None), None),
                    "title": article.get("title", article.get("doc_title")),
                    "context": paragraph["context"],
                    "question": question["question"],
                    "answers": {key: [answer.get(key) for answer in answers] for key in ("text", "answer_start")},
                }
                yield Row(columns, where)


def _items(holder: Any, key: str, where: str, name: str) -> Iterator[tuple[str, Any]]:
    """The place and value of each item of the list under ``key``, which has to be there."""
    if not isinstance(holder, dict) or not isinstance(holder.get(key), list):
        raise UserError(f"{where}: an object with a list {key!r} is expected here; {LAYOUT}")
    for number, item in enumerate(holder[key], 1):
        yield f"{where} {name} {number}", item
