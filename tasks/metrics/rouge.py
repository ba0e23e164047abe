"""ROUGE for Korean: ``rouge_score`` with tokens that Korean text has.

ROUGE (Lin 2004, https://aclanthology.org/W04-1013) counts the tokens, token pairs and longest common subsequence that a
summary shares with a reference. What a token is decides the number. ``rouge_score``'s own tokenizer keeps a-z and 0-9
alone, so that to it identical Korean texts share nothing, and two that have only "2022" in common are the same. Here a
text is read in three ways, and the key of a score says which:

    rouge1             morphemes: 학교에, 학교는 and 학교 share 학교. The headline.
    rouge1_words       white-space words, punctuation attached: 학교에 and 학교는 share nothing. The strictest.
    rouge1_syllables   every character but white space: 학교에 and 학교는 share 학 and 교. Needs no analyser, so it is
                       the same everywhere and for ever, but unrelated texts share many syllables too.

All are read in NFKC (see tasks/text.py) and lower case.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import evaluate
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

from tasks.metrics.kiwi import morphemes, tokenizer_name
from tasks.metrics.text import TEXTS, LocalMetric, check_texts
from tasks.text import comparable

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")

_CITATION = """\
@inproceedings{lin-2004-rouge,
    title = "{ROUGE}: A Package for Automatic Evaluation of Summaries",
    author = "Lin, Chin-Yew",
    booktitle = "Text Summarization Branches Out",
    year = "2004",
    url = "https://aclanthology.org/W04-1013",
    pages = "74--81",
}"""


def words(texts: Sequence[str]) -> list[list[str]]:
    """The white-space words of each text."""
    return [comparable(text).lower().split() for text in texts]


def syllables(texts: Sequence[str]) -> list[list[str]]:
    """The characters of each text but white space; a Hangul syllable is one character."""
    return [list("".join(row)) for row in words(texts)]


TOKENIZERS = {"": morphemes, "_words": words, "_syllables": syllables}


class _Tokens(Tokenizer):
    """Hands tokens through: ``RougeScorer`` would tokenise a text anew for every pair it stands in."""

    def tokenize(self, text: list[str]) -> list[str]:
        return text


_SCORER = RougeScorer(list(ROUGE_TYPES), tokenizer=_Tokens())


class KoreanRouge(LocalMetric):
    """ROUGE-1, ROUGE-2 and ROUGE-L, each an f-measure between 0 and 1, the mean over the rows.

    ``compute(predictions=["..."], references=[["...", "..."]])`` returns ``rouge1``, ``rouge2``, ``rougeL``, the same
    with ``_words`` and with ``_syllables``, all floats, and ``rouge_tokenizer``: the analyser behind the headline and
    its version. Raises ValueError where there are no rows, the numbers differ, or a row has no reference.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="ROUGE over Korean morphemes, white-space words and syllables.",
            citation=_CITATION,
            inputs_description="predictions: list of texts; references: for each of them a list of one or more texts.",
            features=TEXTS,
            reference_urls=["https://aclanthology.org/W04-1013", "https://github.com/bab2min/kiwipiepy"],
        )

    def rows(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        """The nine scores of each row, and the row itself. Raises ValueError as ``rouge_rows``."""
        return [{"rows": 1, **row} for row in rouge_rows(predictions, references)]

    def details(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
        """The analyser and its version."""
        return {"rouge_tokenizer": tokenizer_name()}


def rouge_rows(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """The nine scores of each row, keys as ``KoreanRouge`` has them, values between 0 and 1.

    With several references each score is that of the reference where it is highest. Two texts with the same tokens
    score 1 throughout, in ROUGE-2 too where one token makes no pair and ``rouge_score`` says 0. A blank prediction
    scores 0, even against a blank reference: writing nothing is never right.

    Raises:
        ValueError: there are no rows, the numbers differ, or a row has no reference or something that is not text.
    """
    check_texts(predictions, references)
    return [dict(row) for row in _rows(tuple(predictions), tuple(map(tuple, references)))]


# A run asks for the same rows twice: for their mean, and for its interval.
@functools.lru_cache(maxsize=1)
def _rows(predictions: tuple[str, ...], references: tuple[tuple[str, ...], ...]) -> list[dict[str, float]]:
    texts = list(dict.fromkeys([*predictions, *(text for row in references for text in row)]))
    rows: list[dict[str, float]] = [{} for _ in predictions]
    for suffix, tokenizer in TOKENIZERS.items():
        tokens = dict(zip(texts, tokenizer(texts), strict=True))
        for row, prediction, targets in zip(rows, predictions, references, strict=True):
            scores = [_f_measures(tokens[target], tokens[prediction]) for target in targets]
            row.update({kind + suffix: max(score[kind] for score in scores) for kind in ROUGE_TYPES})
    return rows


def _f_measures(target: list[str], prediction: list[str]) -> dict[str, float]:
    if target and target == prediction:
        return dict.fromkeys(ROUGE_TYPES, 1.0)
    return {kind: float(score.fmeasure) for kind, score in _SCORER.score(target, prediction).items()}
