"""Where the rows of a run come from: files, the bundled sample or the Hub. ``find_source`` is the one place that asks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets import IterableDataset

from tasks.base import Task
from tasks.errors import UserError
from tasks.reading.columns import Loaded, Table, choice_of, load_tables, named, parse_column_map, resolve_columns, say
from tasks.reading.files import READERS, find_files, read_files, suffix_of
from tasks.reading.hub_data import HubSource
from tasks.reading.kakaotalk import is_export, read_kakaotalk
from tasks.reading.rows import Row
from tasks.reading.txt_units import TABLE, units_of
from tasks.run_folder import file_sha256

SPLITS = ("train", "validation", "test")

#: The flags of the sample, of files and of the Hub.
FLAGS = (("sample_data",), tuple(f"{split}_file" for split in SPLITS), ("dataset", "dataset_config", "dataset_revision"))

SAMPLES = Path(__file__).parents[1] / "samples"


@dataclass
class FileSource:
    """Rows of files. ``files`` are the paths of each split, ``units`` what a text of a .txt is (``read_files``).

    ``choices`` say in words how the files were read; they are known when a split has been loaded. ``skipped`` counts the
    damaged rows that a stream has left out. ``exports`` are those of KakaoTalk and what reads them; ``private`` are words
    that are not published: their names, and who speaks there.
    """

    task: Task
    files: dict[str, list[str]]
    column_map: dict[str, str]
    units: dict[str, str] = field(default_factory=dict)
    skip: bool = False
    choices: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    exports: dict[str, Callable[..., Iterator[Row]]] = field(default_factory=dict)
    private: tuple[str, ...] = ()
    _hashes: dict[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of train, validation and test that there are."""
        return tuple(self.files)

    def load(self, split: str) -> Loaded:
        """The rows in memory. Raises UserError where they cannot be read, or a column is missing or mixes types."""
        counts: Counter[str] = Counter()
        tables = (Table(path, self._rows(path, counts), lenient=self.units.get(path) == TABLE) for path in self.files[split])
        # Rows without targets can be predicted, not trained on or measured.
        loaded = load_tables(tables, self.task, self.column_map, targets=split != "test", skip=self.skip)
        loaded.counts += counts
        self._record(loaded.choices)
        return loaded

    def _record(self, choices: Iterable[tuple[str, str]]) -> None:
        said = [*self.choices, *(f"{Path(origin).name}: {choice}" for origin, choice in choices)]
        self.choices[:] = dict.fromkeys(said)  # of files that are read more than once too; the report holds this very list

    def _rows(self, path: str, counts: Counter[str]) -> Iterator[Row]:
        export = self.exports.get(path)
        reader = partial(export, counts=counts) if export else None
        return read_files([path], txt_unit=self.units.get(path, "line"), skip=self.skip, counts=counts, reader=reader)

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
            for row in self._rows(path, self.skipped):
                if not columns:
                    columns = resolve_columns(self.task, row.values, self.column_map, path)
                    choice = choice_of(self.task, columns, row.values)
                    if choice and f"{Path(path).name}: {choice}" not in self.choices:
                        say([(path, choice)])
                        self._record([(path, choice)])
                if self.units.get(path) != TABLE or row.values[columns[self.task.input_columns[0].name]].strip():
                    yield named(row.values, self.task, columns, row.where)

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
                name = "KakaoTalk export" if path in self.exports else Path(path).name
                files.append({"split": split, "name": name, "sha256": sha256, "bytes": Path(path).stat().st_size})
        return {"source": "files", "files": files}


class SampleSource(FileSource):
    """The bundled rows of a task; of a task made from other samples, their texts one by one."""

    def _rows(self, path: str, counts: Counter[str]) -> Iterator[Row]:
        if not self.task.sample_texts:
            yield from super()._rows(path, counts)
            return
        for row in read_files([path]):
            for column in self.task.sample_texts[Path(path).parent.name]:
                yield Row({"text": row.values[column]}, f"{row.where} {column}")

    def describe(self) -> dict[str, Any]:
        """The sample's name."""
        return {"source": "sample", "name": f"{self.task.name} sample"}


@dataclass
class FolderSource(FileSource):
    """A folder of data files, given as --dataset: its files are shared out by their names and read as any file is."""

    folder: str = ""

    def describe(self) -> dict[str, Any]:
        """The folder's last name."""
        return {"source": "folder", "name": Path(self.folder).resolve().name}


DataSource = FileSource | HubSource


def find_source(task: Task, data_args: Any, splits: tuple[str, ...], *, streaming: bool = False) -> DataSource:
    """The one source that the arguments name. Of the files only those of .txt are looked into, which may hold a table; a Hub
    dataset is downloaded, but not for ``streaming``.

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
        return SampleSource(task, paths, {})
    skip = data_args.skip_bad_rows
    if not files:
        found = {} if streaming else _files_of_folder(data_args, splits)
        if not found:
            return HubSource(task, data_args, column_map, splits, streaming)
        units = units_of(task, found, data_args.txt_unit, column_map)
        return FolderSource(task, found, column_map, units, skip, folder=data_args.dataset)
    patterns = {split: pattern for split in SPLITS if (pattern := getattr(data_args, f"{split}_file"))}
    paths = {split: find_files(pattern) for split, pattern in patterns.items()}
    if "train" in splits and "train" not in paths:
        raise UserError(f"there are no rows to train on; give --train_file beside {' and '.join(files)}")
    if "validation" in splits and not {"train", "validation"} & paths.keys():
        raise UserError("there are no rows to measure on; give --validation_file beside --test_file")
    hours, who = data_args.session_hours, data_args.assistant_name
    exports = [path for each in paths.values() for path in each if task.conversational and is_export(path)]
    if who and not exports:
        raise UserError(f"--assistant_name {who}: none of the files is a chat of KakaoTalk; leave it out")
    plain = {split: [path for path in each if path not in exports] for split, each in paths.items()}
    units = units_of(task, plain, data_args.txt_unit, column_map)
    readers = {path: partial(read_kakaotalk, assistant=who, hours=hours) for path in exports}
    given = [patterns[split] for split, each in paths.items() if set(each) & set(exports)]
    private = (*given, *(Path(path).name for path in exports), *([who] if who else []))
    return FileSource(task, paths, column_map, units, skip, exports=readers, private=private)


def _files_of_folder(data_args: Any, splits: tuple[str, ...]) -> dict[str, list[str]]:
    """{split: files} of a --dataset that is a folder of data files and no more, as the datasets library shares them out."""
    from datasets.data_files import DataFilesDict, EmptyDatasetError, get_data_patterns

    folder = Path(data_args.dataset or "")
    aside = [*folder.glob("*.py"), *folder.glob("README.md"), *folder.glob("*.arrow"), *folder.glob("dataset_dict.json")]
    if not data_args.dataset or not folder.is_dir() or aside or data_args.dataset_config or data_args.dataset_revision:
        return {}
    try:
        found = DataFilesDict.from_patterns(get_data_patterns(str(folder)), base_path=str(folder))
    except (EmptyDatasetError, FileNotFoundError):
        return {}
    files = {split: [os.path.relpath(path) for path in sorted(found[split])] for split in SPLITS[:2] if split in found}
    needs_train = "train" in splits or "validation" not in files
    known = all(suffix_of(path) in READERS for paths in files.values() for path in paths)
    return files if known and ("train" in files or not needs_train) else {}
