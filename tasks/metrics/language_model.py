"""How well a language model predicts text, and how varied the text is that it writes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import datasets
import evaluate
import numpy as np

from tasks.metrics.text import LocalMetric, check_rows
from tasks.text import nfc


class LanguageModel(LocalMetric):
    """Perplexity, bits per character and tokens per character, over all texts together.

    ``compute(predictions=[nats], references=[{"tokens": n, "characters": m, "unknown_tokens": k}])``, one row a text: the
    negative log-likelihood of the text in nats, summed over its tokens; the number of tokens in that sum; the number of
    code points of the text in NFC; and how many of the tokens stand for characters that the tokenizer does not have.
    The end-of-text token is a token to predict, but no character.

    Returns:
        ``perplexity``: e to the nats per token, 1 or more; ``inf`` where it is too large for a float. Compare it only
            between models with the same tokenizer: longer tokens are fewer, and harder to predict.
        ``bits_per_character``: nats / ln 2 / characters, 0 or more. Comparable between tokenizers.
        ``tokens_per_character``: how finely the tokenizer cuts; far above 1 it writes Hangul in bytes.
        ``unknown_token_share``, 0 to 1. A tokenizer that reads rare characters as ``<unk>`` has an easier text before it:
            compare bits per character only where this is 0.

    Raises ValueError where there are no rows, the numbers differ, a likelihood is missing, infinite or not a number, a
    count is negative, or there are no tokens or no characters in all.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Perplexity, bits per character and tokens per character of a language model.",
            citation="",
            inputs_description="predictions: summed nats of each text; references: counts of its tokens and characters.",
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": {name: datasets.Value("int64") for name in ("tokens", "characters", "unknown_tokens")},
                }
            ),
        )

    def rows(self, predictions: Sequence[float], references: Sequence[Mapping[str, int]]) -> list[dict[str, float]]:
        """Nats, tokens, characters and unknown tokens of each text."""
        check_rows(predictions, references)
        for row, (nats, counts) in enumerate(zip(predictions, references, strict=True), start=1):
            if nats is None or not math.isfinite(nats):
                raise ValueError(f"row {row}: the negative log-likelihood is {nats}, not a finite number of nats")
            if any(count < 0 for count in counts.values()):
                raise ValueError(f"row {row}: a count is negative: {counts}")
        tokens, characters = (sum(counts[name] for counts in references) for name in ("tokens", "characters"))
        if not tokens or not characters:
            raise ValueError(f"nothing to score: the texts have {tokens} tokens and {characters} characters in all")
        return [{"nats": nats, **counts} for nats, counts in zip(predictions, references, strict=True)]

    def pool(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All figures. NaN for a set without tokens or characters: of all rows a mistake, among resamples it is chance."""
        some = (sums["tokens"] > 0) & (sums["characters"] > 0)
        tokens, characters = (np.where(some, sums[name], np.nan) for name in ("tokens", "characters"))
        with np.errstate(over="ignore"):
            perplexity = np.exp(sums["nats"] / tokens)
        return {
            "perplexity": perplexity,
            "bits_per_character": sums["nats"] / np.log(2) / characters,
            "tokens_per_character": tokens / characters,
            "unknown_token_share": sums["unknown_tokens"] / tokens,
        }


def unigram_bits_per_character(texts: Sequence[str]) -> float:
    """Bits per character of a model that knows only how often each character occurs in exactly these texts.

    A baseline for ``bits_per_character``. It is favourable to the baseline: the frequencies are those of the very texts
    that are measured. As for a model, the end of each text is a symbol to predict, but no character.

    Raises:
        ValueError: the texts have no characters.
    """
    counts = Counter(nfc("".join(texts)))
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
