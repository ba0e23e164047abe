"""KorQuAD's exact match and F1, as the official script of KorQuAD 1.0 counts them (https://korquad.github.io).

The F1 is not SQuAD's. SQuAD counts words and drops English articles; KorQuAD counts characters, because a Korean word
carries particles, and 서울에 would share nothing with 서울.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping, Sequence

import evaluate
import numpy as np

from tasks.metrics.text import TEXTS, LocalMetric, check_texts
from tasks.text import comparable

# The script puts a space for these, and nothing for the rest of ASCII punctuation: A(B) is two words, A-B is one.
_BRACKETS_AND_QUOTES = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))
_PUNCTUATION = str.maketrans("", "", string.punctuation)

_CITATION = """\
@article{lim2019korquad,
    title = {KorQuAD1.0: Korean QA Dataset for Machine Reading Comprehension},
    author = {Seungyoung Lim and Myungji Kim and Jooyoul Lee},
    journal = {arXiv preprint arXiv:1909.07005},
    year = {2019},
}"""


class Korquad(LocalMetric):
    """``exact_match`` and ``f1`` in percent, 0 to 100, the mean over the questions.

    ``compute(predictions=["..."], references=[["...", "..."]])``: with several right answers, the best counts. Raises
    ValueError where there are no rows, the numbers differ, or a question has no answer.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Exact match and character F1 of KorQuAD 1.0, in percent.",
            citation=_CITATION,
            inputs_description="predictions: list of answers; references: for each of them a list of right answers.",
            features=TEXTS,
            reference_urls=["https://korquad.github.io", "https://arxiv.org/abs/1909.07005"],
        )

    def rows(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[dict[str, float]]:
        """The two scores of each question, 0 to 1, and the row itself. Raises ValueError as ``korquad_rows``."""
        return [{"rows": 1, **row} for row in korquad_rows(predictions, references)]

    def pool(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Means over the questions, in percent."""
        return {name: 100.0 * means for name, means in super().pool(sums).items()}


def normalize_answer(text: str) -> str:
    """``text`` as the official script compares it: no punctuation, lower case, single spaces.

    One thing is added, Unicode's compatibility form: a Mac's decomposed Hangul would score 0, and 5㎞ is 5km to KoGPT2.
    """
    spaced = comparable(text).translate(_BRACKETS_AND_QUOTES)
    return " ".join(spaced.lower().translate(_PUNCTUATION).split())


def korquad_rows(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """``exact_match`` (0.0 or 1.0) and ``f1`` (0 to 1) of each row; the best over the row's references, each by itself.

    Where prediction and reference are both empty after normalisation, exact match is 1 and F1 is 0. That is what the
    official script does, so it stays.

    Raises:
        ValueError: there are no rows, the numbers differ, or a row has no reference or something that is not text.
    """
    check_texts(predictions, references)
    rows = []
    for prediction, answers in zip(predictions, references, strict=True):
        given = normalize_answer(prediction)
        right = [normalize_answer(answer) for answer in answers]
        rows.append({"exact_match": float(given in right), "f1": max(_character_f1(given, answer) for answer in right)})
    return rows


def _character_f1(prediction: str, answer: str) -> float:
    """The F1 of the characters, white space aside, of two normalised texts."""
    given, right = Counter(prediction.replace(" ", "")), Counter(answer.replace(" ", ""))
    same = (given & right).total()
    return 2.0 * same / (given.total() + right.total()) if same else 0.0


def matching_word(context: str, question: str) -> str:
    """The word of ``context`` that is not in the question and stands nearest to words that look like the question's.

    Korean words carry particles, so likeness is measured in pairs of characters: 도서관에서 matches 도서관은.
    """

    def pairs(word: str) -> Counter[str]:
        return Counter(word[i : i + 2] for i in range(len(word) - 1))

    asked = pairs(" ".join(question.split()))
    words = context.split()
    likeness = [sum((pairs(word) & asked).values()) for word in words]
    candidates = [i for i in range(len(words)) if likeness[i] == 0] or list(range(len(words)))
    # The five words on either side count, the nearer the more.
    near = {
        i: sum(likeness[j] / abs(i - j) for j in range(max(0, i - 5), min(len(words), i + 6)) if j != i) for i in candidates
    }
    return words[max(candidates, key=lambda i: (near[i], -i))] if words else ""
