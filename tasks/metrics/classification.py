"""Accuracy, macro-F1 and the confusion matrix of a task with a closed set of labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from tasks.metrics.text import LocalMetric, check_rows


class Classification(LocalMetric):
    """``compute(predictions=["..."], references=["..."], labels=["...", ...])``: string labels, all scores 0 to 1.

    Returns:
        ``accuracy``, ``macro_f1``;
        ``per_label``: label -> ``precision``, ``recall``, ``f1``, ``support`` (its number of references);
        ``confusion_matrix``: label of the reference -> label of the prediction -> number of rows, zeros included.
        Both go through the labels in the order of ``labels``.

    A score that would divide by zero (the precision of a label that was never predicted) is 0. ``macro_f1`` is the mean
    over all of ``labels``, and a label that occurs nowhere counts as 0 in it: the task has that label, so a test set
    without it must not look easier. Both are what scikit-learn's ``f1_score(labels=labels, average="macro",
    zero_division=0)`` does.

    Raises ValueError where there are no rows, the numbers differ, or a row has a label that is not in ``labels``.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, macro-F1, scores per label and confusion matrix over string labels.",
            citation="",
            inputs_description="predictions, references: lists of labels; labels: all labels of the task, in order.",
            features=datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
        )

    def rows(self, predictions: Sequence[str], references: Sequence[str], labels: Sequence[str]) -> list[dict[str, float]]:
        """For each label whether the row is a hit, and how often it names the label: as reference, as prediction.

        Zeros stand in the first row alone: of a thousand labels a row names two.
        """
        check_rows(predictions, references)
        _check_labels(labels, predictions=predictions, references=references)
        rows: list[Counter[str]] = [Counter() for _ in references]
        rows[0].update(dict.fromkeys((f"{kind} of {label}" for kind in ("hits", "uses") for label in labels), 0))
        for row, reference, prediction in zip(rows, references, predictions, strict=True):
            row[f"uses of {reference}"] += 1
            row[f"uses of {prediction}"] += 1
            if reference == prediction:
                row[f"hits of {reference}"] += 1
        return rows

    def pool(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Accuracy and macro-F1."""
        hits, uses = (
            np.stack([sums[name] for name in sums if name.startswith(kind)], axis=1) for kind in ("hits of ", "uses of ")
        )  # [sets, labels]
        f1 = np.divide(2 * hits, uses, out=np.zeros(hits.shape), where=hits > 0)
        return {
            "accuracy": hits.sum(axis=1) / (uses.sum(axis=1) / 2),
            "macro_f1": np.array([math.fsum(row) / len(row) for row in f1]),
        }

    def details(self, predictions: Sequence[str], references: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
        """The scores of each label and the confusion matrix."""
        pairs = Counter(zip(references, predictions, strict=True))
        matrix = {right: {given: pairs[right, given] for given in labels} for right in labels}
        return {"per_label": {label: _label_scores(label, matrix) for label in labels}, "confusion_matrix": matrix}


def majority_label(references: Sequence[str], labels: Sequence[str]) -> str:
    """The label that most rows have, the baseline of a classifier; the first in ``labels`` where several have as many.

    Raises:
        ValueError: there are no references, or one of them is not in ``labels``.
    """
    if not references:
        raise ValueError("there are no references to find the majority label of")
    _check_labels(labels, references=references)
    counts = Counter(references)
    return max(labels, key=lambda label: counts[label])  # max keeps the first of equals


def _label_scores(label: str, matrix: dict[str, dict[str, int]]) -> dict[str, float | int]:
    hits = matrix[label][label]
    predicted = sum(row[label] for row in matrix.values())
    support = sum(matrix[label].values())
    return {
        "precision": hits / predicted if predicted else 0.0,
        "recall": hits / support if support else 0.0,
        "f1": 2 * hits / (predicted + support) if hits else 0.0,
        "support": support,
    }


def _check_labels(labels: Sequence[str], **columns: Sequence[str]) -> None:
    if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
        raise ValueError(f"labels must be a list of different labels, not {labels!r}")
    known = set(labels)
    for name, column in columns.items():
        for row, label in enumerate(column, start=1):
            if label not in known:
                raise ValueError(f"row {row} of {name}: {label!r} is none of the labels {', '.join(labels)}")
