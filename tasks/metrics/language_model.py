"""How well a language model predicts text, and how varied the text is that it writes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import datasets
import evaluate
import numpy as np

from tasks.metrics.text import LocalMetric, check_rows


class LanguageModel(LocalMetric):
    """Perplexity, bits per character and tokens per character, over all texts together.

    ``compute(predictions=[nats], references=[{"tokens": n, "characters": m}])``, one row a text: the negative log-
    likelihood of the text in nats, summed over its tokens; the number of tokens in that sum; and the number of code
    points of the text (``len``). The end-of-text token is a token to predict, but no character.

    Returns:
        ``perplexity``: e to the nats per token, 1 or more; ``inf`` where it is too large for a float. Compare it only
            between models with the same tokenizer: longer tokens are fewer, and harder to predict.
        ``bits_per_character``: nats / ln 2 / characters, 0 or more. Comparable between tokenizers.
        ``tokens_per_character``: how finely the tokenizer cuts; far above 1 it writes Hangul in bytes.

    Raises ValueError where there are no rows, the numbers differ, a likelihood is missing, infinite or not a number, a
    count is negative, or there are no tokens or no characters in all.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Perplexity, bits per character and tokens per character of a language model.",
            citation="",
            inputs_description="predictions: summed nats of each text; references: its tokens and characters.",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": {"tokens": datasets.Value("int64"), "characters": datasets.Value("int64")},
                }
            ),
        )

    def _compute(self, predictions: list[float], references: list[dict[str, int]]) -> dict[str, float]:
        check_rows(predictions, references)
        for row, (nats, counts) in enumerate(zip(predictions, references, strict=True), start=1):
            if nats is None or not math.isfinite(nats):
                raise ValueError(f"row {row}: the negative log-likelihood is {nats}, not a finite number of nats")
            if counts["tokens"] < 0 or counts["characters"] < 0:
                raise ValueError(f"row {row}: a count is negative: {counts}")
        tokens = sum(counts["tokens"] for counts in references)
        characters = sum(counts["characters"] for counts in references)
        if not tokens or not characters:
            raise ValueError(f"nothing to score: the texts have {tokens} tokens and {characters} characters in all")
        scores = pooled_scores(np.float64(math.fsum(predictions)), np.float64(tokens), np.float64(characters))
        return {name: float(score) for name, score in scores.items()}


def pooled_scores(nats: np.ndarray, tokens: np.ndarray, characters: np.ndarray) -> dict[str, np.ndarray]:
    """What ``LanguageModel`` returns, elementwise: of sums over the texts of many sets, arrays [sets].

    NaN for a set that has no tokens or no characters: for one alone that is a mistake, among resamples it is chance.
    """
    some = (tokens > 0) & (characters > 0)
    tokens, characters = np.where(some, tokens, np.nan), np.where(some, characters, np.nan)
    with np.errstate(over="ignore"):
        perplexity = np.exp(nats / tokens)
    return {
        "perplexity": perplexity,
        "bits_per_character": nats / np.log(2) / characters,
        "tokens_per_character": tokens / characters,
    }


def unigram_bits_per_character(texts: Sequence[str]) -> float:
    """Bits per character of a model that knows only how often each character occurs in exactly these texts.

    A baseline for ``bits_per_character``. It is favourable to the baseline: the frequencies are those of the very texts
    that are measured. As for a model, the end of each text is a symbol to predict, but no character.

    Raises:
        ValueError: the texts have no characters.
    """
    counts = Counter("".join(texts))
    characters = counts.total()
    if not characters:
        raise ValueError("there are no characters to count")
    symbols = characters + len(texts)
    occurrences = [*counts.values(), len(texts)]
    return math.fsum(n * math.log2(symbols / n) for n in occurrences) / characters


def distinct_n(texts: Sequence[str], n: int) -> float:
    """The share of different n-grams of white-space words among all of them, in all texts together; 0 to 1.

    Distinct-1 and distinct-2 of Li et al. 2016 (https://aclanthology.org/N16-1014). The share falls as the texts get
    longer or more: compare as many samples of the same length. 0.0 where no text has n words.

    Raises:
        ValueError: there are no texts, or n is below 1.
    """
    grams = [gram for text in _checked(texts, n) for gram in _word_ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(texts: Sequence[str], n: int = 4) -> float:
    """The share of n-grams that have already occurred in the same text, over all texts together; 0 up to below 1.

    As seq-rep-n of Welleck et al. 2020 (https://arxiv.org/abs/1908.04319), but pooled, so that a text counts by its
    length. N-grams of white-space words: a model that runs in circles repeats whole words, while four characters such
    as 했습니다 come again in good Korean too. A loop without any white space is not seen. 0.0 where no text has n
    words.

    Raises:
        ValueError: there are no texts, or n is below 1.
    """
    total = repeated = 0
    for text in _checked(texts, n):
        grams = list(_word_ngrams(text, n))
        total += len(grams)
        repeated += len(grams) - len(set(grams))
    return repeated / total if total else 0.0


def _checked(texts: Sequence[str], n: int) -> Sequence[str]:
    if isinstance(texts, str) or not texts:
        raise ValueError(f"give a list of at least one text, not {texts!r}")
    if n < 1:
        raise ValueError(f"n must be 1 or more, not {n}")
    return texts


def _word_ngrams(text: str, n: int) -> Iterator[tuple[str, ...]]:
    words = text.split()
    return (tuple(words[start : start + n]) for start in range(len(words) - n + 1))
