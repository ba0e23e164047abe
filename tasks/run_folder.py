"""The folder of a run: task.json, and files that are written atomically."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import psutil

from tasks.base import Task
from tasks.errors import UserError

TASK_FILE = "task.json"
RESULTS_FILE = "all_results.json"
PREDICTIONS_FILE = "predictions.jsonl"
#: Figures of lm-evaluation-harness, with the hash of the weights that they belong to.
BENCHMARKS_FILE = "benchmarks.json"
#: What the run in a folder was started with, and whether it is finished.
RUN_FILE = "run.json"


#: What a copy for another engine is and was made of. Where it lies, the folder holds a copy.
EXPORT_FILE = "export.json"


@dataclass(frozen=True)
class RunConfig:
    """``task.json``: what inference needs beside weights and tokenizer.

    ``generation`` are the decoding settings of the results, ``column_map`` the run's argument; scores of labels are divided
    by ``temperature``, which was fitted on validation rows. With ``head`` the model is a classifier and writes nothing.
    """

    task: str
    task_version: int
    base_model: str
    prompt_format: str
    separators: dict[str, int]
    label_words: dict[str, str]
    max_length: int
    max_new_tokens: int
    generation: dict[str, Any] = field(default_factory=dict)
    column_map: str | None = None
    temperature: float | None = None
    head: bool = False

    @classmethod
    def of(cls, task: Task, base_model: str, column_map: str | None, encoder: Any) -> RunConfig:
        """The task.json of a run, from its task, its arguments and its Encoder."""
        return cls(
            task=task.name,
            task_version=task.version,
            base_model=without_folders(base_model),
            prompt_format=prompt_format(task),
            separators={str(separator): encoder.separator_id(separator) for separator in task.separators},
            label_words=task.label_words,
            max_length=encoder.max_length,
            max_new_tokens=encoder.max_new_tokens,
            generation=encoder.settings,
            column_map=column_map,
            head=task.head,
        )

    def save(self, folder: str | Path) -> None:
        """Write task.json into ``folder``."""
        write_json(Path(folder) / TASK_FILE, asdict(self))

    @property
    def parts(self) -> list[RunConfig]:
        """One for each task of the run: this one."""
        return [self]

    @classmethod
    def load(cls, folder: str | Path) -> RunConfig | RunConfigs | None:
        """The task.json of ``folder``, None without one. Raises UserError where it is not valid."""
        path = Path(folder) / TASK_FILE
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text("utf-8"))
            run = RunConfigs(typed(cls, **each) for each in values) if isinstance(values, list) else typed(cls, **values)
            if len({part.task for part in run.parts}) < max(1, len(run.parts)):
                raise ValueError("it lists no task, or one twice")
            for part in run.parts:
                if part.temperature is not None and not 0 < part.temperature < math.inf:
                    raise ValueError(f"temperature is {part.temperature}")
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: not a task.json of this project ({error}); name the task with --task") from None
        return run


class RunConfigs(list[RunConfig]):
    """The task.json of several tasks that one model was trained on: a list of what one task has."""

    head = False  # the tasks share what writes

    @classmethod
    def of(cls, runs: Sequence[RunConfig]) -> RunConfig | RunConfigs:
        """The one there is, or the list of several."""
        return runs[0] if len(runs) == 1 else cls(runs)

    @property
    def parts(self) -> list[RunConfig]:
        """One for each task."""
        return self

    @property
    def task(self) -> str:
        """The tasks' names."""
        return "-".join(part.task for part in self)

    @property
    def base_model(self) -> str:
        """As every part has it."""
        return self[0].base_model

    @property
    def max_length(self) -> int:
        """As every part has it."""
        return self[0].max_length

    def save(self, folder: str | Path) -> None:
        """Write task.json into ``folder``."""
        write_json(Path(folder) / TASK_FILE, list(map(asdict, self)))


