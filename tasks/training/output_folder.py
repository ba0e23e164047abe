"""The output folder before training: whose it is, what an earlier run left there, and whether this one resumes it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import Task
from tasks.errors import UserError
from tasks.run_folder import PREDICTIONS_FILE, RESULTS_FILE, RunConfig, make_writable, write_json
from tasks.training.checkpoints import (
    MANIFEST,
    STATE,
    damage,
    discard,
    find_checkpoints,
    newest_complete,
    read_manifest,
    set_aside,
)
from tasks.training.run_lock import lock

if TYPE_CHECKING:
    from tasks.arguments.training import TrainingArguments

#: A model or code of someone else's, which a run would overwrite.
FOREIGN = ("config.json", "model.safetensors", "adapter_config.json", "setup.cfg", ".git")

#: What the run in a folder was started with, and whether it is finished.
RUN_FILE = "run.json"


def check_output_dir(task: Task, training_args: TrainingArguments) -> str | None:
    """Refuse a folder that holds something else; returns the checkpoint to resume from, or None.

    An unfinished run resumes by itself when it is started with the same settings: ``resume_from_checkpoint`` of
    ``training_args`` is then set. The first process decides for all. Nothing is deleted here: ``clear_output_dir`` does that
    once everything else is known to be good.

    Raises:
        UserError: the folder is a file, belongs to another task, is in use, holds an earlier run, or has no complete
            checkpoint to resume from.
    """
    found: list[Any] = [None]
    if training_args.process_index == 0:
        try:
            found = [_start(task, training_args)]
        except UserError as error:
            if training_args.world_size == 1:
                raise
            found = [error]
    if training_args.world_size > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(found)
    if isinstance(found[0], UserError):
        raise found[0]
    checkpoint, training_args.goes_on = found[0]
    if training_args.goes_on:
        training_args.resume_from_checkpoint = checkpoint
    return checkpoint


def _start(task: Task, training_args: TrainingArguments) -> tuple[str | None, bool]:
    """The checkpoint to resume from, and whether that follows from the same settings rather than from a flag."""
    folder, resume = Path(training_args.output_dir), training_args.resume_from_checkpoint
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir {folder} is a file; name a folder")
    earlier, run = RunConfig.load(folder), _read_run(folder)
    earlier_task = earlier.task if earlier else run.get("task", task.name)
    if earlier_task != task.name:
        raise UserError(f"--output_dir {folder} holds a run of {earlier_task}; choose another folder for {task.name}")
    lock(folder, create=False)
    checkpoints = find_checkpoints(folder)
    if resume in ("last", "true", "True"):
        if not checkpoints:
            raise UserError(f"--resume_from_checkpoint last: {folder} holds no checkpoint; start without it")
        return _newest(folder), False
    if resume:
        return _named(Path(resume)), False
    finished = run.get("finished", not run and (folder / RESULTS_FILE).exists())
    if run and not finished and training_args.do_train and run["settings"] == training_args.settings:
        make_writable(folder)
        return (_newest(folder) if any(read_manifest(path) for path in checkpoints) else None), True
    if (checkpoints or (folder / RESULTS_FILE).exists()) and not training_args.overwrite_output_dir:
        raise UserError(
            f"--output_dir {folder} holds an earlier run{_difference(run, training_args, finished)}; resume it with "
            "--resume_from_checkpoint last, replace it with --overwrite_output_dir, or choose another folder"
        )
    foreign = any((folder / name).exists() for name in FOREIGN) and not (earlier or checkpoints or run)
    if foreign:
        raise UserError(f"--output_dir {folder} holds files that no run of this project wrote; choose an empty folder")
    make_writable(folder)
    return None, False


def _newest(folder: Path) -> str:
    """The newest complete checkpoint; newer ones that are damaged are set aside, with a notice.

    Raises:
        UserError: there is none.
    """
    checkpoint, unusable = newest_complete(folder)
    if checkpoint is None:
        path, problem = unusable[0]
        raise UserError(
            f"{path}: no complete checkpoint ({problem}); restart with --overwrite_output_dir, or name one that you know to "
            "be good with --resume_from_checkpoint"
        )
    for path, problem in unusable:
        aside = f"; it is now {set_aside(path)}" if read_manifest(path) else ""
        print(f"{path} is skipped: {problem}{aside}", file=sys.stderr)
    return str(checkpoint)


def _named(checkpoint: Path) -> str:
    """A checkpoint that the user named, with or without a manifest. Raises UserError where it is none, or damaged."""
    if not (checkpoint / STATE).is_file():
        raise UserError(f"--resume_from_checkpoint {checkpoint}: not a checkpoint of a Trainer (no {STATE})")
    if problem := damage(checkpoint):
        other, _ = newest_complete(checkpoint.parent)
        advice = f"resume from {other}" if other else "there is no other one; restart with --overwrite_output_dir"
        raise UserError(f"--resume_from_checkpoint {checkpoint}: {problem}; {advice}")
    return str(checkpoint)


def _difference(run: dict[str, Any], training_args: TrainingArguments, finished: bool) -> str:
    """How an unfinished run was started differently; nothing where there is none, or none is known."""
    if finished or not run:
        return ""
    new = training_args.settings
    names = [name for name in {**run["settings"], **new} if run["settings"].get(name) != new.get(name)]
    return f" that was started with another {', '.join(f'--{name}' for name in names[:5])}" if names else ""


def _read_run(folder: Path) -> dict[str, Any]:
    """What run.json says, {} where it is missing or not ours."""
    try:
        run = json.loads((folder / RUN_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) and {"task", "settings"} <= run.keys() else {}


def begin_training(training_args: TrainingArguments, task_name: str, checkpoint: str | None, rows: str | None) -> None:
    """Lock the folder, record the run, and remove incomplete checkpoints. Every process calls it.

    ``rows`` is the fingerprint of the prepared rows.

    Raises:
        UserError: the folder is in use, or a run that resumes by itself was trained on other rows.
    """
    trained_on = (read_manifest(Path(checkpoint)) or {}).get("rows") if checkpoint else None
    if rows and trained_on and rows != trained_on:
        message = f"{checkpoint} was trained on other rows, or rows in another order, than those given now"
        if training_args.goes_on:
            raise UserError(
                f"{message}; give the same again, name the checkpoint with --resume_from_checkpoint to resume all the same, "
                "or restart with --overwrite_output_dir"
            )
        print(message, file=sys.stderr)
    if not training_args.should_save:
        return
    folder = Path(training_args.output_dir)
    lock(folder)
    if training_args.goes_on:
        print(f"resuming from {checkpoint or 'the beginning'}: the same run was not finished", file=sys.stderr)
    for path in find_checkpoints(folder):
        if read_manifest(path) is not None or str(path) == checkpoint:
            continue
        if (path / STATE).exists():  # this run's, killed at its last byte, or another program's
            print(f"{path} is skipped: it has no {MANIFEST}", file=sys.stderr)
        else:
            print(f"{path} is removed: it is incomplete", file=sys.stderr)
            discard(path)
    if training_args.settings:  # not of a Trainer that no script made
        write_json(folder / RUN_FILE, {"task": task_name, "settings": training_args.settings, "finished": False})


def end_run(folder: str | Path) -> None:
    """Record that nothing is left to do: results, curve and card are written. The same command is refused then."""
    if run := _read_run(Path(folder)):
        write_json(Path(folder) / RUN_FILE, run | {"finished": True})


def clear_output_dir(training_args: TrainingArguments) -> None:
    """Delete the checkpoints and results of an earlier run, where ``--overwrite_output_dir`` asks for it.

    Called when everything is ready to train. A resumed run keeps its checkpoints.
    """
    if not training_args.overwrite_output_dir or training_args.resume_from_checkpoint or not training_args.should_save:
        return
    folder = Path(training_args.output_dir)
    lock(folder)
    results = [f"{prefix}{PREDICTIONS_FILE}" for prefix in ("", "test_")]
    for path in [*folder.glob("checkpoint-*"), *(folder / name for name in (RESULTS_FILE, RUN_FILE, *results, "loss.png"))]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
