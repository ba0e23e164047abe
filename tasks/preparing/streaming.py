"""``--streaming``: training rows that are read, formatted, encoded and shuffled as they are needed, and never all held."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object

from tasks.base import Example, Task
from tasks.errors import RowError, UserError, skip_counts
from tasks.preparing.encoding import COUNTS, SHARED, Encoder
from tasks.preparing.splits import digest_of, format_examples, format_rows, load_raw_datasets
from tasks.preparing.tables import encode
from tasks.reading.sources import find_source

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from tasks.arguments.data import DataArguments
    from tasks.arguments.training import TrainingArguments

#: Rows that are formatted and tokenised at a time.
BATCH = 100

#: Flags that a stream cannot follow, and why.
REFUSED = {
    "max_train_samples": "--max_steps says how long a stream is",
    "tokens_per_batch": "its batches are planned from the lengths of all rows",
    "dataloader_num_workers": "the rows are read and counted in the training process",
}

#: {column: value} of a row, its ``id``, and ``where`` a human finds it.
Rows = Iterator[dict[str, Any]]


class Stream:
    """The rows of a run whose training rows are not held in memory; those to measure on are, and there are few."""

    def __init__(
        self, task: Task, data_args: DataArguments, training_args: TrainingArguments, splits: tuple[str, ...]
    ) -> None:
        """Raises UserError where the source cannot be found or streamed, or flags do not go together."""
        if not task.streaming:
            raise UserError(f"--streaming: {task.name} reads its rows into memory; it is for generate and scratch")
        if data_args.sample_data:
            raise UserError("--streaming is for corpora larger than memory; leave it out with --sample_data")
        if "train" in splits and training_args.max_steps <= 0:
            raise UserError("--streaming does not know how many rows there are; say with --max_steps when to end")
        for name, reason in REFUSED.items():
            if getattr(data_args, name, None) or getattr(training_args, name, None):
                raise UserError(f"--{name} does not go with --streaming: {reason}; leave it out")
        self.task = task
        self.data_args = data_args
        self.args = training_args
        self.splits = splits
        self.source = find_source(task, data_args, splits, streaming=True)
        if training_args.include_num_input_tokens_seen == "no":
            training_args.include_num_input_tokens_seen = "non_padding"  # the count of tokens
        self._train = self.source.stream("train") if "train" in self.source.splits else None
        self._draws = "validation" not in self.source.splits  # from the training rows
        if self._draws and data_args.max_eval_samples is None:
            raise UserError(
                "--streaming does not know how many rows there are, so that a share of them has no end: give "
                "--validation_file, or --max_eval_samples"
            )

    def _read(self, rows: IterableDataset) -> Rows:
        """The rows; a failure of the Hub is a UserError."""
        with self.source.explained():
            yield from rows

    def _origin(self) -> str:
        """The files by content, or of the Hub the name, and what the first rows hold: a name may stand for others later."""
        content = self.source.identity("train")
        if content is None:
            content = [self._digest(row).hex() for row in itertools.islice(self._read(self._train), BATCH)]
        return json.dumps([content, self.source.describe()])

    @cached_property
    def _measured(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of validation and test."""
        args = self.data_args
        files = tuple(split for split in ("validation", "test") if getattr(args, f"{split}_file"))
        raw = load_raw_datasets(self.task, args, seed=self.args.seed, splits=files, source=self.source)
        found = {split: list(rows) for split, rows in raw.items()}
        if "validation" not in found:
            rows = self._drawn() if self._draws else self._read(self.source.stream("validation"))
            rows = enumerate(itertools.islice(rows, args.max_eval_samples))
            found = {"validation": [row | {"id": f"validation-{number}"} for number, row in rows], **found}
            if not found["validation"]:
                raise UserError("there is no row to measure on; give --validation_file, or raise --validation_split")
        return found

    def _drawn(self) -> Rows:
        """Each row with the probability ``--validation_split``, till there are ``--max_eval_samples``, no text twice.

        The draw is the text's own hash with the seed, so that it needs no second pass and is the same in every process.
        """
        seen: set[bytes] = set()
        for row in self._read(self._train):
            digest = self._digest(row)
            drawn = hashlib.blake2b(digest, key=str(self.args.seed).encode(), digest_size=8).digest()
            if digest not in seen and int.from_bytes(drawn, "big") < self.data_args.validation_split * 2**64:
                seen.add(digest)
                yield row

    def _digest(self, row: dict[str, Any]) -> bytes:
        return digest_of(row[self.task.input_columns[0].name])

    @cached_property
    def _training(self) -> IterableDataset:
        """The training rows: without those that were drawn from them, wherever the same text comes again."""
        if not self._draws:
            return self._train
        held = {self._digest(row) for row in self._measured["validation"]}
        return self._train.filter(lambda row: self._digest(row) not in held)

    def examples(self) -> Iterator[Example]:
        """Every training example once, in the order of the files."""
        return format_rows(self.task, self._read(self._training), self.data_args.skip_bad_rows)

    def encode(self, encoder: Encoder) -> tuple[dict[str, Any], dict[str, list[Example]], dict[str, dict[str, int]]]:
        """As ``RunData.encode``, with the counts. Those of train are filled in when training has ended.

        ``SHARED`` is only known of rows that were drawn from train.
        """
        from datasets.distributed import split_dataset_by_node

        datasets: dict[str, Dataset | TextStream] = {}
        examples: dict[str, list[Example]] = {}
        counts: dict[str, dict[str, int]] = {"train": {}} if "train" in self.splits else {}
        for split, rows in self._measured.items():
            formatted, skipped = format_examples(self.task, rows, self.data_args.skip_bad_rows)
            datasets[split], counts[split], _, examples[split] = encode(encoder, formatted, split, measured=True)
            counts[split] |= skipped
        if "train" in self.splits:
            counts["validation"] |= {SHARED: 0} if self._draws else {}
            args = self.args
            seed = args.seed if args.data_seed is None else args.data_seed
            rows = self._training.shuffle(seed=seed, buffer_size=self.data_args.shuffle_buffer_size)
            rows = split_dataset_by_node(rows, args.process_index, args.world_size)

            def read(epoch: int) -> Rows:
                rows.set_epoch(epoch)
                return self._read(rows)

            skip, origin = self.data_args.skip_bad_rows, self._origin
            datasets["train"] = TextStream(self.task, read, encoder, skip, counts["train"], origin, self.source.skipped)
        return datasets, examples, counts


