"""Natural language inference: ``premise <sep> hypothesis <nli> label <eos>``, the loss on the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.base import CardText, Column, Example, HubDataset, Part, Prediction, RowError, Separator, Source, Task, text_of

if TYPE_CHECKING:
    import numpy as np

SEP = Separator("<sep>")
NLI_SEPARATOR = Separator("<nli>")

#: In the order of KLUE's integers: 0, 1, 2. XNLI and KorNLI use the same order.
LABELS = ("entailment", "neutral", "contradiction")

#: The confusion matrix, row by row: label of the reference, label of the prediction.
CELLS = tuple(f"{right}, {given}" for right in LABELS for given in LABELS)

#: Other names of the labels, lower case.
LABEL_ALIASES = {
    **{label: label for label in LABELS},
    **{str(number): label for number, label in enumerate(LABELS)},
    **dict.fromkeys(("참", "함의", "수반", "entail", "e"), "entailment"),
    **dict.fromkeys(("중립", "n"), "neutral"),
    **dict.fromkeys(("모순", "거짓", "contradict", "c"), "contradiction"),
}


class NLI(Task):
    """Does the hypothesis follow from the premise? Measured by accuracy and macro-F1, beside the majority label.

    The answer is chosen by scoring the three label words, never by free generation, so there is always one.
    """

    name = "nli"
    output_type = "multiple_choice"
    separators = (SEP, NLI_SEPARATOR)
    input_columns = (
        Column("premise", "what is known", ("sentence1", "gold_sentence1", "전제")),
        Column("hypothesis", "what may follow from it", ("sentence2", "gold_sentence2", "가설")),
    )
    target_columns = (
        Column(
            "label",
            "entailment, neutral or contradiction; 0, 1, 2 in that order; or 함의, 중립, 모순",
            ("gold_label", "레이블", "라벨"),
        ),
    )
    default_dataset = HubDataset(
        "klue/klue",
        "nli",
        "train",
        "validation",
        ("guid", "source", "premise", "hypothesis", "label"),
        "cc-by-sa-4.0",
    )
    main_metric = "accuracy"
    metrics = {"accuracy": True, "macro_f1": True}
    # Each is one token of KoGPT2, so no label is favoured by its length and one forward pass scores all three. 함의, the
    # usual word for entailment, would be two.
    label_words = {"entailment": "참", "neutral": "중립", "contradiction": "모순"}
    max_new_tokens = 8  # room for a label word that a foreign tokenizer cuts into bytes, and eos
    hub_task = "text-classification"
    card = {
        "en": CardText(
            "decides whether a Korean hypothesis follows from a premise (entailment), contradicts it (contradiction), or "
            "neither (neutral)",
            "Pairs of short sentences like those it was trained on. The label is chosen by comparing the probabilities of "
            "three words, so there is always an answer, and it says nothing of how sure it is.",
            (
                "Models of this task often read the label off the wording of the hypothesis alone.",
                "It judges the pair, not the world: a true sentence that the premise does not support is no entailment.",
                "The scores are not calibrated probabilities.",
            ),
        ),
        "ko": CardText(
            "한국어 가설이 전제에서 따라 나오는지(entailment), 전제와 모순되는지(contradiction), 어느 쪽도 아닌지(neutral) "
            "판단합니다",
            "학습 데이터와 비슷한 짧은 문장 쌍. 세 단어의 확률을 비교해 고르므로 언제나 답이 있으며, 얼마나 확실한지는 말해 "
            "주지 않습니다.",
            (
                "이 과제의 모델은 가설의 말투만 보고 답을 맞히는 일이 많습니다.",
                "세상이 아니라 두 문장의 관계를 판단합니다. 맞는 말이라도 전제가 뒷받침하지 않으면 함의가 아닙니다.",
                "점수는 보정된 확률이 아닙니다.",
            ),
        ),
    }
    usage_example = {
        "premise": "민준이는 어제 도서관에서 책을 두 권 빌렸다.",
        "hypothesis": "민준이는 어제 도서관에 갔다.",
    }

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """``premise <sep> hypothesis <nli>``; only the premise may be cut."""
        return (Source(text_of(row, "premise")), SEP, text_of(row, "hypothesis"), NLI_SEPARATOR)

    def format(self, row: dict[str, Any]) -> Example:
        """The completion is the label's word, the reference the label's canonical name.

        Raises:
            RowError: the label is not one of those known, -1 (which XNLI-like sets give to rows without agreement) included.
        """
        given = row.get("label")
        if isinstance(given, float) and given.is_integer():  # pandas writes 2.0 where another row has no label
            given = int(given)
        label = LABEL_ALIASES.get(str(given).strip().lower())
        if label is None:
            raise RowError(
                f"unknown label {row.get('label')!r:.60}; known are {', '.join(LABELS)} (any case), 0, 1, 2 in that order, "
                "and 함의, 중립, 모순; drop rows without a label with --skip_bad_rows"
            )
        return Example(row["id"], self.prompt(row), self.label_words[label], (label,))

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """Accuracy, macro-F1, figures of each label, and the confusion matrix {reference: {prediction: rows}}."""
        from tasks.metrics.classification import Classification

        return Classification().compute(
            predictions=[prediction.text for prediction in predictions],
            references=[prediction.references[0] for prediction in predictions],
            labels=list(LABELS),
        )

    def row_statistics(self, predictions: Sequence[Prediction]) -> list[dict[str, float]]:
        """1 for the cell of the confusion matrix that the row is in, 0 for the others."""
        return [{cell: cell == f"{row.references[0]}, {row.text}" for cell in CELLS} for row in predictions]

    def pooled(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Accuracy and macro-F1."""
        import numpy as np

        from tasks.metrics.classification import pooled_scores

        cells = np.stack([sums[cell] for cell in CELLS], axis=-1)  # [sets, 9]
        return pooled_scores(cells.reshape(-1, len(LABELS), len(LABELS)))

    def baseline(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The figures of always answering the label that is most frequent in these rows: the best constant answer."""
        from tasks.metrics.classification import majority_label

        references = [example.references[0] for example in examples]
        label = majority_label(references, list(LABELS))
        constant = [Prediction(example.id, "", label, example.references) for example in examples]
        metrics = self.score(constant)
        return {
            "baseline": "majority label",
            "baseline_accuracy": metrics["accuracy"],
            "baseline_macro_f1": metrics["macro_f1"],
        }
