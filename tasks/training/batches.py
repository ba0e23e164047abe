"""Training batches of like cost: as many rows as fit into a number of tokens, instead of a number of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

#: Batches' worth of rows that are sorted together. Wide enough that rows of a length meet, narrow enough that a batch is
#: not made of the same rows in every epoch.
WINDOW = 64


class TokenBudgetSampler(Sampler[list[int]]):
    """Batches of row numbers whose padded size, rows times the longest row, stays within ``tokens_per_batch``.

    The rows are shuffled, sorted by length within a window, cut into batches, and the batches are shuffled. Where batches
    are ``padding_free`` nothing is sorted, and the sum of the rows' lengths stays within the budget. The order follows from
    ``seed`` and the epoch alone, so a resumed run and every process know it without a word.

    Each epoch has the same number of batches (a Trainer plans its steps by it), a multiple of ``world_size``: where an epoch
    comes out shorter, its largest batches are halved; where one beyond ``epochs`` comes out longer, its smallest are joined,
    which may pass the budget. So every process takes as many steps, and each row is seen exactly once an epoch, by one
    process. A row longer than the budget is a batch of its own.

    ``epochs`` are planned ahead: it costs a sort of the lengths each.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        tokens_per_batch: int,
        *,
        epochs: int = 1,
        seed: int = 42,
        rank: int = 0,
        world_size: int = 1,
        padding_free: bool = False,
    ) -> None:
        """``lengths`` are tokens a row."""
        self.lengths = torch.as_tensor(lengths, dtype=torch.long)
        self.tokens_per_batch = tokens_per_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.padding_free = padding_free
        self.epoch = 0
        most = max((len(self._cut(epoch)) for epoch in range(max(1, epochs))), default=0)
        self.batches = math.ceil(most / world_size) * world_size

    def __len__(self) -> int:
        """Batches of this process in one epoch."""
        return self.batches // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is; the Trainer calls it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this process."""
        yield from self.plan(self.epoch)[self.rank :: self.world_size]

    def plan(self, epoch: int) -> list[list[int]]:
        """The batches of all processes: number ``i`` belongs to process ``i % world_size``."""
        batches = sorted(self._cut(epoch), key=len)
        while len(batches) > self.batches:
            batches = sorted([*batches[2:], batches[0] + batches[1]], key=len)
        while len(batches) < self.batches:
            largest = max(range(len(batches)), key=lambda i: len(batches[i]))
            rows = batches[largest]
            if len(rows) == 1:  # fewer rows than processes: somebody has to repeat one
                batches.append(list(rows))
                continue
            batches[largest] = rows[: len(rows) // 2]
            batches.append(rows[len(rows) // 2 :])
        generator = torch.Generator().manual_seed(self.seed + epoch)
        order = torch.randperm(len(batches), generator=generator).tolist()
        if epoch == 0:  # the largest comes first, so that what does not fit into memory fails at once
            first = max(order, key=lambda i: self._size(batches[i]))
            order.remove(first)
            order.insert(0, first)
        return [batches[i] for i in order]

    def _size(self, rows: list[int]) -> int:
        """Tokens of a batch, its padding included."""
        lengths = self.lengths[rows]
        return int(lengths.sum() if self.padding_free else lengths.max() * len(rows))

    def _cut(self, epoch: int) -> list[list[int]]:
        """Shuffled, sorted in windows where there is padding, cut by the budget."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator)
        if self.padding_free:
            return self._cut_by_sum(shuffled.tolist())
        mean = max(1.0, self.lengths.double().mean().item()) if len(self.lengths) else 1.0
        window = max(1, round(WINDOW * self.tokens_per_batch / mean))
        batches: list[list[int]] = []
        for start in range(0, len(shuffled), window):
            rows = shuffled[start : start + window]
            rows = rows[self.lengths[rows].argsort(descending=True, stable=True)].tolist()
            place = 0
            while place < len(rows):
                size = max(1, self.tokens_per_batch // max(1, int(self.lengths[rows[place]])))
                batches.append(rows[place : place + size])
                place += size
        return batches

    def _cut_by_sum(self, rows: list[int]) -> list[list[int]]:
        """``rows`` in their order, each batch as many as fit."""
        batches: list[list[int]] = []
        room = 0
        for row, length in zip(rows, self.lengths[rows].tolist()):
            if length > room:
                batches.append([])
                room = self.tokens_per_batch
            batches[-1].append(row)
            room -= length
        return batches
