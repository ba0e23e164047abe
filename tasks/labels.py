"""What the tasks share whose completion is one of a few labels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.base import Example, Metric, Prediction, Separator, Task
from tasks.errors import RowError
from tasks.text import nfc

#: Between the two texts of a pair.
SEP = Separator("<sep>")

#: Rows of a label are counted in all_results.json under this and its name.
LABEL = "label "


class Labels(Task):
    """A task with a closed set of labels. Measured by accuracy and macro-F1, beside the majority label.

    The labels are the keys of ``label_words``, in their order. The answer is chosen by scoring their words, never by free
    generation, so there is always one. A subclass has the columns, the prompt and the words; the last target column holds
    the label.
    """

    output_type = "multiple_choice"
    page = "labels"
    main_metric = "accuracy"
    metrics = {
        "accuracy": Metric("accuracy", "accuracy", "정확도", higher=True),
        "macro_f1": Metric("f1", "macro-F1", "macro-F1", higher=True),
    }
    baselines = {"majority label": "최다 레이블"}
    max_new_tokens = 8  # room for a label word that a foreign tokenizer cuts into bytes, and eos
    hub_task = "text-classification"
    label_aliases: dict[str, str] = {}  # another name that data gives a label, lower case -> the label
    known_labels: str | None = None  # how an error lists what may stand in the data; the labels themselves by default

    def format(self, row: dict[str, Any]) -> Example:
        """The completion is the label's word, the reference the label's canonical name. Raises RowError as ``label_of``."""
        label = self.label_of(row)
        return Example(row["id"], self.prompt(row), self.label_words.get(label, label), (label,), notes=(f"{LABEL}{label}",))

    def notices(self, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Labels that no training row has, and what numbers are read as where one is missing."""
        row = counts.get("train", {})
        there = [label for label in self.label_words if row.get(f"{LABEL}{label}")]
        if not there or len(there) == len(self.label_words):
            return []
        if len(there) == 1:
            return [f"all {row['rows']:,} training rows have the label {there[0]}; look at the file, or read more of it"]
        numbers = {label: name for name, label in self.label_aliases.items() if name.isdigit()}
        missing = " or ".join(f"{label} ({numbers.get(label, '-')})" for label in self.label_words if label not in there)
        read = f"; {' and '.join(numbers[label] for label in there)} are read as {' and '.join(there)}" if numbers else ""
        return [f"no row of train has the label {missing.replace(' (-)', '')}{read}"]

    def label_of(self, row: dict[str, Any]) -> str:
        """The canonical name of a row's label, in any case.

        Raises:
            RowError: the label is not one of those known, -1 (which XNLI-like sets give to rows without agreement) included.
        """
        value = given = row.get(self.target_columns[-1].name)
        if isinstance(value, float) and value.is_integer():  # pandas writes 2.0 where another row has no label
            value = int(value)
        name = re.sub(r"^(\d+)\.0+$", r"\1", nfc(str(value)).strip())  # "2.0" of a spreadsheet
        names = {label.lower(): label for label in self.label_words} | self.label_aliases
        label = name if name in self.label_words else names.get(name.lower())
        if label not in self.label_words:
            known = self.known_labels or f"{', '.join(self.label_words)} (any case)"
            problem = f"unknown label {given!r:.60}; known are {known}; drop rows without a label with --skip_bad_rows"
            raise RowError(problem, "unknown_label")
        return label

    def metric(self) -> Any:
        """Accuracy, macro-F1, figures of each label, and the confusion matrix {reference: {prediction: rows}}."""
        from tasks.metrics.classification import Classification

        return Classification()

    def metric_inputs(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """The label that was chosen beside the right one, and all labels of the task."""
        return {
            "predictions": [prediction.text for prediction in predictions],
            "references": [prediction.references[0] for prediction in predictions],
            "labels": [*self.label_words, *sorted({p.references[0] for p in predictions} - self.label_words.keys())],
        }

    def calibration(self, predictions: Sequence[Prediction], seed: int) -> dict[str, Any] | None:
        """As ``metrics.calibration.calibrate``."""
        from tasks.metrics.calibration import calibrate

        scores = [{label: prediction.scores.get(label) for label in self.label_words} for prediction in predictions]
        if any(value is None for row in scores for value in row.values()):  # predictions of another program
            return None
        return calibrate(scores, [prediction.references[0] for prediction in predictions], seed)

    def probabilities(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """The softmax of the scores, divided by the task's ``temperature``, where the model has one."""
        scores = {label: scores[label] for label in self.label_words if label in scores}
        best = max(scores.values())
        powers = {label: math.exp((value - best) / (self.temperature or 1.0)) for label, value in scores.items()}
        total = math.fsum(powers.values())
        return {label: round(powers[label] / total, 6) for label in sorted(powers, key=lambda label: -powers[label])}

    def row_scores(self, predictions: Sequence[Prediction]) -> list[dict[str, float]]:
        """Whether the row's label is right; a macro-F1 of one row says nothing more."""
        return [{"accuracy": float(prediction.text == prediction.references[0])} for prediction in predictions]

    def baseline_answers(self, examples: Sequence[Example], train: Sequence[Example] | None) -> tuple[str, list[str]]:
        """Always the label that is most frequent in these very rows: the best constant answer."""
        from tasks.metrics.classification import majority_label

        references = [example.references[0] for example in examples]
        label = majority_label(references, list(dict.fromkeys([*self.label_words, *references])))
        return "majority label", [label] * len(examples)
