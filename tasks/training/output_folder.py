"""The output folder before training: whose it is, what an earlier start left there, and whether this one resumes it."""

from __future__ import annotations

import json
import logging
import shutil
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
    from tasks.arguments.command_line import RunArguments

logger = logging.getLogger(__name__)

#: A model or code of someone else's, which a run would overwrite.
FOREIGN = ("config.json", "model.safetensors", "adapter_config.json", "setup.cfg", ".git")

#: What the run in a folder was started with, and whether it is finished.
RUN_FILE = "run.json"


def check_output_dir(task: Task, args: RunArguments) -> str | None:
    """Refuse a folder that holds something else; returns the checkpoint to resume from, or None.

    A run that was not finished resumes by itself when it is started with the same settings. The first process looks and
    tells the others. Nothing is deleted here: whatever else is wrong should come out before an earlier run is deleted
    (``start_run``).

    Raises:
        UserError: the folder is a file, belongs to another task, is in use, holds an earlier run, or has no complete
            checkpoint to resume from.
    """
    found: list[Any] = [None]
    if args.training.process_index == 0:
        try:
            found = [_checkpoint(task, args)]
        except UserError as error:
            if args.training.world_size == 1:
                raise
            found = [error]
    if args.training.world_size > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(found)
    if isinstance(found[0], UserError):
        raise found[0]
    return found[0]


def _checkpoint(task: Task, args: RunArguments) -> str | None:
    folder, resume = Path(args.training.output_dir), args.training.resume_from_checkpoint
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
        return _newest(folder)
    if resume:
        return _named(Path(resume))
    finished = run.get("finished", not run and (folder / RESULTS_FILE).exists())
    if run and not finished and args.training.do_train and run["settings"] == args.settings:
        make_writable(folder)
        newest = _newest(folder) if any(read_manifest(path) for path in checkpoints) else None
        logger.info("resuming from %s: the same run was not finished", newest or "the beginning")
        return newest
    if (checkpoints or (folder / RESULTS_FILE).exists()) and not args.training.overwrite_output_dir:
        raise UserError(
            f"--output_dir {folder} holds an earlier run{_difference(run, args.settings, finished)}; resume it with "
            "--resume_from_checkpoint last, replace it with --overwrite_output_dir, or choose another folder"
        )
    foreign = any((folder / name).exists() for name in FOREIGN) and not (earlier or checkpoints or run)
    if foreign:
        raise UserError(f"--output_dir {folder} holds files that no run of this project wrote; choose an empty folder")
    make_writable(folder)
    return None


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
        logger.warning("%s is skipped: %s%s", path, problem, aside)
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


def _difference(run: dict[str, Any], settings: dict[str, Any], finished: bool) -> str:
    """How an unfinished run was started differently; nothing where there is none, or none is known."""
    if finished or not run:
        return ""
    names = [name for name in {**run["settings"], **settings} if run["settings"].get(name) != settings.get(name)]
    return f" that was started with another {', '.join(f'--{name}' for name in names[:5])}" if names else ""


def _read_run(folder: Path) -> dict[str, Any]:
    """What run.json says, {} where it is missing or none of ours."""
    try:
        run = json.loads((folder / RUN_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) and {"task", "settings"} <= run.keys() else {}


def start_run(task: Task, args: RunArguments, checkpoint: str | None) -> None:
    """Lock the folder, write run.json, and remove what was left half written; called when everything is ready to train.

    With ``--overwrite_output_dir`` the checkpoints and results of an earlier run are deleted, unless one is resumed.

    Raises:
        UserError: the folder is in use.
    """
    if not args.training.should_save:
        return
    folder = Path(args.training.output_dir)
    lock(folder)
    if args.training.overwrite_output_dir and checkpoint is None:
        _clear(folder)
    for path in find_checkpoints(folder):
        if read_manifest(path) is not None or str(path) == checkpoint:
            continue
        if (path / STATE).exists():  # this run's, killed at its last byte, or complete and another program's
            logger.warning("%s is skipped: it has no %s", path, MANIFEST)
        else:
            logger.warning("%s is removed: it is incomplete", path)
            discard(path)
    write_json(folder / RUN_FILE, {"task": task.name, "settings": args.settings, "finished": False})


def check_rows(checkpoint: str | None, rows: str | None, *, named: bool) -> None:
    """Compare the fingerprint of the prepared ``rows`` with that of the rows that ``checkpoint`` was trained on.

    Raises:
        UserError: they differ, and the user has not ``named`` the checkpoint.
    """
    trained_on = (read_manifest(Path(checkpoint)) or {}).get("rows") if checkpoint else None
    if not (rows and trained_on) or rows == trained_on:
        return
    message = f"{checkpoint} was trained on other rows, or rows in another order, than those given now"
    if not named:
        raise UserError(
            f"{message}; give the same again, name the checkpoint with --resume_from_checkpoint to resume all the same, or "
            "restart with --overwrite_output_dir"
        )
    logger.warning(message)


def end_run(folder: str | Path) -> None:
    """Put on record that nothing is left to do: results, curve and card are written. The same command is refused then."""
    if run := _read_run(Path(folder)):
        write_json(Path(folder) / RUN_FILE, run | {"finished": True})


def _clear(folder: Path) -> None:
    results = [f"{prefix}{PREDICTIONS_FILE}" for prefix in ("", "test_")]
    for path in [*folder.glob("checkpoint-*"), *(folder / name for name in (RESULTS_FILE, RUN_FILE, *results, "loss.png"))]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
