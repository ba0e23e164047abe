"""The nested JSON of SQuAD and KorQuAD 1.0: articles hold paragraphs, these hold questions, and these hold answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.errors import UserError

KORQUAD_2 = (
    "this is the layout of KorQuAD 2 (HTML contexts, one 'answer' object a question), which is not read; "
    "use KorQuAD 1.0, or flat rows with context, question and answers"
)


def is_nested(items: list[Any]) -> bool:
    """Whether the list under ``data`` holds articles rather than flat rows."""
    return any(isinstance(item, dict) and ("paragraphs" in item or "qas" in item) for item in items)


def flatten(articles: list[Any], path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """One flat row a question: id, title, context, question and answers {"text": [...], "answer_start": [...]}.

    A question without an answer (SQuAD 2.0's impossible ones, or a test set) has two empty lists. An offset that is not
    given is None.

    Yields:
        The row, and its place: ``article 3 paragraph 2 question 1``, counted from 1.

    Raises:
        UserError: the nesting is not that of SQuAD 1.1, SQuAD 2.0 or KorQuAD 1.0; names the file and the place.
    """
    for i, article in enumerate(articles, 1):
        place = f"article {i}"
        if isinstance(article, dict) and "paragraphs" not in article and "qas" in article:
            raise UserError(f"{path} {place}: {KORQUAD_2}")
        for j, paragraph in enumerate(_list(article, "paragraphs", f"{path} {place}"), 1):
            place = f"article {i} paragraph {j}"
            for k, question in enumerate(_list(paragraph, "qas", f"{path} {place}"), 1):
                place = f"article {i} paragraph {j} question {k}"
                for holder, key in ((paragraph, "context"), (question, "question")):
                    if not isinstance(holder, dict) or key not in holder:
                        raise UserError(f"{path} {place}: {key!r} is missing; KorQuAD 1.0 shows the layout")
                row = {
                    "id": question.get("id"),
                    "title": article.get("title"),
                    "context": paragraph["context"],
                    "question": question["question"],
                    "answers": _answers(question, f"{path} {place}"),
                }
                yield row, place


def _list(holder: Any, key: str, where: str) -> list[Any]:
    """The list under ``key``, which has to be there."""
    if not isinstance(holder, dict) or not isinstance(holder.get(key), list):
        raise UserError(f"{where}: an object with a list {key!r} is expected here; KorQuAD 1.0 shows the layout")
    return holder[key]


def _answers(question: dict[str, Any], where: str) -> dict[str, list[Any]]:
    """Texts and offsets of the answers of one question."""
    if isinstance(question.get("answer"), dict):
        raise UserError(f"{where}: {KORQUAD_2}")
    answers = question.get("answers")
    if answers is None:
        answers = []
    readable = isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers)
    if not readable or not all(isinstance(answer.get("text"), str) for answer in answers):
        raise UserError(f"{where}: 'answers' must be a list of objects with a 'text'; KorQuAD 1.0 shows the layout")
    return {
        "text": [answer["text"] for answer in answers],
        "answer_start": [answer.get("answer_start") for answer in answers],
    }
