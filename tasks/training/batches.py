"""Which rows form a batch: as many as fit into a number of tokens, or a number of rows, shared by all processes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute
import torch
from accelerate.data_loader import DataLoaderShard
from datasets import Dataset
from torch.utils.data import Sampler

from tasks.preparing.streaming import TextStream

if TYPE_CHECKING:
    from tasks.arguments.training import TrainingArguments

#: Batches' worth of rows that are sorted together. Wide enough that rows of like length meet, narrow enough that a batch is
#: not made of the same rows in every epoch.
WINDOW = 64


@dataclass(eq=False)
class TokenBudgetSampler(Sampler[list[int]]):
    """Batches of row numbers whose padded size, rows times the longest row, stays within ``tokens_per_batch``.

    The rows are shuffled, sorted by length within a window and split into batches, and the batches are shuffled. Where
    batches are ``padding_free`` nothing is sorted, and the sum of the rows' lengths stays within the budget. The order
    follows from ``seed`` and the epoch alone, so a resumed run and every process know it. Each row is seen once an epoch, by
    one process; a row longer than the budget is a batch of its own.

    Every epoch has the same number of batches (a Trainer plans its steps by it), a multiple of ``world_size *
    accumulation``, so all processes take equally many steps. Too few: the largest are split in two. Too many (only after
    ``epochs``, which are planned ahead): the smallest are joined, which can exceed the budget.

    ``lengths`` are tokens a row, ``accumulation`` batches of a process in one optimizer step.
    """

    lengths: Sequence[int]
    tokens_per_batch: int
    epochs: int = 1
    seed: int = 42
    rank: int = 0
    world_size: int = 1
    accumulation: int = 1
    padding_free: bool = False
    epoch: int = 0

    def __post_init__(self) -> None:
        self.lengths = torch.as_tensor(self.lengths, dtype=torch.long)
        most = max((len(self._split(epoch)) for epoch in range(max(1, self.epochs))), default=0)
        together = self.world_size * self.accumulation
        self.batches = math.ceil(most / together) * together

    def __len__(self) -> int:
        """Batches of this process in one epoch."""
        return self.batches // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is. The Trainer calls it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this process."""
        yield from self.plan(self.epoch)[self.rank :: self.world_size]

    def plan(self, epoch: int) -> list[list[int]]:
        """The batches of all processes: number ``i`` belongs to process ``i % world_size``."""
        batches = sorted(self._split(epoch), key=len)
        while len(batches) > self.batches:
            batches = sorted([*batches[2:], batches[0] + batches[1]], key=len)
        while len(batches) < self.batches:
            largest = max(range(len(batches)), key=lambda i: len(batches[i]))
            rows = batches[largest]
            half = max(1, len(rows) // 2)  # the other one is empty where there are fewer rows than batches
            batches[largest] = rows[:half]
            batches.append(rows[half:])
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

    def _split(self, epoch: int) -> list[list[int]]:
        """Shuffled, sorted in windows where there is padding, split by the budget."""
        generator = torch.Generator().manual_seed(self.seed + epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator)
        mean = max(1.0, self.lengths.double().mean().item()) if len(self.lengths) else 1.0
        window = max(1, len(shuffled) if self.padding_free else round(WINDOW * self.tokens_per_batch / mean))
        batches: list[list[int]] = []
        for start in range(0, len(shuffled), window):
            rows = shuffled[start : start + window]
            if not self.padding_free:
                rows = rows[self.lengths[rows].argsort(descending=True, stable=True)]
            room = longest = 0
            for row, length in zip(rows.tolist(), self.lengths[rows].tolist()):
                if max(length, longest) > room:
                    batches.append([])
                    room, longest = self.tokens_per_batch, 0 if self.padding_free else length
                batches[-1].append(row)
                room -= max(length, longest)
        return batches


@dataclass(eq=False)
class SharedBatchSampler(Sampler[list[int]]):
    """Batches of row numbers for each of the processes: what one process would take as a batch is shared by all.

    ``world_size`` processes of ``batch_size`` rows see in each step the rows that one process of ``world_size *
    batch_size`` sees, and none twice. Where the last rows do not fill the batches, these are smaller, or empty.
    accelerate's own sharding repeats rows there, so that they count twice in the loss. Alone a process has plain batches.

    ``sampler`` gives the order of all rows. It follows from ``seed`` and the epoch alone: the plain Trainer draws the one of
    ``group_by_length`` from the global random state, which a resumed run gets back only after the order was drawn.
    """

    sampler: Sampler[int]
    batch_size: int
    seed: int = 42
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        self.set_epoch(0)

    def __len__(self) -> int:
        """Batches of this process in one epoch: as many as every other one has."""
        rows, together = len(self.sampler), self.batch_size * self.world_size
        return rows // together if self.drop_last else math.ceil(rows / together)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is. The Trainer calls it. The seeds are those of accelerate in one process."""
        # Without a generator of its own a sampler draws from the random state, which dropout moves in each process.
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


def process_share(args: TrainingArguments) -> dict[str, int]:
    """The seed of the order of rows, and which of the processes this one is, as both samplers take them."""
    seed = args.seed if args.data_seed is None else args.data_seed
    return {"seed": seed, "rank": args.process_index, "world_size": args.world_size}


def token_batches(rows: Dataset, batch_size: int, args: TrainingArguments, padding_free: bool) -> TokenBudgetSampler:
    """Batches by tokens: ``--tokens_per_batch``, by default as many as ``batch_size`` rows have on average.

    ``batch_size`` is the one of the moment, which ``--auto_find_batch_size`` lowers; the budget shrinks with it.
    """
    lengths = pyarrow.compute.list_value_length(rows.with_format("arrow")[:]["input_ids"]).to_pylist()
    given = args.tokens_per_batch
    tokens_a_row = given / args.train_batch_size if given else sum(lengths) / len(lengths)
    return TokenBudgetSampler(
        lengths,
        math.ceil(batch_size * tokens_a_row),
        epochs=math.ceil(args.num_train_epochs),
        accumulation=args.gradient_accumulation_steps,
        padding_free=padding_free,
        **process_share(args),
    )


def load_batches(rows: Any, collate: Callable[[list[Any]], Any], args: TrainingArguments, **batches: Any) -> DataLoaderShard:
    """A loader of this process's own ``batches``: a ``batch_sampler``, or of a stream a ``batch_size``.

    accelerate's ``prepare`` would repeat rows to even out batches, share a stream out a second time, and hide the sampler
    from ``set_epoch`` after a resume.
    """
    return DataLoaderShard(
        rows,
        device=args.device,
        collate_fn=collate,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        **batches,
    )


def row_names(rows: Any, batches: list[dict[str, Any]]) -> list[str]:
    """The ids (or numbers) of the rows of ``batches``, found by their tokens, so that no id has to travel with a batch.

    Rows with the same tokens are all named. Of a stream the last ones alone are known.
    """
    if not isinstance(rows, (Dataset, TextStream)):
        return []
    wanted: set[tuple[int, ...]] = set()
    for batch in batches:
        if "attention_mask" in batch:
            ids = batch["input_ids"][batch["attention_mask"].bool()]
            lengths = batch["attention_mask"].sum(dim=1)
        else:  # padding-free: positions count from 0 in each row
            ids = batch["input_ids"][0]
            lengths = batch["position_ids"][0].eq(0).cumsum(0).bincount()[1:]
        wanted |= {tuple(row.tolist()) for row in ids.split(lengths.tolist())}
    if isinstance(rows, TextStream):
        ids, tokens = zip(*((row["id"], row["input_ids"]) for row in rows.recent))
    else:
        ids = rows["id"] if "id" in rows.column_names else range(len(rows))
        tokens = (row for part in rows.select_columns(["input_ids"]).iter(batch_size=1000) for row in part["input_ids"])
    return list(dict.fromkeys(str(name) for name, row in zip(ids, tokens) if tuple(row) in wanted))
