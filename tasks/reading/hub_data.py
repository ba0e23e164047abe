"""A dataset of the Hub, or a folder that the datasets library reads, with every failure told in one line."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
from datasets.exceptions import DatasetNotFoundError, DatasetsError

from tasks.base import Task
from tasks.errors import UserError
from tasks.network import causes, hub_or_cache, is_named, is_network
from tasks.reading.columns import Loaded, beside_of, choice_of, columns_of, id_column, named, resolve_columns, say
from tasks.reading.parquet_rows import check_unfolded, unfolded_bytes
from tasks.reading.values import array_of, label_names, read_values, row_id
from tasks.run_folder import file_sha256

#: What validation splits are called where a task does not say it.
VALIDATION_NAMES = ("validation", "valid", "val", "dev")

OTHER_SOURCES = "use --sample_data, or files of your own with --train_file"


class HubSource:
    """The dataset that the arguments name, else the task's own; the methods are those of ``FileSource``.

    It may be a folder of ``save_to_disk`` or of data files. With ``streaming`` nothing is downloaded nor can be loaded.
    """

    def __init__(self, task: Task, data_args: Any, column_map: dict[str, str], splits: Any, streaming: bool) -> None:
        """Raises UserError: it cannot be reached, found or read, needs a login, or lacks a configuration or a split."""
        own = getattr(task, "default_dataset", None)
        if data_args.dataset is None and own is None:
            raise UserError(f"the task {task.name} has no dataset of its own; name one with --dataset, or {OTHER_SOURCES}")
        self.task, self.column_map = task, column_map
        self.skip, self.choices, self.skipped = data_args.skip_bad_rows, [], Counter()
        self.name = own.id if data_args.dataset is None else data_args.dataset
        known = own if own and own.id == self.name else None
        self.config = data_args.dataset_config or (known and known.config)
        self.revision = data_args.dataset_revision or (known and known.revision)
        if Path(self.name).is_file():
            raise UserError(f"--dataset {self.name} is a file; give it as --train_file")
        with self.explained():
            for path in sorted(Path(self.name).rglob("*.parquet")) if Path(self.name).is_dir() else ():
                check_unfolded(str(path), unfolded_bytes(pyarrow.parquet.read_metadata(path)))
            if any(Path(self.name, f"{mark}.json").is_file() for mark in ("dataset_dict", "dataset_info", "state")):
                loaded = datasets.load_from_disk(self.name)
            else:
                with hub_or_cache(self.name):
                    loaded = datasets.load_dataset(self.name, self.config, revision=self.revision, streaming=streaming)
        self._parts = dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}
        if streaming:  # load_from_disk does not stream
            tables = (name for name, part in self._parts.items() if isinstance(part, datasets.Dataset))
            self._parts |= {name: self._parts[name].to_iterable_dataset() for name in tables}
        self.revision = commit_of(self._parts) or self.revision
        names = ((known.train_split,), (known.validation_split,)) if known else (("train",), VALIDATION_NAMES)
        found = [[name for name in each if name in self._parts] for each in names]
        self._names = {split: present[0] for split, present in zip(("train", "validation"), found) if present}
        self.splits = tuple(self._names)
        needed = ["train"] if "train" in splits or "validation" not in self.splits else []
        for name in (known.train_split, known.validation_split) if known else needed:
            if name not in (None, *self._parts):
                there = ", ".join(self._parts)
                raise UserError(f"the dataset {self.name} has no split {name!r}; it has {there}; {OTHER_SOURCES}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns failures of the Hub while the rows are read into UserErrors."""
        try:
            yield
        except Exception as error:
            message = _explain(error, self.name, self.config, self.revision)
            if isinstance(error, UserError) or message is None:
                raise
            raise UserError(message) from None

    def load(self, split: str) -> Loaded:
        """As ``load_split``."""
        name = self._names[split]
        loaded = load_split(self.task, self._parts[name], self.column_map, f"{self.name} {name}", skip=self.skip)
        self.choices += [f"{origin}: {choice}" for origin, choice in loaded.choices]
        return loaded

    def stream(self, split: str) -> datasets.IterableDataset:
        """The rows as the Hub sends them; ``where`` is the split."""
        data, where = self._parts[self._names[split]], f"{self.name} {self._names[split]}"
        with self.explained():
            available = data.column_names or list(next(iter(data), {}))
        columns = resolve_columns(self.task, available, self.column_map, where)
        return data.map(named, remove_columns=available, fn_kwargs={"task": self.task, "columns": columns, "where": where})

    def identity(self, split: str) -> Any:
        """The fingerprint, which for the Hub tells the commit; of a folder all files too; None for a stream."""
        fingerprint = getattr(self._parts[self._names[split]], "_fingerprint", None)
        files = sorted(path for path in Path(self.name).rglob("*") if path.is_file())
        return fingerprint and [fingerprint, [[str(path.relative_to(self.name)), file_sha256(path)] for path in files]]

    def describe(self) -> dict[str, Any]:
        """Name, configuration and commit; of a folder its last name alone."""
        if Path(self.name).is_dir():
            return {"source": "folder", "name": Path(self.name).resolve().name}
        return {"source": "hub", "name": self.name, "config": self.config, "revision": self.revision}


