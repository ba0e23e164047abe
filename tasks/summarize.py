"""Abstractive summarization: ``document <summarize> summary <eos>``, the loss on the summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.base import CardText, Column, Example, HubDataset, Metric, Part, Separator, Source, Task
from tasks.text import text_of

SUMMARIZE = Separator("<summarize>")


class Summarize(Task):
    """Write the summary of a document; measured by ROUGE over Korean morphemes, beside the lead sentence."""

    name = "summarize"
    output_type = "generate_until"
    page = "beside"
    separators = (SUMMARIZE,)
    input_columns = (
        Column(
            "document",
            "the text to summarize",
            ("article", "text", "content", "passage", "article_original", "본문", "문서", "기사", "원문", "내용"),
            sentences=True,
        ),
    )
    target_columns = (
        Column(
            "summary",
            "its summary",
            ("abstractive", "abstract", "highlights", "summary_text", "요약", "요약문"),
            last_aliases=("title", "headline", "제목", "헤드라인"),
            sentences=True,
        ),
    )
    default_dataset = HubDataset("daekeun-ml/naver-news-summarization-ko", None, "train", "validation", "apache-2.0")
    main_metric = "rougeL"
    metrics = {
        f"rouge{kind}{unit}": Metric("rouge", f"ROUGE-{kind}, {english}", f"ROUGE-{kind} ({korean})", higher=True)
        for unit, english, korean in (
            ("", "morphemes", "형태소"), ("_words", "words", "어절"), ("_syllables", "syllables", "음절"),
        )
        for kind in "12L"
    }  # fmt: skip
    baselines = {"lead sentence": "첫 문장"}
    corpus_columns = ("document", "summary")
    max_new_tokens = 128  # three sentences of a Korean news summary
    hub_task = "summarization"
    card = {
        "en": CardText(
            "writes a short summary of a Korean document",
            "Summaries of documents like those it was trained on, read by a person before anything is done with them.",
            (
                "It can state what the document does not say, above all names, numbers and dates: compare them.",
                "A document that is too long loses its end before it is read.",
                "Other kinds of text than those of the training data are summarized worse than the figures above say.",
            ),
        ),
        "ko": CardText(
            "한국어 문서를 읽고 짧은 요약을 씁니다",
            "학습 데이터와 비슷한 문서의 요약. 결과를 쓰기 전에 사람이 읽고 확인해야 합니다.",
            (
                "문서에 없는 내용을 쓸 수 있습니다. 특히 이름, 숫자, 날짜는 원문과 비교하세요.",
                "너무 긴 문서는 뒷부분을 잘라 내고 읽습니다.",
                "학습 데이터와 종류가 다른 글에서는 위의 수치보다 성능이 낮습니다.",
            ),
        ),
    }
    usage_example = {
        "document": "시청은 다음 달 1일부터 주말에도 시립 도서관을 연다고 밝혔다. 평일에 오기 어려운 시민이 많다는 의견을 "
        "받아들인 것이다. 주말에는 오전 9시부터 오후 6시까지 문을 연다.",
    }

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """``document <summarize>``; a long document loses its end, where news says least."""
        return (Source(text_of(row, "document")), SUMMARIZE)

    def format(self, row: dict[str, Any]) -> Example:
        """The completion and the one reference are the summary."""
        summary = text_of(row, "summary").strip()
        return Example(row["id"], self.prompt(row), summary, (summary,))

    def metric(self) -> Any:
        """ROUGE-1/2/L, F-measure from 0 to 1: morphemes, and beside them white-space words and syllables."""
        from tasks.metrics.rouge import KoreanRouge

        return KoreanRouge()

    def baseline_answers(self, examples: Sequence[Example], train: Sequence[Example] | None) -> tuple[str, list[str]]:
        """The document's first sentence, the baseline that news summarizers often fail to beat."""
        from tasks.metrics.kiwi import lead_sentences

        return "lead sentence", lead_sentences([example.source_text for example in examples])
