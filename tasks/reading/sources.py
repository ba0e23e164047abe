"""Where the rows of a run come from: files, the bundled sample or the Hub. ``find_source`` is the one place that asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import IterableDataset

from tasks.base import Task
from tasks.errors import UserError
from tasks.reading.columns import Loaded, columns_of, load_rows, named, parse_column_map, resolve_columns
from tasks.reading.files import find_files, read_files, suffix_of
from tasks.reading.hub_data import HubSource
from tasks.reading.rows import Row
from tasks.run_folder import file_sha256

SPLITS = ("train", "validation", "test")

#: The flags of the sample, of files and of the Hub.
FLAGS = (("sample_data",), tuple(f"{split}_file" for split in SPLITS), ("dataset", "dataset_config", "dataset_revision"))

SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass
class FileSource:
    """Rows of files. ``files`` are the paths of each split, ``names`` what messages about a whole split call it."""

    task: Task
    files: dict[str, list[str]]
    names: dict[str, str]
    column_map: dict[str, str]
    _hashes: dict[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of train, validation and test that there are."""
        return tuple(self.files)

    def load(self, split: str) -> Loaded:
        """The rows in memory. Raises UserError where they cannot be read, or a column is missing or mixes types."""
        # Rows without targets can be predicted, not trained on or measured.
        return load_rows(self._rows(split), self.task, self.column_map, self.names[split], targets=split != "test")

    def _rows(self, split: str) -> Iterator[Row]:
        return read_files(self.files[split])

    def stream(self, split: str) -> IterableDataset:
        """The rows one at a time, as ``named`` makes them; each file is a shard that a process can have to itself."""
        whole = next((path for path in self.files[split] if suffix_of(path) == ".json"), None)
        if whole:
            raise UserError(
                f"{whole}: a json file can only be read as a whole; with --streaming use jsonl, txt, csv or parquet"
            )
        return IterableDataset.from_generator(self._stream, gen_kwargs={"paths": self.files[split]})

    def _stream(self, paths: list[str]) -> Iterator[dict[str, Any]]:
        for path in paths:
            columns: dict[str, str] = {}
            for row in read_files([path]):
                columns = columns or resolve_columns(self.task, list(row.values), self.column_map, path)
                yield named(row.values, columns, row.where)

    def explained(self) -> AbstractContextManager[None]:
        """Turns failures while a stream is read into UserErrors, which those of files are already."""
        return nullcontext()

    def identity(self, split: str) -> Any:
        """All that the rows depend on, as JSON values; None where that is not known before they are read."""
        self._hashes |= {path: file_sha256(path) for path in self.files[split]}
        return [[suffix_of(path), self._hashes[path]] for path in self.files[split]]

    def describe(self) -> dict[str, Any]:
        """Where the rows come from, as ``publishing.report.Data`` says it: {source, name, config, revision, files}."""
        files = []
        for split, paths in self.files.items():
            for path in paths:
                sha256 = self._hashes.get(path) or file_sha256(path)
                files.append({"split": split, "name": Path(path).name, "sha256": sha256, "bytes": Path(path).stat().st_size})
        return {"source": "files", "files": files}


class SampleSource(FileSource):
    """The bundled rows of a task; of a task made from other samples, their texts one by one."""

    def _rows(self, split: str) -> Iterator[Row]:
        if not self.task.sample_texts:
            yield from super()._rows(split)
        for path, columns in zip(self.files[split], self.task.sample_texts.values()):
            for row in read_files([path]):
                for column in columns:
                    yield Row({"text": row.values[column]}, f"{row.where} {column}")

    def describe(self) -> dict[str, Any]:
        """The sample's name."""
        return {"source": "sample", "name": f"{self.task.name} sample"}


DataSource = FileSource | HubSource


def find_source(task: Task, data_args: Any, splits: tuple[str, ...], *, streaming: bool = False) -> DataSource:
    """The one source that the arguments name. Files are not opened; a Hub dataset is downloaded, but not for ``streaming``.

    Raises UserError where there are two sources, or the one cannot be found or lacks what ``splits`` need.
    """
    sample, files, hub = ([f"--{flag}" for flag in flags if getattr(data_args, flag)] for flags in FLAGS)
    if bool(sample) + bool(files) + bool(hub) > 1:
        flags = " and ".join(sample + files + hub)
        raise UserError(f"{flags} cannot go together; the rows come from files, a dataset or the sample: choose one")
    column_map = parse_column_map(data_args.column_map, task)
    if sample:
        folders = [SAMPLES / name for name in task.sample_texts or [task.name]]
        if not all(folder.is_dir() for folder in folders):
            raise UserError(f"the task {task.name} has no bundled sample; give --train_file or --dataset instead")
        paths = {split: [str(folder / f"{split}.jsonl") for folder in folders] for split in ("train", "validation")}
        # The sample has our own names: a map meant for the user's files would only break it.
        return SampleSource(task, paths, {split: f"the sample's {split} rows" for split in paths}, {})
    if not files:
        return HubSource(task, data_args, column_map, splits, streaming)
    patterns = {split: pattern for split in SPLITS if (pattern := getattr(data_args, f"{split}_file"))}
    paths = {split: find_files(pattern) for split, pattern in patterns.items()}
    columns = ", ".join(column.name for column in columns_of(task))
    for split, pattern in patterns.items():
        if len(columns_of(task)) > 1 and any(suffix_of(path) == ".txt" for path in paths[split]):
            needs = f"the task {task.name} needs {columns}; use csv, tsv, json, jsonl or parquet"
            raise UserError(f"{pattern}: a txt file has one column, and {needs}")
    if "train" in splits and "train" not in paths:
        raise UserError(f"there are no rows to train on; give --train_file beside {' and '.join(files)}")
    if "validation" in splits and not {"train", "validation"} & paths.keys():
        raise UserError("there are no rows to measure on; give --validation_file beside --test_file")
    return FileSource(task, paths, patterns, column_map)