@dataclass(eq=False)
class TextStream(torch.utils.data.IterableDataset):
    """The training rows of this process without an end: one pass over the corpus after another, each in its own order.

    Processes do not have the same number of rows, and one that came to an end would leave the others waiting; so
    ``--max_steps`` ends training. A resumed run reads again what was read before and skips it. ``read(epoch)`` gives the
    rows of a pass; ``counts`` are those of ``all_results.json``. ``origin()`` tells the files or the commit that they are
    read from, ``damaged`` counts what its source leaves out, and ``recent`` are the last sequences, each with its ``id``.
    """

    task: Task
    read: Callable[[int], Rows]
    encoder: Encoder
    skip_bad_rows: bool
    counts: dict[str, int]
    origin: Callable[[], str] = str
    damaged: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1024))

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        """``{"input_ids", "labels"}`` of one sequence after another."""
        self.seen.clear()
        self.damaged.clear()
        for epoch in itertools.count():
            learnt = 0
            rows = self.read(epoch)
            while batch := list(itertools.islice(rows, BATCH)):
                skipped: list[RowError] = []
                examples = list(format_rows(self.task, batch, self.skip_bad_rows, skipped))
                self.encoder.counts.clear()
                sequences = self.encoder.training_rows(examples)
                self.seen.update(self.encoder.counts + skip_counts(skipped) + Counter(rows=len(examples)))
                learnt += len(sequences)
                for sequence in sequences:
                    self.recent.append(sequence)
                    yield sequence
            if not learnt:
                raise UserError("this process found no row to learn from; look at the rows, or start fewer processes")

    def fill_counts(self, tokens: int) -> None:
        """What was streamed: rows as all processes have read them, ``tokens`` as the Trainer has counted them."""
        total: Counter[str] = Counter(tokens=tokens)
        for seen in gather_object([dict(self.seen + self.damaged)]):
            total.update(seen)
        self.counts.update({name: total[name] for name in dict.fromkeys((*COUNTS, *sorted(total))) if total[name]})
