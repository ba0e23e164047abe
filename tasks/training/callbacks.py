"""The callbacks of CompletionTrainer: what is done when a step, an evaluation or a checkpoint is finished."""

from __future__ import annotations

import logging
import math
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState

from tasks.errors import Interrupted, UserError, write_failure
from tasks.training.batches import row_names
from tasks.training.checkpoints import STATE, discard, find_checkpoints, read_manifest, rotate, write_manifest

logger = logging.getLogger(__name__)

#: Exit codes: what a shell reports of a process that the signal ended, so schedulers and scripts read them as that.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

#: Rows that a message names; a batch may hold hundreds.
SHOWN = 20


class Checkpoints(TrainerCallback):
    """Makes checkpoints complete (see checkpoints.py), rotates them, and knows the one that training resumed from."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._writing: Path | None = None
        self._limit: int | None = None
        self.start(None, None)

    def start(self, resumed_from: str | None, rows: str | None) -> None:
        """Training starts, perhaps from a checkpoint; ``rows`` is the fingerprint of its data sets."""
        self.resumed_from = Path(resumed_from) if resumed_from else None
        self.rows = rows
        earlier = (read_manifest(self.resumed_from) or {}) if self.resumed_from else {}
        self._started = time.monotonic() - earlier.get("seconds", 0.0)

    def seconds(self) -> float:
        """How long the run has trained, with its parts before a resume, by a clock that nobody sets back."""
        return time.monotonic() - self._started

    def is_finished(self, max_steps: int, patience: int | None) -> bool:
        """Whether training ended at the checkpoint that it is resumed from. The plain Trainer takes another step."""
        if self.resumed_from is None:
            return False
        state = TrainerState.load_from_json(str(self.resumed_from / STATE))
        stopping = state.stateful_callbacks.get(EarlyStopping.__name__, {}).get("attributes", {})
        waited = stopping.get("early_stopping_patience_counter", 0)
        return state.global_step >= max_steps or (patience is not None and waited >= patience)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the best checkpoint beside the one resumed from: the folder may have been moved."""
        if self.resumed_from and state.best_global_step:
            best = self.resumed_from.with_name(f"checkpoint-{state.best_global_step}")
            state.best_model_checkpoint = str(best) if best.is_dir() else None

    def begin(self, folder: Path, args: Any) -> None:
        """Called before the first byte is written. The Trainer may delete nothing until the checkpoint is complete."""
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
            resumable = not args.save_only_model
            write_manifest(folder, step=state.global_step, rows=self.rows, resumable=resumable, seconds=self.seconds())
        self._end(args)
        if args.should_save:
            rotate(folder, state.best_model_checkpoint, args.save_total_limit)
        self._accelerator.wait_for_everyone()

    def _end(self, args: Any) -> None:
        self._writing, args.save_total_limit = None, self._limit

    def failure(self, error: Exception, args: Any) -> UserError | None:
        """What to tell of an error that came while a checkpoint was written; None of other errors.

        What was written of it is deleted; older checkpoints are as they were.
        """
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


