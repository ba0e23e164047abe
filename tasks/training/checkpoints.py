"""Checkpoints that are known to be complete: marked once all of their bytes are on the disk, checked before they are used.

A process can be killed, and a disk fill up, at any byte of a checkpoint. So ``complete.json``, the manifest, is written
last, after every other file was forced to the disk, and names each file with its size and hash. A folder without it is
incomplete; one whose files differ from it was damaged later. Its ``order`` counts the checkpoints of a folder: no clock
decides which one is the newest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers import TrainerCallback, TrainerState

from tasks.errors import UserError, write_failure
from tasks.model.model_files import unreadable
from tasks.preparing.streaming import TextStream
from tasks.run_folder import file_sha256, write_json

logger = logging.getLogger(__name__)

MANIFEST = "complete.json"
STATE = "trainer_state.json"  # what the Trainer writes last


def write_manifest(folder: Path, **facts: Any) -> None:
    """Force all files below ``folder`` to the disk, then write down their sizes and SHA-256, with ``facts``.

    Raises OSError where the disk refuses, UserError where it refuses the manifest itself.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
        _sync(path)
        files[str(path.relative_to(folder))] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    order = 1 + max((_order(other) for other in find_checkpoints(folder.parent)), default=0)
    write_json(folder / MANIFEST, facts | {"order": order, "files": files})
    _sync(folder)
    _sync(folder.parent)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a checkpoint; None where it has none, or none that can be read."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
        seals = [isinstance(seal["bytes"], int) and isinstance(seal["sha256"], str) for seal in found["files"].values()]
        return found if all(seals) and found.get("seconds", 0.0) >= 0 else None
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def find_checkpoints(folder: Path) -> list[Path]:
    """The folders ``checkpoint-<step>`` in ``folder``, the newest last; those without a manifest come first."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name) and path.is_dir()]
    return sorted(found, key=lambda path: (_order(path), int(path.name.partition("-")[2])))


def newest_complete(folder: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest checkpoint in ``folder`` to resume from, and the newer ones that cannot be used, each with the reason.

    One without a manifest is never taken: nothing says that it is complete.
    """
    unusable: list[tuple[Path, str]] = []
    for path in reversed(find_checkpoints(folder)):
        found = read_manifest(path)
        if found is None:
            problem = f"it has no {MANIFEST}: it is incomplete, or another program wrote it"
        else:
            weights_alone = not found.get("resumable", True)  # --save_only_model
            problem = damage(path) or ("it holds the weights alone" if weights_alone else "")
        if not problem:
            return path, unusable
        unusable.append((path, problem))
    return None, unusable


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, and in which file; None where it is as it was written.

    Without a manifest the files are checked as far as their own formats allow (``unreadable``). Nothing is unpickled.
    """
    found = read_manifest(folder)
    if found is None:
        if not (folder / STATE).is_file():
            return f"{STATE} is missing"
        return next((problem for path in sorted(folder.iterdir()) if (problem := unreadable(path))), None)
    for name, expected in found["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{name} has {path.stat().st_size:,} bytes, and {expected['bytes']:,} were written"
        if file_sha256(path) != expected["sha256"]:
            return f"{name} is not what was written (its SHA-256 differs)"
    return None


def discard(folder: Path) -> None:
    """Delete a checkpoint, its manifest first: one that is half deleted is incomplete, not damaged."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint, so that it is neither resumed from nor counted, but can be looked at."""
    place = folder.with_name(f"damaged-{folder.name}")
    if place.exists():
        shutil.rmtree(place)
    return folder.rename(place)


def rotate(current: Path, best: str | None, limit: int | None, apart: Path | None = None) -> None:
    """Delete the oldest checkpoints beside ``current`` until ``limit`` are left; ``current`` and the best one always stay.
    The one ``apart`` stays, too, and does not count.

    transformers goes by the time stamps of the folders, which are wrong after a clock was set back.
    """
    if not limit or limit < 0:
        return
    kept = {current.resolve()} | ({Path(best).resolve()} if best else set())
    others = [path for path in find_checkpoints(current.parent) if path.resolve() not in kept and path != apart]
    for path in others[: max(0, len(others) + len(kept) - limit)]:
        discard(path)


def fingerprint(*datasets: Any) -> str | None:
    """SHA-256 of the token ids and labels of prepared rows, in their order; of a stream that of where it is read from."""
    from datasets import Dataset

    digest = hashlib.sha256()
    for rows in datasets:
        if rows is None:
            continue
        if isinstance(rows, dict):  # of several tasks
            digest.update(str(fingerprint(*rows.values())).encode())
            continue
        if isinstance(rows, TextStream):
            digest.update(rows.origin().encode())
            continue
        if not isinstance(rows, Dataset):
            return None
        for table in rows.select_columns(["input_ids", "labels"]).with_format("arrow").iter(batch_size=10_000):
            for column in table.columns:
                lists = column.combine_chunks()
                digest.update(lists.value_lengths().to_numpy(zero_copy_only=False).tobytes())
                digest.update(lists.flatten().to_numpy(zero_copy_only=False).tobytes())
        digest.update(b"end")
    return digest.hexdigest()


