"""Batches of sequences of like length, so that little is padding and memory has a bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def batches_by_length(lengths: Sequence[int], batch_size: int, max_tokens: int) -> Iterator[list[int]]:
    """Indices of sequences, longest first, at most ``batch_size`` of them and ``max_tokens`` with padding a batch.

    The longest come first so that a batch that does not fit into memory fails at the start. A single sequence longer than
    ``max_tokens`` is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) == batch_size or lengths[batch[0]] * (len(batch) + 1) > max_tokens):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def pad(
    sequences: Sequence[Sequence[int]], value: int, side: str, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """``input_ids`` and ``attention_mask``, each [sequences, longest], padded with ``value`` on the ``side``."""
    width = max(map(len, sequences))
    ids = torch.full((len(sequences), width), value)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if side == "left" else slice(0, len(sequence))
        ids[row, place] = torch.as_tensor(sequence, dtype=torch.long)
        mask[row, place] = 1
    return ids.to(device), mask.to(device)
