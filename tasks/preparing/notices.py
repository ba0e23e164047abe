"""What the counts of a run say before training: rows that training read too, much truncation, and what cannot be written."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.distributed import is_first
from tasks.preparing.encoding import IGNORE

if TYPE_CHECKING:
    from datasets import Dataset

    from tasks.base import Example
    from tasks.preparing.encoding import Encoder

logger = logging.getLogger(__name__)

#: The share of truncated rows above which a run says so before it trains.
MUCH = 0.2


def say_losses(
    counts: Mapping[str, Mapping[str, int]],
    datasets: Mapping[str, Dataset],
    examples: Mapping[str, Sequence[Example]],
    encoder: Encoder,
) -> None:
    """Log what of each split is truncated, too long to be predicted whole, or has no token. The first process speaks."""
    if not is_first():
        return
    for split, row in counts.items():
        truncated, rows = row.get("cut", 0), max(1, row.get("rows", 0))
        if truncated > MUCH * rows:
            logger.warning(
                "%d of %d %s rows (%d %%) lose their end at --max_length %d",
                truncated, rows, split, 100 * truncated / rows, encoder.max_length,
            )  # fmt: skip
        longer = row.get("longer_than_max_new_tokens", 0)
        if longer:
            logger.warning(
                "%d of %d %s completions are longer than --max_new_tokens %d (the longest: %d): what the model writes will end "
                "in mid-sentence; raise it",
                longer, rows, split, encoder.max_new_tokens, longest_completion(datasets[split]),
            )  # fmt: skip
        unknown = row.get("unknown_tokens", 0)
        if unknown:
            found = encoder.unknown_characters(texts_of(examples.get(split, ())))
            such = f", such as {' '.join(found)}" if found else ""
            logger.warning(
                "%d characters of the %s rows have no token%s: the model can neither read nor write them", unknown, split, such
            )


def longest_completion(rows: Dataset) -> int:
    """Tokens of the longest completion, eos included."""
    return max(int((np.asarray(labels) != IGNORE).sum()) for labels in rows.with_format("numpy")["labels"])


def texts_of(examples: Sequence[Example]) -> list[str]:
    """Prompts and right answers of the examples."""
    return [text for example in examples for text in (example.source_text or example.prompt_text, *example.references)]
