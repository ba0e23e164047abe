"""The output folder before training: whose it is, what an earlier start left there, and whether this one resumes it."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import Task
from tasks.errors import UserError
from tasks.model.adapters import remove_files
from tasks.run_folder import (
    BENCHMARKS_FILE,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    RUN_FILE,
    RunConfig,
    make_writable,
    refuse_links,
    remove_leftovers,
    write_json,
)
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
from tasks.training.plots import CONFUSION

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None

if TYPE_CHECKING:
    from tasks.arguments.command_line import RunArguments

logger = logging.getLogger(__name__)

#: A model or code of someone else's, which a run would overwrite.
FOREIGN = ("config.json", "model.safetensors", "adapter_config.json", "setup.cfg", ".git")

LOCK_FILE = ".lock"

#: The locks of this process. Closing any handle of a locked file releases its lock, so each is opened once and kept.
_held: dict[Path, TextIOWrapper] = {}


def check_output_dir(task: Task, args: RunArguments) -> str | None:
    """Refuse a folder that holds something else; returns the checkpoint to resume from, or None.

    A run that was not finished resumes by itself when it is started with the same settings. The first process looks and
    broadcasts what it found. Nothing is deleted before ``start_run``, when data and model are known to be good.

    Raises:
        UserError: the folder is a file, belongs to another task, is in use, holds an earlier run, or has no complete
            checkpoint to resume from.
    """
    if args.data.dry_run:  # it looks at the rows alone
        return None
    found: list[Any] = [None]
    if args.training.process_index == 0:
        try:
            found = [_checkpoint(task, args)]
        except UserError as error:
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
    refuse_links(folder)
    earlier, run, checkpoints = RunConfig.load(folder), read_run(folder), find_checkpoints(folder)
    if not args.training.do_train and (earlier or run or checkpoints):
        raise UserError(
            f"--no_do_train: --output_dir {folder} holds a trained run, whose results would be replaced by those of "
            "--model; choose another folder, or measure that run with scripts/evaluate_model.py"
        )
    earlier_task = earlier.task if earlier else run.get("task", task.name)
    if earlier_task != task.name:
        raise UserError(f"--output_dir {folder} holds a run of {earlier_task}; choose another folder for {task.name}")
    lock(folder, create=False)
    if resume in ("last", "true", "True"):
        if not checkpoints:
            raise UserError(f"--resume_from_checkpoint last: {folder} holds no checkpoint; start without it")
        return _newest(folder)
    if resume:
        return _named(Path(resume))
    has_results = (folder / RESULTS_FILE).exists()
    finished = run.get("finished", not run and has_results)
    if run and not finished and args.training.do_train and run["settings"] == args.settings:
        make_writable(folder)
        newest = _newest(folder) if any(read_manifest(path) for path in checkpoints) else None
        logger.info("resuming from %s: the same run was not finished", newest or "the beginning")
        return newest
    if (checkpoints or has_results) and not args.training.overwrite_output_dir:
        before, now = {} if finished or not run else run["settings"], args.settings
        changed = [name for name in before | now if before and before.get(name) != now.get(name)]
        started = f" that was started with another {', '.join(f'--{name}' for name in changed[:5])}" if changed else ""
        raise UserError(
            f"--output_dir {folder} holds an earlier run{started}; resume it with --resume_from_checkpoint last, replace it "
            "with --overwrite_output_dir, or choose another folder"
        )
    if not (earlier or checkpoints or run) and any((folder / name).exists() for name in FOREIGN):
        raise UserError(f"--output_dir {folder} holds files that no run of this project wrote; choose an empty folder")
    make_writable(folder)
    return None


def _newest(folder: Path) -> str:
    """The newest complete checkpoint; newer ones that are damaged are set aside. Raises UserError where there is none."""
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


def read_run(folder: Path) -> dict[str, Any]:
    """What run.json says, {} where it is missing or none of ours."""
    try:
        run = json.loads((folder / RUN_FILE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    ours = isinstance(run, dict) and isinstance(run.get("task"), str) and isinstance(run.get("settings"), dict)
    return run if ours else {}


def start_run(task: Task, args: RunArguments, checkpoint: str | None) -> None:
    """Lock the folder, write run.json, and remove incomplete checkpoints; called when everything is ready to train.

    With ``--overwrite_output_dir`` the checkpoints and results of an earlier run are deleted, unless one is resumed.

    Raises:
        UserError: the folder is in use.
    """
    if not args.training.should_save:
        return
    folder = Path(args.training.output_dir)
    lock(folder)
    remove_leftovers(folder)
    if args.training.overwrite_output_dir and checkpoint is None:
        for path in find_checkpoints(folder):
            discard(path)
        remove_files(folder, (RESULTS_FILE, BENCHMARKS_FILE, RUN_FILE, f"*{PREDICTIONS_FILE}", "loss.png", f"*{CONFUSION}"))
    for path in find_checkpoints(folder):
        if read_manifest(path) is not None or str(path) == checkpoint:
            continue
        if (path / STATE).exists():  # this run's, killed at its last byte, or complete and another program's
            logger.warning("%s is skipped: it has no %s", path, MANIFEST)
        else:
            logger.warning("%s is removed: it is incomplete", path)
            discard(path)
    run = {"task": task.name, "settings": args.settings, "plan": args.plan, "finished": False}
    write_json(folder / RUN_FILE, run)


def end_run(folder: str | Path, publishing: bool = False) -> None:
    """Put on record that results, curve and card are written, so that the same command is refused, and whether the upload
    is still to come.
    """
    if run := read_run(Path(folder)):
        write_json(Path(folder) / RUN_FILE, run | {"finished": True, "publishing": publishing})


def lock(folder: str | Path, create: bool = True) -> None:
    """Lock the folder for this process, until it ends; the kernel releases the lock even where it was killed.

    A POSIX record lock: unlike that of flock (and filelock), it is not kept by a child that outlives its parent for a moment
    (a worker of a data loader), and it holds between machines on NFS. Under torchrun the first process holds it for all. A
    file system without locks is used without. With ``create`` off a folder without a lock file stays as it is.

    Raises:
        UserError: another run holds it (its process and machine are named), or the folder cannot be written to.
    """
    path = Path(folder).resolve() / LOCK_FILE
    if fcntl is None or not (create or path.exists()):
        return
    if path in _held and path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held until the process ends)
    except OSError as error:
        raise UserError(f"--output_dir {folder}: {error.strerror}; choose a folder that you may write to") from None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.seek(0)
            holder = file.read().strip() or "its process is not known"
            raise UserError(
                f"--output_dir {folder} is in use by another run ({holder}); wait for it, stop it, or choose another folder"
            ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held[path] = file
