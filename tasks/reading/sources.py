"""Where rows come from: files, the Hub or the bundled sample. The one place that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.base import Task
from tasks.errors import UserError
from tasks.reading.columns import Loaded, columns_of, load_rows, parse_column_map
from tasks.reading.files import find_files, read_rows, suffix_of
from tasks.reading.hub_data import OTHER_SOURCES, commit_of, find_split, identity_of, load_hub, load_split
from tasks.reading.rows import Row
from tasks.run_folder import file_sha256

SPLITS = ("train", "validation", "test")

SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass(frozen=True)
class Reader:
    """A split as the source has it: nothing is read before it is called.

    ``identity`` is all that its rows depend on, as JSON values: two sources of the same identity have the same rows.
    """

    load: Callable[[], Loaded]
    identity: Callable[[], Any]


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
        if not all((SAMPLES / name).is_dir() for name in task.sample_texts or [task.name]):
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


def _sample_files(task: Task, split: str) -> list[tuple[str, tuple[str, ...]]]:
    """The bundled files of a split, and the columns that are texts of their own, where the task is made from those."""
    texts = task.sample_texts or {task.name: ()}
    return [(str((SAMPLES / name) / f"{split}.jsonl"), columns) for name, columns in texts.items()]


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
