"""What the counts of a run say before training: rows that training read too, much truncation, and what cannot be written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.preparing.encoding import IGNORE, SHARED
from tasks.reading.values import READ

if TYPE_CHECKING:
    from datasets import Dataset

    from tasks.base import Example, Task
    from tasks.preparing.encoding import Encoder

logger = logging.getLogger(__name__)

#: The share of truncated rows above which a run says so before it trains.
MUCH = 0.2


def say_notices(task: Task, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Write to the log what a person should know of the rows."""
    for split, row in counts.items():
        kinds = [name for name in row if name.startswith("skipped_")]
        if said := ", ".join(f"{row[name]:,} {name.replace('_', ' ')}" for name in (*READ, *kinds) if row.get(name)):
            logger.info("%s: %s", split, said)
    for notice in task.notices(counts):
        logger.warning("%s", notice)


def say_counts(
    task: Task,
    counts: Mapping[str, Mapping[str, int]],
    datasets: Mapping[str, Dataset],
    examples: Mapping[str, Sequence[Example]],
    encoder: Encoder,
) -> None:
    """As ``say_notices``, and what of each split training read too, is truncated, too long to predict, or has no token."""
    say_notices(task, counts)
    shared = [
        f"{row[SHARED]:,} of {row.get('answers', row['rows']):,} {split}" if SHARED in row else f"{split} not counted"
        for split, row in counts.items()
        if split != "train"
    ]
    if "train" in counts and shared:
        print(f"rows to measure on that training reads too: {', '.join(shared)}")
    for split, row in counts.items():
        rows, cut, longer, unknown = (
            row.get(name, 0) for name in ("rows", "cut", "longer_than_max_new_tokens", "unknown_tokens")
        )
        if cut > MUCH * rows:
            share, length = 100 * cut / rows, encoder.max_length
            logger.warning("%d of %d %s texts (%.0f %%) lose their end: --max_length is %d", cut, rows, split, share, length)
        if older := row.get("without_oldest_turns"):
            logger.warning("%d of %d %s answers are read without their oldest turns: no room", older, row["answers"], split)
        if longer:
            logger.warning(
                "%d of %d %s completions are longer than --max_new_tokens %d (the longest: %d): what the model writes will "
                "end in mid-sentence; raise it",
                longer, row.get("answers", rows), split, encoder.max_new_tokens, longest_completion(datasets[split]),
            )  # fmt: skip
        if unknown:
            such = " ".join(encoder.unknown_characters(texts_of(examples.get(split, ()))))
            logger.warning(
                "%d characters of the %s rows have no token%s: the model can neither read nor write them",
                unknown, split, f", such as {such}" if such else "",
            )  # fmt: skip


def lengths_of(rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each sequence, and how many of them count in the loss."""
    whole, learnt = [], []
    for chunk in rows.data.column("labels").chunks:
        offsets = chunk.offsets.to_numpy()
        whole.append(np.diff(offsets))
        learnt.append(np.add.reduceat(chunk.values.to_numpy() != IGNORE, offsets[:-1], dtype=np.int64))
    return np.concatenate(whole), np.concatenate(learnt)


def longest_completion(rows: Dataset) -> int:
    """Tokens of the longest completion, eos included."""
    longest = 0
    for labels in rows.with_format("numpy")["labels"]:
        learnt = np.concatenate([[False], np.asarray(labels) != IGNORE, [False]])
        begin, end = np.flatnonzero(np.diff(learnt.astype(np.int8))).reshape(-1, 2).T
        longest = max(longest, *(end - begin).tolist())
    return longest


def texts_of(examples: Sequence[Example]) -> list[str]:
    """Prompts and right answers of the examples."""
    return [text for example in examples for text in (example.source_text or example.prompt_text, *example.references)]