def commit_of(splits: Mapping[str, Any]) -> str | None:
    """The commit of the Hub that the splits were read at; None for a folder. datasets names their folder in its cache so."""
    paths = [file["filename"] for split in splits.values() for file in getattr(split, "cache_files", ())]
    return next((match[1] for path in paths if (match := re.search(r"[/\\]([0-9a-f]{40})[/\\]", path))), None)


def load_split(task: Task, data: datasets.Dataset, column_map: dict[str, str], origin: str, *, skip: bool = False) -> Loaded:
    """One split with the task's columns; ``where`` is ``klue/klue validation row 12``, its beginning ``origin``.

    Raises UserError where a column is missing, the split is empty, or its text is not UTF-8. ``skip`` as in ``array_of``.
    """
    if not len(data):
        raise UserError(f"{origin} holds no rows; {OTHER_SOURCES}")
    names = resolve_columns(task, data.column_names, column_map, origin)
    own = id_column(data.column_names)
    loaded = Loaded(data, [None] * len(data) if own is None else [row_id(value) for value in data[own][:]])
    if choice := choice_of(task, names, data.column_names):
        loaded.choices.append((origin, choice))
        say(loaded.choices)
    besides = {column.name: beside_of(column, data.column_names) for column in columns_of(task)}
    besides = {ours: data[theirs][:] for ours, theirs in besides.items() if theirs}
    data = data.select_columns(list(names.values()))
    try:
        data.data.table.validate(full=True)  # Arrow and parquet store bytes and check nothing
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{origin}: damaged text ({' '.join(str(error).split())[:200]}); {OTHER_SOURCES}") from None
    data = data.rename_columns({theirs: ours for ours, theirs in names.items() if ours != theirs})
    where = [f"{origin} row {number}" for number in range(1, len(data) + 1)]
    data = data.add_column("where", where)
    for name in (column.name for column in columns_of(task) if column.name not in names):
        data = data.add_column(name, [None] * len(data))
    for column in columns_of(task):
        feature = data.features[column.name]
        if column.read is None and getattr(feature, "dtype", None) in ("string", "large_string"):
            continue  # text stays where it is: there may be a lot
        values = data[column.name][:]
        values = label_names(feature, values) if isinstance(feature, datasets.ClassLabel) else values
        target = column in task.target_columns
        values = read_values(column, values, besides.get(column.name), loaded.counts, target=target)
        array = array_of(values, column.name, where, skip=skip)
        data = data.remove_columns(column.name).add_column(column.name, array)
    loaded.data = data
    return loaded


def _explain(error: Exception, name: str, config: str | None, revision: str | None) -> str | None:
    """What to tell the user, or None where the error is none of theirs."""
    text = " ".join(str(error).split())
    chain = list(causes(error))
    the = f"the dataset {name}"
    page = f"https://huggingface.co/datasets/{name}"
    statuses = [getattr(getattr(cause, "response", None), "status_code", None) for cause in chain]
    # The Hub answers 401 for what does not exist too, so as not to tell strangers which private datasets there are.
    denied = 403 in statuses or (401 in statuses and "doesn't exist" not in text)
    if denied or "is a gated dataset" in text or is_named(error, "GatedRepoError"):
        return f"{the} needs permission; ask for it at {page}, then log in (hf auth login, or HF_TOKEN)"
    if text.startswith("Revision") or is_named(error, "RevisionNotFoundError"):
        return f"{the} has no revision {revision!r}; correct --dataset_revision ({page}/tree/main)"
    if isinstance(error, DatasetNotFoundError) or 404 in statuses:
        return f"there is no dataset {name} on the Hub, or it is private; check --dataset, or log in: hf auth login"
    if "Dataset scripts are no longer supported" in text:
        way_out = "download its files and give them with --train_file, or choose another --dataset"
        return f"{the} is only a loading script, which datasets {datasets.__version__} does not run; {way_out}"
    if configs := re.search(r"(?:Available|available configs|Available configs in the cache): ?\[(.*?)\]", text):
        choice = configs[1].replace("'", "")
        what = f"has no configuration {config!r}" if config else "has several configurations"
        return f"{the} {what}; choose one with --dataset_config: {choice}"
    if any(isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in chain):
        return f"no space is left for the cache of {the}; free some, or set HF_HOME to another disk"
    if is_network(error):
        return f"{the} could not be reached ({text[:120]}); check the network, or {OTHER_SOURCES}"
    if isinstance(error, FileNotFoundError):
        return f"{the} was not found ({text[:200]}); check --dataset, or {OTHER_SOURCES}"
    if isinstance(error, (DatasetsError, ValueError, RuntimeError, NotImplementedError)):
        reason = " ".join(str(chain[-1]).split())[:200]
        return f"{the} could not be read ({reason}); {OTHER_SOURCES}"
    return None
