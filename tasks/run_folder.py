"""The folder that a run leaves: task.json, results written whole or not at all, and whose folder it is."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from tasks.base import Task
from tasks.errors import UserError

TASK_FILE = "task.json"
RESULTS_FILE = "all_results.json"
PREDICTIONS_FILE = "predictions.jsonl"


@dataclass(frozen=True)
class RunConfig:
    """What inference has to know of a trained model beyond weights and tokenizer; ``task.json`` in its folder.

    ``generation`` are the decoding settings that its results were measured with. ``column_map`` is what the run was given.
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

    @classmethod
    def of(cls, task: Task, base_model: str, data_args: Any, encoder: Any, settings: dict[str, Any]) -> RunConfig:
        """The task.json of a run, from its task, arguments, encoder and decoding settings."""
        return cls(
            task=task.name,
            task_version=task.version,
            base_model=without_folders(base_model),
            prompt_format=prompt_format(task),
            separators={str(separator): encoder.separator_id(separator) for separator in task.separators},
            label_words=task.label_words,
            max_length=encoder.max_length,
            max_new_tokens=encoder.max_new_tokens,
            generation=settings,
            column_map=data_args.column_map,
        )

    def save(self, folder: str | Path) -> None:
        """Write task.json into ``folder``."""
        write_json(Path(folder) / TASK_FILE, asdict(self))

    @classmethod
    def load(cls, folder: str | Path) -> RunConfig | None:
        """The task.json of ``folder``, None where there is none. Raises UserError where it is not one of ours."""
        path = Path(folder) / TASK_FILE
        if not path.is_file():
            return None
        try:
            run = cls(**json.loads(path.read_text("utf-8")))
            for name, kind in get_type_hints(cls).items():
                value = getattr(run, name)
                if isinstance(value, bool) or not isinstance(value, get_origin(kind) if get_origin(kind) is dict else kind):
                    raise TypeError(f"{name} is {value!r:.40}")
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: not a task.json of this project ({error}); name the task with --task") from None
        return run


def without_folders(argument: str) -> str:
    """``/home/me/news.csv`` as ``news.csv``, and so behind ``--flag=``; a path below this folder or other text stays.

    What is written down may be published, and where a user keeps files is nobody's business.
    """
    flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if value.startswith(("/", "~", "..")) or re.match(r"[A-Za-z]:[\\/]", value):
        value = re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return flag + equals + value


def prompt_format(task: Task) -> str:
    """The text of one training sequence with the names of its columns, such as ``document <summarize> summary <eos>``."""
    row = {column.name: column.name for column in (*task.input_columns, *task.target_columns)}
    target = task.target_columns[0].name if task.target_columns else ""
    parts = [getattr(part, "text", part) for part in task.prompt(row)]
    return " ".join(str(part) for part in [*parts, target, "<eos>"] if part)


def check_output_dir(task: Task, training_args: Any) -> str | None:
    """Refuse a folder that holds something else; returns the checkpoint to resume from, or None.

    Nothing is deleted here: what else is wrong should be known before an earlier run goes (``clear_output_dir``).

    Raises:
        UserError: the folder is a file, belongs to another task, holds an earlier run, or has no checkpoint to resume.
    """
    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(training_args.output_dir)
    resume = training_args.resume_from_checkpoint
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir {folder} is a file; name a folder")
    earlier = RunConfig.load(folder) if folder.is_dir() else None
    if earlier and earlier.task != task.name:
        raise UserError(f"--output_dir {folder} holds a run of {earlier.task}; choose another folder for {task.name}")
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if resume in ("last", "true", "True"):
        if last is None:
            raise UserError(f"--resume_from_checkpoint last: {folder} holds no checkpoint; start without it")
        return last
    if resume:
        if not (Path(resume) / "trainer_state.json").is_file():
            raise UserError(f"--resume_from_checkpoint {resume}: not a checkpoint of a Trainer (no trainer_state.json)")
        return resume
    if (last or (folder / RESULTS_FILE).exists()) and not training_args.overwrite_output_dir:
        raise UserError(
            f"--output_dir {folder} holds an earlier run; go on with it by --resume_from_checkpoint last, replace it by "
            "--overwrite_output_dir, or choose another folder"
        )
    if folder.is_dir() and not earlier and not last and _is_foreign(folder):
        raise UserError(f"--output_dir {folder} holds files that no run of this project wrote; choose an empty folder")
    make_writable(folder)
    return None


def clear_output_dir(training_args: Any) -> None:
    """Delete the checkpoints and results of an earlier run, where ``--overwrite_output_dir`` asks for it.

    Called when everything is ready to train. A resumed run keeps what it goes on from.
    """
    if not training_args.overwrite_output_dir or training_args.resume_from_checkpoint or not training_args.should_save:
        return
    folder = Path(training_args.output_dir)
    results = [f"{prefix}{PREDICTIONS_FILE}" for prefix in ("", "test_")]
    for path in [*folder.glob("checkpoint-*"), *(folder / name for name in (RESULTS_FILE, *results, "loss.png"))]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _is_foreign(folder: Path) -> bool:
    """A model or code of someone else's, which a run would overwrite."""
    return any(
        (folder / name).exists() for name in ("config.json", "model.safetensors", "adapter_config.json", "setup.cfg", ".git")
    )


def make_writable(folder: Path) -> None:
    """Make ``folder`` and see that it can be written to. Raises UserError where it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--output_dir {folder}: {error.strerror}; choose a folder that you may write to") from None


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Write ``value`` to ``path``: whole, or not at all. NaN and infinity, which JSON does not have, become null."""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False)
    write_lines(path, [text + "\n"])


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line to ``path``: whole, or not at all."""
    write_lines(path, (json.dumps(_finite(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write ``lines``, each with its line break, to ``path``: whole, or not at all.

    Raises:
        UserError: the disk is full, or the folder is missing or closed to us.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; nothing there was changed; free some space or write elsewhere") from None
    finally:
        temporary.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