def typed(cls: type, /, **values: Any) -> Any:
    """``cls(**values)`` for a dataclass. Raises TypeError where a value has another type than its field says."""
    made = cls(**values)
    for name, kind in get_type_hints(cls).items():
        if not _is(getattr(made, name), kind):
            raise TypeError(f"{name} is {getattr(made, name)!r:.40}")
    return made


def _is(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Any:
        return True
    if origin is UnionType:
        return any(_is(value, each) for each in inner)
    if isinstance(value, bool) or not isinstance(value, origin):
        return isinstance(value, bool) and origin is bool
    parts = value.items() if origin is dict else ((each,) for each in value) if origin is list else ()
    return all(_is(each, of) for part in parts for each, of in zip(part, inner))


def without_folders(argument: str) -> str:
    """``/home/me/news.csv`` as ``news.csv``, also after ``--flag=``, since it may be published; other text stays."""
    flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if value.startswith(("/", "~", "..")) or re.match(r"[A-Za-z]:[\\/]", value):
        value = re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return flag + equals + value


def prompt_format(task: Task) -> str:
    """The text of one training sequence with the names of its columns, such as ``document <summarize> summary <eos>``."""
    if task.conversational:
        return "apply_chat_template(messages)"
    row = {column.name: column.name for column in (*task.input_columns, *task.target_columns)}
    target = [column.name for column in task.target_columns[:1]]
    parts = [getattr(part, "text", part) for part in task.prompt(row)]
    return " ".join(str(part) for part in [*parts, *([] if task.head else [*target, "<eos>"])] if part)


def own(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Those of ``values`` whose names begin with the ``prefix`` of a task, without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def weight_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of weights in ``folder``, by its name."""
    return {path.name: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))}


def is_export(folder: str | Path) -> bool:
    """Whether ``folder`` holds a copy of a run for another engine."""
    return (Path(folder) / EXPORT_FILE).is_file()


def make_writable(folder: Path, flag: str = "--output_dir") -> None:
    """Create ``folder``. Raises UserError, which names ``flag``, where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{flag} {folder}: {error.strerror}; choose a folder that you may write to") from None


def remove_leftovers(folder: Path, name: str = r"[\w-]+\.(?:jsonl?|md)") -> None:
    """Remove what killed processes left of files ``name`` (a pattern), and of trying and publishing ``folder``.

    The temporary names hold the process's id; those of a process that is alive stay.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            found = re.fullmatch(rf"\.(?:writable-(\d+)|publish-(\d+)-\w+|{name}\.(\d+)\.tmp)", path.name)
            if found and not path.is_symlink() and not psutil.pid_exists(int(found[found.lastindex])):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_json(path: str | Path, value: dict[str, Any] | list[Any]) -> None:
    """Write ``value`` to ``path`` atomically. NaN and infinity, which JSON does not have, become null."""
    write_lines(path, [json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"])


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object per line to ``path`` atomically."""
    write_lines(path, (json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write ``lines``, each with its line break, to ``path`` atomically. Raises UserError where that is not possible.

    A link keeps leading where it does: the file there is written. A pipe, a terminal and the like are written to as they
    are, never replaced by a file, and so is what has no name of its own (``/dev/stdout``).
    """
    path = Path(path)
    direct = re.match(r"/dev/(std|fd/)|/proc/", str(path)) or (os.path.exists(path) and not os.path.isfile(path))
    real = path if direct else Path(os.path.realpath(path))
    temporary = path if direct else real.with_name(f".{real.name}.{os.getpid()}.tmp")
    try:
        if not direct:
            remove_leftovers(real.parent, re.escape(real.name))
        with open(temporary, "a" if direct else "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            if not direct:
                os.fsync(file.fileno())
        if not direct:
            os.replace(temporary, real)
    except BrokenPipeError:
        raise  # its reader has ended: not an error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; nothing there was changed; free some space or write elsewhere") from None
    finally:
        if not direct:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def refuse_links(folder: Path) -> None:
    """Raises UserError where a name in ``folder``, which may be somebody else's, is a link that leads out of it."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{path} is a link that leads out of the folder; put the file itself there")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
