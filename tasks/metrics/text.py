"""What the metrics share: an ``evaluate.Metric`` that leaves nothing behind, and checks of the rows it is given."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import evaluate


class LocalMetric(evaluate.Metric):
    """A metric that needs neither the network nor a writable cache folder.

    ``evaluate.load`` asks the network for every metric, so the metrics here are classes that are instantiated directly:
    ``KoreanRouge().compute(predictions=[...], references=[...])``. Rows are kept in memory; with
    ``keep_in_memory=False`` they go through a file below ``HF_HOME`` as in any other metric.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("keep_in_memory", True)
        super().__init__(**kwargs)

    def _build_data_dir(self) -> str:
        # evaluate makes a folder below HF_HOME even where nothing will be written there. A read-only home would then
        # fail the scoring that comes after hours of training.
        return os.fspath(self._data_dir_root) if self.keep_in_memory else super()._build_data_dir()


def nfc(text: str) -> str:
    """``text`` with every Hangul syllable as one code point. macOS and some web pages write it as two or three."""
    return unicodedata.normalize("NFC", text)


def mean(values: Iterable[float]) -> float:
    """The mean of at least one number, the same whatever the order of the numbers."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


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
