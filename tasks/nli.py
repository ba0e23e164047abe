"""Natural language inference: ``premise <sep> hypothesis <nli> label <eos>``, the loss on the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.base import Column, Example, HubDataset, Part, Prediction, RowError, Separator, Source, Task, text_of

SEP = Separator("<sep>")
NLI_SEPARATOR = Separator("<nli>")

#: In the order of KLUE's integers: 0, 1, 2. XNLI and KorNLI use the same order.
LABELS = ("entailment", "neutral", "contradiction")

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
                f"unknown label {row.get('label')!r}; known are {', '.join(LABELS)} (any case), 0, 1, 2 in that order, and "
                "함의, 중립, 모순; drop rows without a label with --skip_bad_rows"
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
