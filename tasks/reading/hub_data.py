"""A dataset of the Hub, or a folder that the datasets library reads, with every failure told in one line."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import Task
from tasks.errors import UserError
from tasks.network import causes, is_named, is_network
from tasks.reading.columns import ID_COLUMNS, Loaded, columns_of, resolve_columns, row_id
from tasks.run_folder import file_sha256

if TYPE_CHECKING:
    import datasets

#: What validation splits are called where a task does not say it.
VALIDATION_NAMES = ("validation", "valid", "val", "dev")

OTHER_SOURCES = "use --sample_data, or files of your own with --train_file"


def load_hub(
    task: Task, dataset: str | None, config: str | None, revision: str | None, *, streaming: bool = False
) -> tuple[str, dict[str, datasets.Dataset]]:
    """The name of the dataset and its splits under their own names; ``dataset`` None is the task's default.

    ``dataset`` may be a folder: one written by ``save_to_disk``, or one of data files. A single table counts as train.
    With ``streaming`` nothing is downloaded, and the splits are IterableDatasets.

    Raises:
        UserError: it cannot be reached, found or read, needs a login, or has no such configuration.
    """
    import datasets

    default = getattr(task, "default_dataset", None)
    if dataset is None and default is None:
        raise UserError(f"the task {task.name} has no dataset of its own; name one with --dataset, or {OTHER_SOURCES}")
    name = default.id if dataset is None else dataset
    if os.path.isfile(name):
        raise UserError(f"--dataset {name} is a file; give it as --train_file")
    if config is None and default is not None and name == default.id:
        config = default.config
    marks = ("dataset_dict.json", "dataset_info.json", "state.json")
    try:
        if any(os.path.isfile(os.path.join(name, mark)) for mark in marks):
            loaded = datasets.load_from_disk(name)
        else:
            loaded = datasets.load_dataset(name, config, revision=revision, **({"streaming": True} if streaming else {}))
    except Exception as error:
        message = explain(error, name, config, revision)
        if message is None:
            raise
        raise UserError(message) from None
    parts = dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}
    if streaming:  # a folder of save_to_disk has no other way
        saved = {split: data for split, data in parts.items() if isinstance(data, datasets.Dataset)}
        parts |= {split: data.to_iterable_dataset() for split, data in saved.items()}
    return name, parts


def commit_of(splits: Mapping[str, datasets.Dataset]) -> str | None:
    """The commit of the Hub that the splits were read at; None for a folder. datasets names their folder in its cache so."""
    paths = [file["filename"] for split in splits.values() for file in split.cache_files]
    return next((match[1] for path in paths if (match := re.search(r"[/\\]([0-9a-f]{40})[/\\]", path))), None)


def identity_of(name: str, data: datasets.Dataset) -> Any:
    """What the rows of a split depend on: its fingerprint, which for the Hub tells the commit; of a folder all files too."""
    folder = Path(name)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return [data._fingerprint, [[str(path.relative_to(folder)), file_sha256(path)] for path in files]]


def find_split(task: Task, name: str, splits: Mapping[str, Any], split: str) -> str | None:
    """What ``split`` (``train`` or ``validation``) is called in the dataset ``name``; None where it has none.

    Raises:
        UserError: the splits are not those that the task's own dataset is known to have.
    """
    default = getattr(task, "default_dataset", None)
    if default is not None and name == default.id:
        known = default.train_split if split == "train" else default.validation_split
        if known is not None and known not in splits:
            raise UserError(f"the dataset {name} has no split {known!r}; it has {', '.join(splits)}; {OTHER_SOURCES}")
        return known
    return next((other for other in (("train",) if split == "train" else VALIDATION_NAMES) if other in splits), None)


def load_split(task: Task, data: datasets.Dataset, column_map: dict[str, str], origin: str) -> Loaded:
    """One split with the task's columns. ``where`` is ``klue/klue validation row 12``, its beginning ``origin``.

    Integers of a ClassLabel become its names, which mean the same everywhere; -1, which is no label, becomes "-1".

    Raises:
        UserError: a column is missing, the split is empty, or its text is not UTF-8.
    """
    import datasets

    if not len(data):
        raise UserError(f"{origin} holds no rows; {OTHER_SOURCES}")
    names = resolve_columns(task, data.column_names, column_map, origin)
    id_column = next((name for name in ID_COLUMNS if name in data.column_names), None)
    ids = [None] * len(data) if id_column is None else [row_id(value) for value in data[id_column][:]]
    data = data.select_columns(list(names.values()))
    _check_utf8(data, origin)
    data = data.rename_columns({theirs: ours for ours, theirs in names.items() if ours != theirs})
    for column in columns_of(task):
        feature = data.features[column.name]
        if isinstance(feature, datasets.ClassLabel):
            labels = [_label(feature.names, value) for value in data[column.name][:]]
            data = data.remove_columns(column.name).add_column(column.name, labels)
    return Loaded(data.add_column("where", [f"{origin} row {number}" for number in range(1, len(data) + 1)]), ids)


def _check_utf8(data: datasets.Dataset, origin: str) -> None:
    """Raises UserError where text of the table cannot be decoded: Arrow and parquet store bytes and check nothing."""
    import pyarrow

    for column in data.data.columns:
        try:
            column.validate(full=True)
        except pyarrow.ArrowInvalid as error:
            raise UserError(f"{origin}: damaged text ({' '.join(str(error).split())[:200]}); {OTHER_SOURCES}") from None


def _label(names: list[str], value: int | None) -> str | None:
    if value is None:
        return None
    return names[value] if 0 <= value < len(names) else str(value)


def explain(error: Exception, name: str, config: str | None, revision: str | None) -> str | None:
    """What to tell the user, or None where the error is none of theirs."""
    text = " ".join(str(error).split())
    return _refusal(error, text, name, revision) or _misfit(text, name, config) or _failure(error, text, name)


def _refusal(error: Exception, text: str, name: str, revision: str | None) -> str | None:
    """The Hub answered, and there is no such dataset for this user."""
    from datasets.exceptions import DatasetNotFoundError

    page = f"https://huggingface.co/datasets/{name}"
    statuses = [getattr(getattr(cause, "response", None), "status_code", None) for cause in causes(error)]
    # The Hub answers 401 for what does not exist too, so as not to tell strangers which private datasets there are.
    denied = 403 in statuses or (401 in statuses and "doesn't exist" not in text)
    if denied or "is a gated dataset" in text or is_named(error, "GatedRepoError"):
        return f"the dataset {name} needs permission; ask for it at {page}, then log in (hf auth login, or HF_TOKEN)"
    if text.startswith("Revision") or is_named(error, "RevisionNotFoundError"):
        return f"the dataset {name} has no revision {revision!r}; correct --dataset_revision ({page}/tree/main)"
    if isinstance(error, DatasetNotFoundError) or 404 in statuses:
        return f"there is no dataset {name} on the Hub, or it is private; check --dataset, or log in: hf auth login"
    return None


def _misfit(text: str, name: str, config: str | None) -> str | None:
    """The dataset is there, but not in a form that can be loaded, or not under this configuration."""
    import datasets

    if "Dataset scripts are no longer supported" in text:
        return (
            f"the dataset {name} is only a loading script, which datasets {datasets.__version__} does not run; "
            "download its files and give them with --train_file, or choose another --dataset"
        )
    configs = re.search(r"(?:Available|available configs|Available configs in the cache): ?\[(.*?)\]", text)
    if configs:
        choice = configs.group(1).replace("'", "")
        what = f"has no configuration {config!r}" if config else "has several configurations"
        return f"the dataset {name} {what}; choose one with --dataset_config: {choice}"
    return None


def _failure(error: Exception, text: str, name: str) -> str | None:
    """The disk, the network or the files themselves gave way."""
    from datasets.exceptions import DatasetsError

    if any(isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in causes(error)):
        return f"no space is left for the cache of the dataset {name}; free some, or set HF_HOME to another disk"
    if is_network(error):
        return f"the dataset {name} could not be reached ({text[:120]}); check the network, or {OTHER_SOURCES}"
    if isinstance(error, FileNotFoundError):
        return f"the dataset {name} was not found ({text[:200]}); check --dataset, or {OTHER_SOURCES}"
    if isinstance(error, (DatasetsError, ValueError, RuntimeError, NotImplementedError)):
        reason = " ".join(str(list(causes(error))[-1]).split())[:200]
        return f"the dataset {name} could not be read ({reason}); {OTHER_SOURCES}"
    return None
