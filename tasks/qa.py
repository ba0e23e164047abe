"""Extractive question answering: ``context <question> question <answer> answer <eos>``, the loss on the answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.base import CardText, Column, Example, HubDataset, Metric, Part, Separator, Source, Task
from tasks.errors import RowError
from tasks.text import nfc, text_of, unusable_character

QUESTION = Separator("<question>")
ANSWER = Separator("<answer>")

#: The count in all_results.json of rows whose ``answer_start`` points at something else.
WRONG_START = "wrong_answer_start"


def read_answers(value: Any, start: Any = None) -> dict[str, list[Any]]:
    """Texts and ``answer_start`` (None: unknown) from any of the shapes that data sets use; a table's cell may hold JSON.

    ``start`` is what a column of its own says. What is no text or number is left as it is.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            told = json.loads(value)
        except (ValueError, RecursionError):
            told = None
        told = [told] if isinstance(told, dict) else told
        if told and isinstance(told, list) and all(isinstance(one, dict) and "text" in one for one in told):
            value = told[0] if len(told) == 1 else told
    if isinstance(value, list) and value and all(isinstance(answer, dict) for answer in value):
        value = {key: [answer.get(key) for answer in value] for key in ("text", "answer_start")}
    if isinstance(value, dict):
        value, start = value.get("text"), value.get("answer_start", start)
    texts = value if isinstance(value, list) else [] if value is None else [value]
    starts = start if isinstance(start, list) else [start]
    if len(starts) != len(texts):
        starts = [None] * len(texts)
    return {"text": texts, "answer_start": [_from_cell(each) for each in starts]}


def _from_cell(start: Any) -> Any:
    """An ``answer_start`` of a csv cell as a number."""
    try:
        return (float(start) if start.strip() else None) if isinstance(start, str) else start
    except ValueError:
        return start


