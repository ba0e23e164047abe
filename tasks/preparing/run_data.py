"""The rows of a run as token ids: prepared once, kept for the next start and the other processes, or streamed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.base import Example, Task
from tasks.distributed import is_first
from tasks.errors import UserError
from tasks.preparing.encoding import SHARED, Encoder
from tasks.preparing.notices import say_counts
from tasks.preparing.splits import (
    FormattedRows,
    examples_from_json,
    examples_to_json,
    format_examples,
    load_raw_datasets,
)
from tasks.preparing.streaming import Stream
from tasks.preparing.tables import Encoded, encode
from tasks.reading.sources import SPLITS, find_source
from tasks.run_folder import file_sha256

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from tasks.arguments.data import DataArguments
    from tasks.arguments.training import TrainingArguments

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
EXAMPLES_FILE = "examples.json"  # counts of each split, and the examples of all but train

#: Flags that change no row: files are in the key by their content, the others say how rows are made.
NOT_IN_KEY = (
    "train_file", "validation_file", "test_file", "preprocessing_num_workers", "overwrite_cache", "shuffle_buffer_size",
    "dry_run",
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
        task.use_columns(data_args.column_map)
        self.task = task
        self.parts = [self]  # a mixture has several
        self.data_args = data_args
        self.seed = training_args.seed
        self.splits = splits or (SPLITS if training_args.do_train else SPLITS[1:])
        self._found: dict[str, Counter[str]] = {}  # what was counted while the rows were read
        self._stream = Stream(task, data_args, training_args, self.splits) if data_args.streaming else None
        self.source = self._stream.source if self._stream else find_source(task, data_args, self.splits)
        self._learn_labels()

    def _learn_labels(self) -> None:
        """Read the training rows of a task that takes its labels from them: tokens of labels belong to the tokenizer."""
        words, form = self.data_args.label_words, self.data_args.label_form
        if self.data_args.head:
            self.task.head, form = True, "words"  # its labels need no tokens
        if not self.task.learns_labels:
            if words or self.data_args.label_form:
                flag = "label_words" if words else "label_form"
                raise UserError(f"--{flag}: {self.task.name} learns no labels from its rows; leave it out")
        elif "train" not in self.splits:
            raise UserError(
                f"{self.task.name} takes its labels from the training rows, which are not read without training; measure a "
                "trained model with scripts/evaluate_model.py"
            )
        else:
            column = self.task.target_columns[-1].name
            self.task.learn_labels(self._raw["train"].select_columns([column])[:][column], words, form)

    @cached_property
    def _raw(self) -> DatasetDict:
        return load_raw_datasets(
            self.task, self.data_args, seed=self.seed, splits=self.splits, source=self.source, counts=self._found
        )

    @cached_property
    def _content(self) -> dict[str, Any]:
        """What each split is made from, by content; None where that is not known before it is read."""
        return {split: self.source.identity(split) for split in self.source.splits}

    def _train(self) -> FormattedRows:
        """The training examples, formatted when they are asked for."""
        return FormattedRows(self.task, self._raw["train"], self.data_args.skip_bad_rows)

    def texts(self) -> Iterator[str]:
        """The training texts, to train a tokenizer on."""
        return (example.completion for example in (self._stream.examples() if self._stream else self._train()))

    def keep(self, what: Any, build: Callable[[Path], None]) -> Path | None:
        """The folder that ``build`` fills from these rows and ``what`` (JSON values), as of the last time if it is there.

        None where it cannot be kept: what the Hub streams is not known before it is read.
        """
        if None in self._content.values():
            return None
        flags = {name: value for name, value in vars(self.data_args).items() if name not in NOT_IN_KEY}
        task = [self.task.name, self.task.version, self.task.label_words]
        key = json.dumps([*task, self.seed, self.splits, flags, self._content, _programs(), what], sort_keys=True)
        return cached(hashlib.sha256(key.encode()).hexdigest()[:40], build, overwrite=self.data_args.overwrite_cache)

    def encode(self, encoder: Encoder) -> tuple[dict[str, Dataset], dict[str, Sequence[Example]]]:
        """Training rows of each split, and the examples of all but train; fills ``counts``.

        A task with a ``learned_baseline`` gets the examples of train, too, formatted when they are asked for.
        Where training is to follow, the first process prints how many evaluation rows are in train, too.

        Raises:
            UserError: a row that cannot be used, with file and row; a prompt that does not fit into the model.
        """
        datasets, examples, self.counts = self._stream.encode(encoder) if self._stream else self._encode(encoder)
        if self.task.learned_baseline and "train" in datasets and not self._stream:
            examples["train"] = self._train()
        self.__dict__.pop("_raw", None)  # they have served, and may be large
        if is_first():
            say_counts(self.task, self.counts, datasets, examples, encoder)
        return datasets, examples

    def _encode(self, encoder: Encoder) -> tuple[dict[str, Dataset], dict[str, list[Example]], dict[str, dict[str, int]]]:
        from datasets import Dataset

        def build(folder: Path) -> None:
            found = self._encode_all(encoder, folder)
            told = {split: [part.counts, examples_to_json(part.examples)] for split, part in found.items()}
            (folder / EXAMPLES_FILE).write_text(json.dumps([told, self.source.choices]), "utf-8")
            if any(self.source.identity(split) != content for split, content in self._content.items()):
                raise UserError("the data files changed while they were read; start again when they are complete")

        tokenizer = encoder.tokenizer
        what = [
            tokenizer.backend_tokenizer.to_str(), tokenizer.bos_token_id, tokenizer.eos_token_id, encoder.prefix,
            encoder.max_length, encoder.max_new_tokens, tokenizer.chat_template,
        ]  # fmt: skip
        folder = self.keep(what, build)
        if folder:
            told, self.source.choices = json.loads((folder / EXAMPLES_FILE).read_text("utf-8"))
            counts = {split: part[0] for split, part in told.items()}
            datasets = {split: Dataset.from_file(str(folder / f"{split}.arrow")) for split in told}
            examples = {split: examples_from_json(part[1]) for split, part in told.items()}
        else:
            found = self._encode_all(encoder)
            counts = {split: part.counts for split, part in found.items()}
            datasets = {split: part.rows for split, part in found.items()}
            examples = {split: part.examples for split, part in found.items()}
        examples.pop("train", None)
        return datasets, examples, counts

    def _encode_all(self, encoder: Encoder, folder: Path | None = None) -> dict[str, Encoded]:
        """Encode every split, the training rows into Arrow files where a ``folder`` is given."""
        skip, processes = self.data_args.skip_bad_rows, self.data_args.preprocessing_num_workers or 1
        found: dict[str, Encoded] = {}
        for split in sorted(self._raw, key=lambda split: split == "train"):  # the few first: mistakes show early
            rows, path = self._raw[split], folder / f"{split}.arrow" if folder else None
            examples = FormattedRows(self.task, rows, skip)
            try:
                found[split] = encode(encoder, examples, split, processes=processes, path=path, measured=split != "train")
            except UserError:
                format_examples(self.task, rows, skip)  # says more, where there is no row that can be used
                raise
        for split, part in found.items():
            if split != "train" and "train" in found:
                part.counts[SHARED] = int(np.isin(part.keys, found["train"].keys).sum())
            part.counts.update(Counter(part.counts) + self._found[split])
        return {split: found[split] for split in self._raw}


def _programs() -> list[Any]:
    """What turns rows into token ids: this project's code and the libraries below it."""
    root = Path(__file__).parents[1]
    sources = sorted([*root.glob("*.py"), *(root / "reading").glob("*.py"), *(root / "preparing").glob("*.py")])
    versions = [metadata.version(name) for name in ("datasets", "pyarrow", "tokenizers")]
    return [[file_sha256(path) for path in sources], versions, platform.python_version()]


