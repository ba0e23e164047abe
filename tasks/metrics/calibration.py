"""Temperature scaling of a classifier's scores, and how far its probabilities are from its hits (Guo et al. 2017)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Bins of confidence, as in Guo et al. (https://proceedings.mlr.press/v70/guo17a.html).
BINS = 15

#: Fewer rows say nothing of probabilities.
FEWEST = 20


def calibrate(scores: Sequence[Mapping[str, float]], references: Sequence[str], seed: int) -> dict[str, Any] | None:
    """A temperature fitted on a random half of the rows, and the expected calibration error of the other half.

    ``scores`` are each row's log-probabilities {label: nats}, all of the same labels. The half is drawn by ``seed``.

    Returns:
        ``temperature``, by which scores are divided before the softmax; ``rows_fitted``, ``rows_measured``;
        ``expected_calibration_error`` and ``expected_calibration_error_before`` it, 0 to 1. None for fewer than 20 rows.
    """
    labels = list(scores[0]) if scores else []
    if len(scores) < FEWEST or len(labels) < 2:
        return None
    generator = random.Random(seed)  # Python guarantees the sequence of random() for a seed
    order = sorted(range(len(scores)), key=lambda row: generator.random())
    half = len(order) // 2
    values = np.array([[row[label] for label in labels] for row in scores])
    places = {label: place for place, label in enumerate(labels)}
    right = np.array([places.get(reference, -1) for reference in references])  # -1: a label that the model does not know
    fitted = [row for row in order[:half] if right[row] >= 0]
    measured = order[half:]
    # Where every row is right, the sharpest scores would fit best; nothing is known of how often they fail.
    wrong = (values[fitted].argmax(axis=1) != right[fitted]).any()
    temperature = fit_temperature(values[fitted], right[fitted]) if wrong else 1.0
    after, before = (calibration_error(softmax(values[measured] / t), right[measured]) for t in (temperature, 1.0))
    return {
        "temperature": temperature,
        "rows_fitted": half,
        "rows_measured": len(measured),
        "expected_calibration_error": after,
        "expected_calibration_error_before": before,
    }


def softmax(values: np.ndarray) -> np.ndarray:
    """Probabilities [rows, labels] of scores in nats."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def fit_temperature(values: np.ndarray, right: np.ndarray) -> float:
    """The temperature from 0.05 to 20 with the least cross entropy, to three digits; the loss is convex in its inverse."""
    low, high = 0.05, 20.0  # inverse temperatures

    def loss(inverse: float) -> float:
        return -float(np.log(softmax(values * inverse)[np.arange(len(right)), right].clip(1e-300)).sum())

    while high - low > 1e-4 * low:
        first, second = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, second) if loss(first) <= loss(second) else (first, high)
    return float(f"{2 / (low + high):.3g}")


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error: the mean distance of confidence and accuracy over equal bins, by their rows."""
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == right
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs((hits[bins == each] - confidence[bins == each]).sum()) for each in range(BINS)]
    return float(sum(gaps) / len(right))
