"""How good answers in a conversation are, and the plainest way to have one: that of the nearest known question."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import datasets
import evaluate
import numpy as np

from tasks.metrics.kiwi import morphemes
from tasks.metrics.korquad import korquad_rows
from tasks.metrics.rouge import ROUGE_TYPES, rouge_rows
from tasks.metrics.text import TEXTS, LocalMetric


class Answers(LocalMetric):
    """Bits per character of the right answers; of those that were written character F1, ROUGE, and how many ended.

    ``compute(predictions=["..."], references=[["..."]], nats=[n], characters=[m], ended=[True])``: ``nats`` is the negative
    log-likelihood of the first reference and its end, and ``characters`` how many it has. ``bits_per_character`` is NaN
    where no row has any. ``f1`` is in percent, as KorQuAD counts it; ``rouge1``, ``rouge2``, ``rougeL`` (morphemes) and
    ``ended`` are between 0 and 1. Raises ValueError as ``rouge_rows``.
    """

    def _info(self) -> evaluate.MetricInfo:
        counted = {"nats": datasets.Value("float64"), "characters": datasets.Value("int64"), "ended": datasets.Value("bool")}
        return evaluate.MetricInfo(
            description="Likelihood of right answers, and likeness of written ones to them.",
            citation="",
            inputs_description="predictions, references: texts; nats, characters, ended: numbers of each row.",
            features=datasets.Features({**TEXTS, **counted}),
        )

    def rows(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        nats: Sequence[float],
        characters: Sequence[int],
        ended: Sequence[bool],
    ) -> list[dict[str, float]]:
        """The figures of each row, nats and characters, and the row itself."""
        alike = zip(rouge_rows(predictions, references), korquad_rows(predictions, references), strict=True)
        return [
            {"rows": 1, "nats": n, "characters": m, "ended": float(end), "f1": 100.0 * character["f1"]}
            | {kind: rouge[kind] for kind in ROUGE_TYPES}
            for (rouge, character), n, m, end in zip(alike, nats, characters, ended, strict=True)
        ]

    def pool(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Bits over all characters together, means over the rows of the others."""
        characters = np.where(sums["characters"] > 0, sums["characters"], np.nan)
        means = super().pool({name: values for name, values in sums.items() if name not in ("nats", "characters")})
        return {"bits_per_character": sums["nats"] / np.log(2) / characters, **means}


def nearest(questions: Sequence[str], known: Sequence[str], k1: float = 1.2, b: float = 0.75) -> list[int]:
    """For each question the number of the known one that is most like it: BM25 over morphemes, the first of equals.

    Robertson and Zaragoza 2009 (https://doi.org/10.1561/1500000019), with Lucene's idf, which is never negative.
    """
    places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)  # morpheme -> (question, how often there)
    lengths = []
    for number, row in enumerate(morphemes(known)):
        lengths.append(len(row))
        for token, count in Counter(row).items():
            places[token].append((number, count))
    mean = max(1.0, sum(lengths) / len(lengths))
    found = []
    for row in morphemes(questions):
        scores: Counter[int] = Counter()
        for token in set(row) & places.keys():
            having = places[token]
            rarity = math.log(1 + (len(known) - len(having) + 0.5) / (len(having) + 0.5))
            for number, count in having:
                scores[number] += rarity * count * (k1 + 1) / (count + k1 * (1 - b + b * lengths[number] / mean))
        found.append(min(scores, key=lambda number: (-scores[number], number), default=0))
    return found