class QA(Task):
    """Answer a question from a context; measured by KorQuAD's exact match and character F1.

    A context that does not fit is read through overlapping windows: training takes a window that holds the answer,
    inference asks every window and keeps the answer with the best score.
    """

    name = "qa"
    output_type = "generate_until"
    page = "span"
    separators = (QUESTION, ANSWER)
    input_columns = (
        Column(
            "context",
            "the text that holds the answer",
            ("paragraph", "passage", "document", "지문", "문맥", "본문", "원문", "내용"),
            sentences=True,
        ),
        Column("question", "the question", ("query", "질문")),
    )
    target_columns = (
        Column(
            "answers",
            "{text: [...], answer_start: [...]}, a list of such objects or of texts, or one text",
            ("answer", "answer_text", "정답", "답", "답변"),
            beside=("answer_start", "answer_starts", "answer_begin"),
            read=read_answers,
        ),
    )
    default_dataset = HubDataset("KorQuAD/squad_kor_v1", None, "train", "validation", "cc-by-nd-4.0")
    main_metric = "f1"
    metrics = {
        "f1": Metric("f1", "character F1 (0-100)", "글자 F1 (0-100)", higher=True, most=100.0),
        "exact_match": Metric("exact_match", "exact match (0-100)", "완전 일치 (0-100)", higher=True),
        # What free answers have, where --extractive took them from their context.
        "free_f1": Metric("f1", "character F1 of free answers (0-100)", "자유 생성의 글자 F1 (0-100)"),
        "free_exact_match": Metric("exact_match", "exact match of free answers (0-100)", "자유 생성의 완전 일치 (0-100)"),
    }
    baselines = {"word matching": "단어 일치"}
    grouped_by = "context"
    corpus_columns = ("context", "question")
    extractive = True
    max_new_tokens = 48  # the longest answers of KorQuAD 1.0 and TyDi QA are about 40 KoGPT2 tokens
    hub_task = "question-answering"
    card = {
        "en": CardText(
            "answers a question in Korean from a text that holds the answer",
            "Questions whose answer is a short piece of the given text.",
            (
                "It always answers, also where the text does not hold the answer.",
                "The answer is written, not copied: it may differ from the text by a character.",
                "It knows nothing reliable beyond the given text.",
            ),
        ),
        "ko": CardText(
            "한국어 지문에서 질문의 답을 찾습니다",
            "답이 지문의 짧은 한 부분인 질문.",
            (
                "지문에 답이 없어도 언제나 답합니다.",
                "답을 지문에서 그대로 옮기지 않고 직접 쓰므로 지문과 한두 글자 다를 수 있습니다.",
                "지문에 없는 내용을 물으면 그 답은 믿을 수 없습니다.",
            ),
        ),
    }
    usage_example = {
        "context": "시청은 다음 달 1일부터 주말에도 도서관을 연다고 밝혔다. 주말에는 오전 9시부터 오후 6시까지 문을 연다.",
        "question": "주말에는 몇 시부터 문을 여나요?",
    }

    def prompt(self, row: dict[str, Any], keep: tuple[int, int] | None = None) -> tuple[Part, ...]:
        """``context <question> question <answer>``; ``keep`` is where the answer stands in the context."""
        context = Source(text_of(row, "context"), keep=keep, windows=True)
        return (context, QUESTION, text_of(row, "question"), ANSWER)

    def format(self, row: dict[str, Any]) -> Example:
        """The completion is the first answer; every answer is a reference.

        Raises:
            RowError: there is no answer, or the first one does not stand in the context.
        """
        context = text_of(row, "context")
        texts, starts = _answers_of(row)
        if context != row["context"]:  # decomposed Hangul; offsets may have been counted before it was decomposed
            composed = [start if start is None else len(nfc(row["context"][: max(start, 0)])) for start in starts]
            pairs = zip(texts, starts, composed)
            starts = [other if start is None or context.startswith(text, other) else start for text, start, other in pairs]
        keep = _span(context, texts[0], starts[0])
        wrong = any(start is not None and not context.startswith(text, max(start, 0)) for text, start in zip(texts, starts))
        references = tuple(dict.fromkeys(texts))
        return Example(row["id"], self.prompt(row, keep), texts[0], references, notes=(WRONG_START,) * wrong)

    def notices(self, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
        """How many rows have an ``answer_start`` where their answer does not stand."""
        return [
            f"{split}: answer_start does not point at the answer in {row[WRONG_START]:,} of {row['rows']:,} rows; the "
            "nearest place where the answer stands is taken"
            for split, row in counts.items()
            if row.get(WRONG_START)
        ]

    def metric(self) -> Any:
        """Exact match and character F1 in percent, as the official script of KorQuAD 1.0 prints them."""
        from tasks.metrics.korquad import Korquad

        return Korquad()

    def baseline_answers(self, examples: Sequence[Example], train: Sequence[Example] | None) -> tuple[str, list[str]]:
        """A word-matching guess: the word of the context whose neighbours share most with the question."""
        from tasks.metrics.korquad import matching_word

        return "word matching", [matching_word(example.source_text, example.prompt[2]) for example in examples]


def _answers_of(row: dict[str, Any]) -> tuple[list[str], list[int | None]]:
    """Texts and character offsets (None: unknown) of a row's answers."""
    answers = read_answers(row.get("answers"))
    texts, starts = answers["text"], answers["answer_start"]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise RowError("the row has no answer; drop such rows with --skip_bad_rows", "no_answer")
    if found := next(filter(None, map(unusable_character, texts)), None):
        raise RowError(f"an answer holds {found}; remove it", "unusable_character")
    # Space around an answer is an accident of annotation; the offset moves along with what is stripped in front.
    offsets = [
        start if start is None else start + len(text) - len(text.lstrip())
        for text, start in zip(texts, map(_offset, starts))
    ]
    return [nfc(text).strip() for text in texts], offsets


def _offset(start: Any) -> int | None:
    """An ``answer_start``. pandas writes 5.0, and NaN for none, where another row has no offset."""
    if start is None or (isinstance(start, float) and math.isnan(start)):
        return None
    if isinstance(start, bool) or not isinstance(start, (int, float)) or start != start // 1:
        problem = f"answer_start is {start!r:.40}, not a number of characters; mend it, or leave it out"
        raise RowError(problem, "answer_start")
    return int(start)


def _span(context: str, answer: str, start: int | None) -> tuple[int, int]:
    """Where ``answer`` stands in ``context``: at ``start``, or else the occurrence that is nearest to it."""
    start = max(start or 0, 0)
    found = (context.rfind(answer, 0, start + len(answer)), context.find(answer, start))
    places = [place for place in found if place >= 0]
    if not places:
        problem = f"the answer {answer[:40]!r} is not in its context; mend the row, or drop it with --skip_bad_rows"
        raise RowError(problem, "answer_not_in_context")
    place = min(places, key=lambda place: abs(place - start))
    return place, place + len(answer)
