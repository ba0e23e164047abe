"""What the metrics share: an ``evaluate.Metric`` whose figures and intervals follow from its rows, and checks of rows."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from tasks.metrics.bootstrap import intervals

#: Columns of a metric that compares texts: one prediction, one or more right ones.
TEXTS = datasets.Features(
    {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
)


class LocalMetric(evaluate.Metric):
    """A metric that is told once: ``rows`` and ``pool``. ``compute`` and ``intervals`` follow from them.

    It needs neither the network nor a writable cache folder. ``evaluate.load`` asks the network for every metric, so the
    metrics here are classes that are instantiated directly: ``KoreanRouge().compute(predictions=[...], references=[...])``.
    Rows are kept in memory; with ``keep_in_memory=False`` they go through a file below ``HF_HOME`` as in any other metric.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("keep_in_memory", True)
        super().__init__(**kwargs)

    def _build_data_dir(self) -> str:
        # evaluate makes a folder below HF_HOME even where nothing will be written there. A read-only home would then
        # fail the scoring that comes after hours of training.
        return os.fspath(self._data_dir_root) if self.keep_in_memory else super()._build_data_dir()

    def rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[dict[str, float]]:
        """What each row adds to the sums that ``pool`` takes, the same keys in every row, or ``Counter``s without zeros
        after the first.

        Raises:
            ValueError: something cannot be scored.
        """
        raise NotImplementedError

    def pool(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The figures, elementwise: arrays [sets] to arrays [sets]. Here the means, where each row adds 1 to ``rows``.

        Each element is a set of rows of its own, such as one resample of a bootstrap. NaN where a set has no such figure.
        """
        return {name: values / sums["rows"] for name, values in sums.items() if name != "rows"}

    def details(self, **columns: Any) -> dict[str, Any]:
        """What ``compute`` returns beside the figures of ``pool``."""
        return {}

    def _compute(self, **columns: Any) -> dict[str, Any]:
        rows = self.rows(**columns)
        added: dict[str, list[float]] = {name: [] for name in rows[0]}
        for row in rows:
            for name, value in row.items():
                added[name].append(value)
        sums = {name: np.array([math.fsum(values)]) for name, values in added.items()}
        return {name: float(value) for name, [value] in self.pool(sums).items()} | self.details(**columns)

    def intervals(self, seed: int, groups: Sequence[Any] | None = None, **columns: Any) -> dict[str, list[float]]:
        """The 95 % interval [low, high] over the rows, or ``groups`` of them, of each figure of ``pool``.

        ``columns`` are those of ``compute``.
        """
        return intervals(self.rows(**columns), self.pool, seed, groups=groups)

    def each(self, **columns: Any) -> list[dict[str, float]]:
        """The figures of each row by itself."""
        rows = self.rows(**columns)
        figures = self.pool({name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]})
        return [{name: float(values[i]) for name, values in figures.items()} for i in range(len(rows))]


def check_rows(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    """Make sure that there is something to measure.

    Raises:
        ValueError: there are no rows, or the two differ in number.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions but {len(references)} references; each row needs both")
    if not len(predictions):
        raise ValueError("nothing to score: there are no predictions and no references")


def check_texts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """The same for rows of one predicted text and one or more right ones.

    Raises:
        ValueError: as ``check_rows``; or a row (counted from 1) has a prediction or a reference that is not text, one
            text where a list of references belongs, or no reference at all.
    """
    check_rows(predictions, references)
    for row, (prediction, texts) in enumerate(zip(predictions, references, strict=True), start=1):
        if not isinstance(prediction, str):
            raise ValueError(f"row {row}: the prediction is {prediction!r}, not text")
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise ValueError(f"row {row}: the references are {texts!r}; give a list of texts")
        if not texts:
            raise ValueError(f"row {row}: there is no reference to compare with")
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(f"row {row}: a reference is {text!r}, not text")
