"""The rows of a run as token ids: prepared once, kept for the next start and the other processes, or streamed."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import Example, Task
from tasks.errors import UserError
from tasks.preparing.cache import cached, key_of
from tasks.preparing.encoding import Encoder
from tasks.preparing.overlap import SHARED, count_shared, print_shared
from tasks.preparing.splits import (
    FormattedRows,
    format_examples,
    load_raw_datasets,
    read_examples,
    say_notices,
    write_examples,
)  # fmt: skip
from tasks.preparing.streaming import Stream
from tasks.preparing.tables import SLICE, Encoded, encode
from tasks.reading.sources import SPLITS, find_source
from tasks.run_folder import file_sha256

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from tasks.arguments.data import DataArguments
    from tasks.arguments.training import TrainingArguments

COUNTS_FILE = "counts.json"

#: Flags that change no row: what a path stands for is in the key by content, the others say how rows are made.
NOT_IN_KEY = (
    "train_file", "validation_file", "test_file", "preprocessing_num_workers", "overwrite_cache", "shuffle_buffer_size",
)  # fmt: skip


class RunData:
    """The rows of one run. What cannot be found is refused at once; rows are read when they are first needed, if at all.

    ``counts`` says, once they are encoded, how many rows of each split were used, skipped, truncated and so on.
    """

    counts: dict[str, dict[str, int]]

    def __init__(
        self,
        task: Task,
        data_args: DataArguments,
        training_args: TrainingArguments,
        splits: tuple[str, ...] | None = None,
    ) -> None:
        """``splits`` are those of train, validation and test that the run needs; what ``do_train`` says by default.

        Raises:
            UserError: files, dataset or columns cannot be found, or flags that do not go together.
        """
        self.task = task
        self.data_args = data_args
        self.seed = training_args.seed
        if splits is None:
            splits = SPLITS if training_args.do_train else SPLITS[1:]
        self.splits = splits
        self._stream: Stream | None = None
        self._found: dict[str, Counter[str]] = {}  # what was counted while the rows were read
        if data_args.streaming:
            self._stream = Stream(task, data_args, training_args, splits)
            self.source = self._stream.source
        else:
            self.source = find_source(task, data_args, splits)

    @cached_property
    def _raw(self) -> DatasetDict:
        return load_raw_datasets(
            self.task, self.data_args, seed=self.seed, splits=self.splits, source=self.source, counts=self._found
        )

    @cached_property
    def _identity(self) -> Any:
        """All that the formatted rows depend on, as JSON values."""
        flags = {name: value for name, value in vars(self.data_args).items() if name not in NOT_IN_KEY}
        task = [self.task.name, self.task.version, self.task.label_words]
        return [*task, self.seed, self.splits, flags, self._content, _programs()]

    @cached_property
    def _content(self) -> dict[str, Any]:
        return self._look()

    def _look(self) -> dict[str, Any]:
        return {split: self.source.identity(split) for split in self.source.splits}

    def texts(self) -> Iterator[str]:
        """The training texts, to train a tokenizer on."""
        if self._stream:
            yield from self._stream.texts()
            return
        rows = FormattedRows(self.task, self._raw["train"], self.data_args.skip_bad_rows)
        for start in range(0, len(rows), SLICE):
            for example in rows[start : start + SLICE]:
                yield example.completion

    def keep(self, what: Any, build: Callable[[Path], None]) -> Path | None:
        """The folder that ``build`` fills from these rows and ``what`` (JSON values), as of the last time if it is there.

        None where it cannot be kept: what the Hub streams is not known before it is read.
        """
        if None in self._content.values():
            return None
        return cached(key_of([self._identity, what]), build, overwrite=self.data_args.overwrite_cache)

    def encode(self, encoder: Encoder) -> tuple[dict[str, Dataset], dict[str, list[Example]]]:
        """Training rows of each split, and the examples of all but train; fills ``counts``.

        Where training is to follow, the first process prints how many of the rows to measure on stand in train.

        Raises:
            UserError: a row that cannot be used, with file and row; a prompt that does not fit into the model.
        """
        datasets, examples, self.counts = self._stream.encode(encoder) if self._stream else self._encode(encoder)
        print_shared(self.counts)
        say_notices(self.task, self.counts)
        return datasets, examples

    def _encode(self, encoder: Encoder) -> tuple[dict[str, Dataset], dict[str, list[Example]], dict[str, dict[str, int]]]:
        from datasets import Dataset

        def build(folder: Path) -> None:
            found = self._encode_all(encoder, folder)
            for split, part in found.items():
                if split != "train":
                    write_examples(folder / f"{split}-examples.jsonl", part.examples)
            told = {"counts": {split: part.counts for split, part in found.items()}, "choices": self.source.choices}
            (folder / COUNTS_FILE).write_text(json.dumps(told), "utf-8")
            if self._look() != self._content:
                raise UserError("the data files changed while they were read; start again when they are complete")

        tokenizer = encoder.tokenizer
        what = [
            tokenizer.backend_tokenizer.to_str(), tokenizer.bos_token_id, tokenizer.eos_token_id, encoder.prefix,
            encoder.max_length, encoder.max_new_tokens,
        ]  # fmt: skip
        folder = self.keep(what, build)
        if folder:
            told = json.loads((folder / COUNTS_FILE).read_text("utf-8"))
            counts, self.source.choices = told["counts"], told["choices"]
            datasets = {split: Dataset.from_file(str(folder / f"{split}.arrow")) for split in counts}
            examples = {split: read_examples(folder / f"{split}-examples.jsonl") for split in counts if split != "train"}
        else:
            found = self._encode_all(encoder)
            counts = {split: part.counts for split, part in found.items()}
            datasets = {split: part.rows for split, part in found.items()}
            examples = {split: part.examples for split, part in found.items() if split != "train"}
        self.__dict__.pop("_raw", None)  # they have served, and may be large
        return datasets, examples, counts

    def _encode_all(self, encoder: Encoder, folder: Path | None = None) -> dict[str, Encoded]:
        """Encode every split, the training rows into Arrow files where a ``folder`` is given."""
        skip, processes = self.data_args.skip_bad_rows, self.data_args.preprocessing_num_workers or 1
        found: dict[str, Encoded] = {}
        for split in sorted(self._raw, key=lambda split: split == "train"):  # the few first: a mistake there is told at once
            rows, path = self._raw[split], folder / f"{split}.arrow" if folder else None
            examples = FormattedRows(self.task, rows, skip)
            try:
                found[split] = encode(encoder, examples, split, processes=processes, path=path, measured=split != "train")
            except UserError:
                format_examples(self.task, rows, skip)  # says more, where there is no row that can be used
                raise
        for split, shared in count_shared({split: part.keys for split, part in found.items()}).items():
            found[split].counts[SHARED] = shared
        for split, part in found.items():
            part.counts.update(Counter(part.counts) + self._found[split])
        return {split: found[split] for split in self._raw}


def _programs() -> list[Any]:
    """What turns rows into token ids: this project's code and the libraries below it."""
    root = Path(__file__).parents[1]
    sources = sorted([*root.glob("*.py"), *(root / "reading").glob("*.py"), *(root / "preparing").glob("*.py")])
    versions = [metadata.version(name) for name in ("datasets", "pyarrow", "tokenizers")]
    return [[file_sha256(path) for path in sources], versions, platform.python_version()]