def stable_steps(args: Any, state: TrainerState) -> int | None:
    """How many steps ``warmup_stable_decay`` takes before it decays; None for other schedules."""
    return state.max_steps - decay if (decay := args.schedule(state.max_steps).get("num_decay_steps")) else None


class Checkpoints(TrainerCallback):
    """Completes the checkpoints that the Trainer writes, rotates them, and knows the one that training resumed from."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._writing: Path | None = None
        self._limit: int | None = None
        self.start(None, None)

    def start(self, resumed_from: str | None, rows: str | None, *, named: bool = False) -> None:
        """Training starts, perhaps from a checkpoint; ``rows`` is the ``fingerprint`` of its data sets.

        Raises:
            UserError: the checkpoint was trained on other rows, and the user has not ``named`` it.
        """
        self.resumed_from = Path(resumed_from) if resumed_from else None
        self._rows = rows
        earlier = (read_manifest(self.resumed_from) or {}) if self.resumed_from else {}
        self.first_step = earlier.get("step", 0)
        self.evaluated = earlier.get("evaluated", True)  # else it was saved in an evaluation that is still to be made
        self._started = time.monotonic() - earlier.get("seconds", 0.0)
        if rows and earlier.get("rows") not in (None, rows):
            message = f"{resumed_from} was trained on other rows, or rows in another order, than those given now"
            if not named:
                raise UserError(
                    f"{message}; give the same again, name the checkpoint with --resume_from_checkpoint to resume all the "
                    "same, or restart with --overwrite_output_dir"
                )
            logger.warning(message)

    def seconds(self) -> float:
        """How long the run has trained, with its parts before a resume, by a monotonic clock."""
        return time.monotonic() - self._started

    def is_finished(self, max_steps: int, patience: int | None) -> bool:
        """Whether training ended at the checkpoint that it is resumed from. The plain Trainer takes another step."""
        if self.resumed_from is None:
            return False
        state = TrainerState.load_from_json(str(self.resumed_from / STATE))
        stopping = state.stateful_callbacks.get("EarlyStopping", {}).get("attributes", {})
        waited = stopping.get("early_stopping_patience_counter", 0)
        return state.global_step >= max_steps or (patience is not None and waited >= patience)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the best checkpoint beside the one resumed from: the folder may have been moved."""
        if self.resumed_from and state.best_global_step:
            best = self.resumed_from.with_name(f"checkpoint-{state.best_global_step}")
            state.best_model_checkpoint = str(best) if best.is_dir() else None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save before the learning rate falls: from there a run can be extended as if it had been planned longer."""
        control.should_save |= state.global_step == stable_steps(args, state) and args.save_strategy != "no"

    def begin(self, folder: Path, args: Any) -> None:
        """Called before the first byte is written."""
        # The Trainer may delete nothing until the checkpoint is complete.
        self._writing, self._limit, args.save_total_limit = folder, args.save_total_limit, None
        if args.should_save:
            discard(folder)  # of an earlier start, which was resumed from a checkpoint before it
            # The Trainer accepts a best checkpoint only if its folder exists, which each process checks. Sharded FSDP makes
            # the folder after that, too late for some processes: those would not load it, and the others wait for them.
            folder.mkdir(parents=True, exist_ok=True)
        self._accelerator.wait_for_everyone()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the manifest once every process has written its files; only then delete older checkpoints."""
        folder = self._writing
        self._accelerator.wait_for_everyone()
        if args.should_save:
            facts = {"step": state.global_step, "rows": self._rows, "seconds": self.seconds()}
            write_manifest(folder, **facts, resumable=not args.save_only_model, evaluated=self.evaluated)
        self._end(args)
        if args.should_save:
            stable = folder.with_name(f"checkpoint-{stable_steps(args, state)}")
            rotate(folder, state.best_model_checkpoint, args.save_total_limit, apart=stable)
        self._accelerator.wait_for_everyone()

    def _end(self, args: Any) -> None:
        self._writing, args.save_total_limit = None, self._limit

    def failure(self, error: Exception, args: Any) -> UserError | None:
        """The message for an error while a checkpoint was written, which is deleted; None for other errors."""
        folder = self._writing
        if folder is None:
            return None
        self._end(args)
        reason = str(error) if isinstance(error, UserError) else write_failure(error)
        if reason is None:
            return None
        discard(folder)
        kept = find_checkpoints(folder.parent)
        start = f"resumes from {kept[-1]}, which is complete" if kept else "starts from the beginning"
        return UserError(f"{folder} could not be written ({reason}); make room, and the same command {start}")


def _order(folder: Path) -> int:
    found = read_manifest(folder)
    order = found.get("order") if found else None
    return order if isinstance(order, int) else 0


def _sync(path: Path) -> None:
    """fsync a file or, so that the names in it last, a folder (which Windows neither allows nor needs)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
