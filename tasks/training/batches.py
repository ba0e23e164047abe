"""Which rows are a batch: as many as fit into a number of tokens, and the share of each process in batches of rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

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

    Each epoch has the same number of batches (a Trainer plans its steps by it), a multiple of ``world_size *
    accumulation``: where an epoch comes out shorter, its largest batches are halved; where one beyond ``epochs`` comes out
    longer, its smallest are joined, which may pass the budget. So every process takes as many steps, and each row is seen
    exactly once an epoch, by one process. A row longer than the budget is a batch of its own. With fewer rows than batches
    some are empty. One process that accumulates over four batches takes the steps of two that accumulate over two.

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
        accumulation: int = 1,
        padding_free: bool = False,
    ) -> None:
        """``lengths`` are tokens a row, ``accumulation`` the batches of a process in one optimizer step."""
        self.lengths = torch.as_tensor(lengths, dtype=torch.long)
        self.tokens_per_batch = tokens_per_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.padding_free = padding_free
        self.epoch = 0
        most = max((len(self._cut(epoch)) for epoch in range(max(1, epochs))), default=0)
        self.batches = math.ceil(most / (world_size * accumulation)) * world_size * accumulation

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
            if len(rows) == 1:  # fewer rows than processes: somebody has none
                batches.append([])
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
        lengths = self.lengths[rows].tolist()
        return sum(lengths) if self.padding_free else max(lengths, default=0) * len(rows)

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


class SharedBatchSampler(Sampler[list[int]]):
    """Batches of row numbers for one process of several: what one process would take as a batch is dealt out to all.

    ``world_size`` processes of ``batch_size`` rows see in each step the rows that one process of ``world_size *
    batch_size`` sees, and none twice. Where the last rows do not fill the batches, these are smaller, or empty.
    accelerate's own sharding repeats rows there, so that they count twice in the loss, and forgets the epoch after a resume.
    """

    def __init__(
        self,
        sampler: Sampler[int],
        batch_size: int,
        *,
        seed: int = 42,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        """``sampler`` gives the order of all rows; one that shuffles does so by ``seed`` and the epoch."""
        self.sampler = sampler
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.drop_last = drop_last
        self.set_epoch(0)

    def __len__(self) -> int:
        """Batches of this process in one epoch: as many as every other one has."""
        rows, together = len(self.sampler), self.batch_size * self.world_size
        return rows // together if self.drop_last else math.ceil(rows / together)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is; the Trainer calls it.

        A sampler without a generator of its own draws from the random state of the process, which dropout moves on
        differently in each. The seeds are those of accelerate in one process.
        """
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)
        elif hasattr(self.sampler, "generator"):
            self.sampler.generator = torch.Generator().manual_seed(self.seed + epoch)

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this process."""
        rows = iter(self.sampler)
        for _ in range(len(self)):
            together = list(itertools.islice(rows, self.batch_size * self.world_size))
            yield together[self.rank :: self.world_size]


class EpochSampler(Sampler[int]):
    """Another sampler's order, drawn from ``seed`` and the epoch alone.

    The plain Trainer draws the order of ``group_by_length`` from the global random state, which a resumed run gets back only
    after the order is drawn; and in the processes of a resumed run ``set_epoch`` does not reach the sampler. With this one
    both know the order without a word. For shuffled rows it is the order that accelerate draws.
    """

    def __init__(self, sampler: Any, seed: int) -> None:
        """``sampler`` has a ``generator`` that it draws from, as RandomSampler and LengthGroupedSampler do."""
        self.sampler = sampler
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """Rows an epoch."""
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The row numbers of the epoch."""
        self.sampler.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(self.sampler)
