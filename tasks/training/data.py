"""The rows of a run: files, the bundled sample or the Hub -> a DatasetDict with the task's columns -> examples."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tasks
from tasks.base import Example, RowError, Task
from tasks.errors import UserError
from tasks.training.cache import file_sha256
from tasks.training.columns import Loaded, columns_of, load_rows, parse_column_map
from tasks.training.files import Row, find_files, read_rows, suffix_of
from tasks.training.hub_data import OTHER_SOURCES, commit_of, find_split, identity_of, load_hub, load_split
from tasks.training.overlap import digest_of

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Reader:
    """A split as the source has it: nothing is read before it is called.

    ``identity`` is all that its rows depend on, as JSON values: two sources of the same identity have the same rows.
    """

    load: Callable[[], Loaded]
    identity: Callable[[], Any]


def load_raw_datasets(
    task: Task, data_args: Any, *, seed: int, splits: tuple[str, ...], readers: dict[str, Reader] | None = None
) -> datasets.DatasetDict:
    """Read the ``splits`` (of train, validation, test) that the caller needs.

    Every split has ``id`` (the data's id or guid, else ``train-0``; a repeated one gets ``#2``), ``where`` (file and
    row, for messages) and the task's columns under the task's names. ``test`` exists only where --test_file is given; a
    target column that it lacks is None in every row.

    Where the source has no validation split, a random share of train becomes it, if the caller needs one. The share
    depends on ``seed`` and the rows alone, and rows with the same first column (a premise or context with several
    hypotheses or questions) stay together, so that no row of it stands in train again, in NFC or not. The caps take the
    first rows of what is left. ``readers`` are those of
    ``find_readers``, where they have been found already.

    Raises:
        UserError: two sources at once, a source that cannot be read, too few rows, or data that does not fit the task.
    """
    import datasets

    readers = readers or find_readers(task, data_args, splits)
    loaded = {split: readers[split].load() for split in splits if split in readers}
    rows: dict[str, Sequence[int]] = {split: range(len(part.data)) for split, part in loaded.items()}
    if "validation" in splits and "validation" not in readers and "train" in readers:
        loaded["validation"] = loaded["train"] if "train" in loaded else readers["train"].load()
        shares = _share(task, loaded["validation"].data, data_args.validation_split, seed)
        rows |= {split: share for split, share in shares.items() if split in loaded}
    caps = {"train": data_args.max_train_samples}
    return datasets.DatasetDict(
        {
            split: _finish(task, loaded[split], split, rows[split], caps.get(split, data_args.max_eval_samples))
            for split in SPLITS
            if split in loaded
        }
    )


def _check_numbers(data_args: Any) -> None:
    if not 0 < data_args.validation_split < 1:
        raise UserError(f"--validation_split is {data_args.validation_split}; it must be between 0 and 1, such as 0.05")
    for flag in ("max_train_samples", "max_eval_samples"):
        value = getattr(data_args, flag)
        if value is not None and value <= 0:
            raise UserError(f"--{flag} is {value}; it must be 1 or more, or left out for all rows")


def find_readers(task: Task, data_args: Any, splits: tuple[str, ...]) -> dict[str, Reader]:
    """{split: what reads it} for the splits that the one source has. Files are not opened, a Hub dataset is downloaded.

    Raises:
        UserError: two sources, one that cannot be found, or one that lacks what ``splits`` need.
    """
    _check_numbers(data_args)
    column_map = parse_column_map(data_args.column_map, task)
    paths = {split: getattr(data_args, f"{split}_file") for split in SPLITS if getattr(data_args, f"{split}_file")}
    files = [f"--{split}_file" for split in paths]
    hub = [f"--{flag}" for flag in ("dataset", "dataset_config", "dataset_revision") if getattr(data_args, flag)]
    sample = ["--sample_data"] if data_args.sample_data else []
    if bool(files) + bool(hub) + bool(sample) > 1:
        flags = " and ".join(sample + files + hub)
        raise UserError(f"{flags} cannot go together; the rows come from files, a dataset or the sample: choose one")
    if files:
        readers = {split: _file_reader(task, path, column_map, split) for split, path in paths.items()}
        if "train" in splits and "train" not in readers:
            raise UserError(f"there are no rows to train on; give --train_file beside {' and '.join(files)}")
        if "validation" in splits and not {"train", "validation"} & readers.keys():
            raise UserError("there are no rows to measure on; give --validation_file beside --test_file")
        return readers
    if sample:
        if not all(_sample_folder(name).is_dir() for name in task.sample_texts or [task.name]):
            raise UserError(f"the task {task.name} has no bundled sample; give --train_file or --dataset instead")
        # The sample has our own names: a map meant for the user's files would only break it.
        return {
            split: Reader(
                lambda split=split: load_rows(_sample_rows(task, split), task, {}, f"the sample's {split} rows"),
                lambda split=split: [file_sha256(path) for path, _ in _sample_files(task, split)],
            )
            for split in ("train", "validation")
        }
    name, parts = load_hub(task, data_args.dataset, data_args.dataset_config, data_args.dataset_revision)
    data_args.dataset_revision = commit_of(parts) or data_args.dataset_revision  # what was read, for the model card
    theirs = {split: find_split(task, name, parts, split) for split in ("train", "validation")}
    if theirs["train"] is None and ("train" in splits or theirs["validation"] is None):
        raise UserError(f"the dataset {name} has no split 'train'; it has {', '.join(parts)}; {OTHER_SOURCES}")
    return {
        split: Reader(
            partial(load_split, task, parts[other], column_map, f"{name} {other}"), partial(identity_of, name, parts[other])
        )
        for split, other in theirs.items()
        if other is not None
    }


def _sample_folder(name: str) -> Path:
    return Path(tasks.__file__).parent / "samples" / name


def _sample_files(task: Task, split: str) -> list[tuple[str, tuple[str, ...]]]:
    """The bundled files of a split, and the columns that are texts of their own, where the task is made from those."""
    texts = task.sample_texts or {task.name: ()}
    return [(str(_sample_folder(name) / f"{split}.jsonl"), columns) for name, columns in texts.items()]


def _sample_rows(task: Task, split: str) -> Iterator[Row]:
    """The bundled rows of a task; of a task made from other samples, their texts one by one."""
    for path, columns in _sample_files(task, split):
        for row in read_rows(path):
            if not columns:
                yield row
            for column in columns:
                yield Row({"text": row.values[column]}, f"{row.where} {column}")


def _file_reader(task: Task, path: str, column_map: dict[str, str], split: str) -> Reader:
    columns = columns_of(task)
    found = find_files(path)  # now, so that a wrong name is told before the first file is read
    if len(columns) > 1 and any(suffix_of(name) == ".txt" for name in found):
        names = ", ".join(column.name for column in columns)
        raise UserError(
            f"{path}: a txt file has one column, and the task {task.name} needs {names}; "
            "use csv, tsv, json, jsonl or parquet"
        )
    return Reader(
        # Rows without targets can be predicted, not trained on or measured.
        lambda: load_rows(read_rows(path), task, column_map, path, targets=split != "test"),
        lambda: [[suffix_of(name), file_sha256(name)] for name in found],
    )


def _share(task: Task, data: datasets.Dataset, share: float, seed: int) -> dict[str, list[int]]:
    """Row numbers of train, in order, and of validation, in the order of the draw.

    Raises:
        UserError: there are too few different rows to set some aside.
    """
    column = task.input_columns[0].name
    groups: dict[Any, list[int]] = {}
    for number, value in enumerate(_values(data, column)):
        # Texts are long and digests short. A row without a value is a group of its own.
        key = number if value is None else digest_of(value)
        groups.setdefault(key, []).append(number)
    if len(groups) < 2:
        raise UserError(
            f"the rows of train ({len(data)}) hold one {column!r} between them, and validation needs one of its own; "
            "give more rows, or --validation_file"
        )
    # Python guarantees the sequence of random() for a seed, not that of shuffle().
    generator = random.Random(seed)
    order = sorted(groups.values(), key=lambda group: generator.random())
    size = min(max(round(len(data) * share), 1), len(data) - 1)
    validation: list[int] = []
    for group in order:
        if len(validation) + len(group) <= size:
            validation += group
    if not validation:  # every group is larger than the share
        validation = min(order, key=len)
    taken = set(validation)
    return {"train": [number for number in range(len(data)) if number not in taken], "validation": validation}


def _values(data: datasets.Dataset, column: str) -> Iterator[Any]:
    """The values of one column, a batch at a time: a corpus may not fit into memory as Python strings."""
    for batch in data.select_columns([column]).iter(batch_size=1000):
        yield from batch[column]


def _finish(task: Task, loaded: Loaded, split: str, rows: Sequence[int], limit: int | None) -> datasets.Dataset:
    """The first ``limit`` of ``rows`` of the loaded split, with ids."""
    if limit is not None and limit < len(rows):
        logger.info("%s: the first %d of %d rows", split, limit, len(rows))
        rows = rows[:limit]
    # The column is made for all rows and the selection comes last, since adding to a selection would copy it to disk.
    ids: list[str | None] = [None] * len(loaded.ids)
    seen: set[str] = set()
    repeats: dict[str, int] = {}
    for position, number in enumerate(rows):
        own = name = loaded.ids[number] or f"{split}-{position}"
        while name in seen:
            repeats[own] = repeats.get(own, 1) + 1
            name = f"{own}#{repeats[own]}"
        seen.add(name)
        ids[number] = name
    data = loaded.data.add_column("id", ids).select(rows)
    return data.select_columns(["id", "where", *(column.name for column in columns_of(task))])


def row_error(row: dict[str, Any], error: RowError) -> UserError:
    """The error of a row with the place of the row in front: ``train.csv line 12: column 'text' is empty``."""
    return UserError(f"{row['where']}: {error}")


def format_examples(task: Task, dataset: Iterable[dict[str, Any]], skip_bad_rows: bool) -> tuple[list[Example], int]:
    """The example of each row, and how many rows were skipped because the task refused them.

    Raises:
        UserError: a row is refused and ``skip_bad_rows`` is off, or no row is left.
    """
    formatted = list(format_rows(task, dataset, skip_bad_rows))
    examples = [row for row in formatted if isinstance(row, Example)]
    if not examples:
        reason = f"; the first problem: {formatted[0]}" if formatted else ""
        raise UserError(f"none of {len(formatted)} rows can be used{reason}")
    return examples, len(formatted) - len(examples)


def format_rows(task: Task, rows: Iterable[dict[str, Any]], skip_bad_rows: bool) -> Iterator[Example | UserError]:
    """The example of each row, or what is wrong with it where ``skip_bad_rows`` does not let that be raised."""
    for row in rows:
        try:
            yield task.format(row)
        except RowError as error:
            problem = row_error(row, error)
            if not skip_bad_rows:
                raise problem from None
            yield problem


class FormattedRows(Sequence[Example]):
    """The examples of a dataset's rows, formatted a slice at a time when it is asked for.

    A slice lacks the rows that the task refuses; without ``skip_bad_rows`` the first of them is raised as a UserError.
    """

    def __init__(self, task: Task, rows: datasets.Dataset, skip_bad_rows: bool) -> None:
        self.task = task
        self.rows = rows
        self.skip_bad_rows = skip_bad_rows

    def __len__(self) -> int:
        """Rows, with those that will be skipped."""
        return len(self.rows)

    def __getitem__(self, place: slice) -> list[Example]:
        """The examples of the rows of a slice."""
        columns = self.rows[place]
        rows = (dict(zip(columns, values)) for values in zip(*columns.values()))
        return [row for row in format_rows(self.task, rows, self.skip_bad_rows) if isinstance(row, Example)]
