"""Abstractive summarization: ``document <summarize> summary <eos>``, the loss on the summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.base import Column, Example, HubDataset, Part, Prediction, Separator, Source, Task, text_of

SUMMARIZE = Separator("<summarize>")


class Summarize(Task):
    """Write the summary of a document; measured by ROUGE over Korean morphemes, beside the lead sentence."""

    name = "summarize"
    output_type = "generate_until"
    separators = (SUMMARIZE,)
    input_columns = (
        Column("document", "the text to summarize", ("article", "text", "content", "passage", "본문", "문서", "기사")),
    )
    target_columns = (Column("summary", "its summary", ("abstractive", "highlights", "title", "요약", "제목")),)
    default_dataset = HubDataset(
        "daekeun-ml/naver-news-summarization-ko",
        None,
        "train",
        "validation",
        ("date", "category", "press", "title", "document", "link", "summary"),
        "apache-2.0",
    )
    main_metric = "rougeL"
    metrics = {f"{kind}{unit}": True for unit in ("", "_words", "_syllables") for kind in ("rouge1", "rouge2", "rougeL")}
    max_new_tokens = 128  # three sentences of a Korean news summary

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """``document <summarize>``; a long document loses its end, where news says least."""
        return (Source(text_of(row, "document")), SUMMARIZE)

    def format(self, row: dict[str, Any]) -> Example:
        """The completion and the one reference are the summary."""
        summary = text_of(row, "summary").strip()
        return Example(row["id"], self.prompt(row), summary, (summary,))

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """ROUGE-1/2/L, F-measure from 0 to 1: morphemes, and beside them white-space words and syllables."""
        from tasks.metrics.rouge import KoreanRouge

        return KoreanRouge().compute(
            predictions=[prediction.text or "" for prediction in predictions],
            references=[list(prediction.references) for prediction in predictions],
        )

    def baseline(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The same figures for the document's first sentence, the baseline that news summarizers often fail to beat."""
        from tasks.metrics.kiwi import lead_sentences

        sentences = lead_sentences([example.prompt[0].text for example in examples])
        lead = [Prediction(example.id, "", text, example.references) for example, text in zip(examples, sentences)]
        metrics = self.score(lead)
        return {"baseline": "lead sentence"} | {
            f"baseline_{name}": value for name, value in metrics.items() if isinstance(value, float)
        }