class EarlyStopping(EarlyStoppingCallback):
    """A resumed run gets it back with what it has waited, and the patience of back then: the command line's counts."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.early_stopping_patience = args.early_stopping_patience
        super().on_train_begin(args, state, control, **kwargs)


class LogEvaluateSave(TrainerCallback):
    """Puts what follows a step in the order that lets a checkpoint hold all of it.

    - The loss is logged before an evaluation and a checkpoint, and at the end: what the Trainer has summed up since the last
      line is not saved, and at the end it would report the first process's alone.
    - The checkpoint of a step that ends an epoch, or training, waits for the evaluation there, which draws random numbers,
      moves the best checkpoint and may stop training. A resumed run would not do it again.
    """

    def __init__(self) -> None:
        self._due = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if float(state.epoch).is_integer() or control.should_training_stop:
            self._due, control.should_save = control.should_save, False
        self._log(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = control.should_save or self._due
        self._due = False
        self._log(control)

    @staticmethod
    def _log(control: Any) -> None:
        control.should_log |= control.should_evaluate or control.should_save or control.should_training_stop


class StopOnDivergence(TrainerCallback):
    """Ends training before an optimizer step whose loss or gradient is infinite or not a number.

    The plain Trainer steps into NaN, leaves it out of the log (``logging_nan_inf_filter``), and saves it.
    """

    def __init__(self, accelerator: Accelerator, rows: Any) -> None:
        """``rows`` are the ones that are trained on, to name those of a bad batch."""
        self._accelerator = accelerator
        self._rows = rows
        self.on_step_begin()

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._batches: list[tuple[torch.Tensor, dict[str, Any]]] = []  # one a batch that is accumulated, with its loss
        self._norm = 0.0

    def note(self, model: torch.nn.Module, loss: torch.Tensor, batch: dict[str, Any]) -> None:
        """Called after each backward pass; the gradient is measured when it is complete, before it is clipped.

        A loss scaler (fp16) looks for infinite gradients itself, skips the step and scales down; DeepSpeed hides them.
        """
        self._batches.append((loss, batch))
        scaled = self._accelerator.scaler is not None or self._accelerator.distributed_type == DistributedType.DEEPSPEED
        if self._accelerator.sync_gradients and not scaled:
            norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
            self._norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # FSDP shards it

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All processes have the same gradient: where one of them met such a loss, all end here and none waits for another.

        Raises:
            UserError: names the step, its rows and the newest checkpoint.
        """
        bad = [batch for loss, batch in self._batches if not torch.isfinite(loss).all()]
        if not bad and math.isfinite(self._norm):
            return
        names = row_names(self._rows, bad or [batch for _, batch in self._batches])
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        rows = f" (rows {', '.join(names[:SHOWN])}{more})" if names else ""
        kept = find_checkpoints(Path(args.output_dir))
        place = f"the last good checkpoint is {kept[-1]}" if kept else "there was no checkpoint before it"
        raise UserError(
            f"{'the loss' if bad else 'the gradient'} is not a finite number at step {state.global_step + 1}{rows}; nothing "
            f"of that step was kept, and {place}; look at these rows, or restart with a lower --learning_rate"
        )


class StopOnSignal(TrainerCallback):
    """Ctrl-C and SIGTERM (preemption) end training after the current step, with a checkpoint; a second Ctrl-C at once.

    Under torchrun the signal reaches the processes at different moments. They ask each other after every step (one number,
    reduced), so that all save the same step.

    transformers has ``enable_jit_checkpoint`` for SIGTERM. It is not used: it waits three seconds, may save between a step's
    gradient and its update, does not let the processes agree, and then continues as if training had ended.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._signal: signal.Signals | None = None
        self._received_at = 0.0
        self._stopping = False  # what all processes have agreed on
        self._previous: dict[signal.Signals, Any] = {}

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Take over both signals. They can only be handled in the main thread, which is where scripts train."""
        if not self._previous:  # --auto_find_batch_size starts more than once
            self._previous = {number: signal.signal(number, self._receive) for number in EXIT_CODES}

    def _receive(self, number: int, frame: Any) -> None:
        # torchrun passes on a Ctrl-C that its processes have received from the terminal already.
        echo = "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._received_at < 1
        if self._signal is not None and number == signal.SIGINT and not echo:
            self.restore_handlers()
            raise KeyboardInterrupt
        if self._signal is None:
            self._signal, self._received_at = signal.Signals(number), time.monotonic()
            more = "; press Ctrl-C again to stop at once" if number == signal.SIGINT else ""
            logger.warning("stopping after this step, to save it%s", more)

    def _agreed(self) -> bool:
        """Whether any process received a signal. Called by all of them at the same place."""
        if self._accelerator.num_processes == 1:
            return self._signal is not None
        if self._signal is not None:
            self._accelerator.set_trigger()
        self._stopping = self._accelerator.check_trigger() or self._stopping
        return self._stopping

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = self._agreed() or control.should_save

    on_epoch_end = on_step_end  # for a signal that came after the last step

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not (self._stopping if self._accelerator.num_processes > 1 else self._signal is not None):
            return
        self.restore_handlers()
        number = self._signal or signal.SIGTERM  # another process received it
        how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
        raise Interrupted(
            f"{how} at step {state.global_step}; its state is in {args.output_dir}/checkpoint-{state.global_step}; resume "
            f"with: python {shlex.join(_resuming(sys.argv))}",
            exit_code=EXIT_CODES[number],
        )

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Restore the handlers. A signal that came after the last step ends the process as it does outside of training."""
        self.restore_handlers()
        if self._signal is not None:
            os.kill(os.getpid(), self._signal)

    def restore_handlers(self) -> None:
        """Make the signals do again what they did before training."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


def _resuming(argv: list[str]) -> list[str]:
    """The command line that resumes from the newest checkpoint, whatever the current run started from."""
    kept: list[str] = []
    for argument in argv:
        if kept[-1:] == ["--resume_from_checkpoint"]:
            kept.pop()  # its value is this argument
        elif not argument.startswith("--resume_from_checkpoint="):
            kept.append(argument)
    return [*kept, "--resume_from_checkpoint", "last"]