def cached(key: str, build: Callable[[Path], None], *, overwrite: bool = False) -> Path | None:
    """The folder of ``key`` in the cache of datasets, with the files that ``build`` writes into the folder it is given.

    An entry is reused if every file is as it was written, and rebuilt otherwise. Of several processes one builds while the
    others wait. A folder gets its name when it is complete, so a process that is killed leaves no entry behind. The cache
    of ``Dataset.map`` returns damaged files as they are, and has no lock for processes that start at once.

    Returns None, with a warning, where the cache cannot be written (a full disk, missing permission).
    """
    from datasets import config
    from filelock import FileLock, Timeout

    root = Path(config.HF_DATASETS_CACHE) / "korean-causal-lm-tasks"
    entry = root / key
    if not overwrite and _is_whole(entry):  # before the lock: a cache that is only readable still serves
        return entry
    try:
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob("*.*.tmp"):  # of processes that were killed: whoever builds an entry holds its lock
            with suppress(Timeout), FileLock(root / f"{left.name.partition('.')[0]}.lock", blocking=False):
                shutil.rmtree(left, ignore_errors=True)
        with FileLock(root / f"{key}.lock"):
            if not overwrite and _is_whole(entry):
                return entry
            # Once the folder has been renamed, there is nothing left for TemporaryDirectory to remove.
            with tempfile.TemporaryDirectory(".tmp", f"{key}.", root, ignore_cleanup_errors=True) as temporary:
                build(Path(temporary))
                manifest = {path.name: file_sha256(path) for path in sorted(Path(temporary).iterdir())}
                Path(temporary, MANIFEST).write_text(json.dumps(manifest), "utf-8")
                if entry.exists():
                    shutil.rmtree(entry)
                os.replace(temporary, entry)
    except OSError as error:
        logger.warning("%s cannot be used to keep prepared data (%s); going on without it", root, error.strerror or error)
        return None
    return entry


def _is_whole(entry: Path) -> bool:
    """Whether every file of an entry is there as it was written."""
    try:
        manifest = json.loads((entry / MANIFEST).read_text("utf-8"))
        return all(file_sha256(entry / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError, RecursionError, AttributeError):
        return False
