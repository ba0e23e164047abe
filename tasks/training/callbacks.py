"""The callbacks of CompletionTrainer but one (see checkpoints.py): what is done between steps."""

from __future__ import annotations

import logging
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from tqdm import tqdm
from transformers import EarlyStoppingCallback, TrainerCallback

from tasks.distributed import launcher, world_size
from tasks.errors import Interrupted, UserError
from tasks.progress import progress
from tasks.training.batches import row_names
from tasks.training.checkpoints import find_checkpoints

logger = logging.getLogger(__name__)

#: Exit codes: what a shell reports of a process that the signal ended.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

RESUME = ["--resume_from_checkpoint", "last"]

#: Seconds after a SIGTERM in which an evaluation may end by itself; clusters kill after 30.
GRACE = 15.0

#: Rows that a message names; a batch may hold hundreds.
SHOWN = 20


class EarlyStopping(EarlyStoppingCallback):
    """A resumed run restores it with the patience of back then, too; that of the command line counts."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.early_stopping_patience = args.early_stopping_patience
        super().on_train_begin(args, state, control, **kwargs)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **kwargs: Any) -> None:
        """Of several tasks each has an evaluation of its own, without the figure that decides."""
        if f"eval_{args.metric_for_best_model.removeprefix('eval_')}" in metrics:
            super().on_evaluate(args, state, control, metrics, **kwargs)


class LogEvaluateSave(TrainerCallback):
    """Puts what follows a step in the order that lets a checkpoint hold all of it.

    - The loss is logged before an evaluation and a checkpoint, and at the end: what the Trainer has summed up since the last
      line is not saved, and at the end it would report the first process's alone.
    - The checkpoint of a step that ends an epoch, or training, waits for the evaluation there, which draws random numbers,
      moves the best checkpoint and may stop training. A resumed run would not do it again.
    """

    _due = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if float(state.epoch).is_integer() or control.should_training_stop:
            self._due, control.should_save = control.should_save, False
        control.should_log |= control.should_evaluate or control.should_save or control.should_training_stop

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save |= self._due
        self._due = False
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
        """Called after each backward pass; the gradient is measured when it is complete, before it is clipped."""
        self._batches.append((loss, batch))
        # A loss scaler (fp16) looks for infinite gradients itself, skips the step and scales down; DeepSpeed hides them.
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


def resuming() -> list[str]:
    """The command line of this run with what resumes it; of a flag that is given twice the last one counts."""
    return [*launcher(sys.argv[0], world_size()), *sys.argv, *RESUME * (sys.argv[-2:] != RESUME)]


class StopOnSignal(TrainerCallback):
    """Ctrl-C and SIGTERM (preemption) end training after the current step, with a checkpoint; a second Ctrl-C at once.

    Under torchrun the signal reaches the processes at different moments. They ask each other after every step (one number,
    reduced), so that all save the same step. ``enable_jit_checkpoint`` of transformers does not let them agree, may save
    between a step's gradient and its update, and then continues as if training had ended.

    A checkpoint waits for the evaluation of its step. One that takes longer than ``GRACE`` after a SIGTERM is given up: the
    trainer saves a checkpoint without it, or where it cannot (``evaluate``) the checkpoint before counts.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._signal: signal.Signals | None = None
        self._received_at = 0.0
        self._stopping = False  # what all processes have agreed on
        self.evaluating = False
        self._previous: dict[signal.Signals, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take over both signals, in the main thread: Python handles them nowhere else."""
        self._folder = Path(args.output_dir)
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
            if number == signal.SIGTERM and hasattr(signal, "setitimer"):
                self._previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._give_up)
                signal.setitimer(signal.ITIMER_REAL, GRACE, 1.0)

    def _give_up(self, *_: Any) -> None:
        if not self.evaluating:  # a step, or a checkpoint that is being written
            return
        self.restore_handlers()
        kept = find_checkpoints(self._folder)
        state, command = (f"{kept[-1]} is kept", resuming()) if kept else ("no checkpoint yet", resuming()[: -len(RESUME)])
        message = f"ended by SIGTERM in an evaluation; {state}; go on with: {shlex.join(command)}"
        raise Interrupted(message, exit_code=EXIT_CODES[signal.SIGTERM])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._accelerator.num_processes > 1:
            if self._signal is not None:
                self._accelerator.set_trigger()
            self._stopping |= self._accelerator.check_trigger()
        control.should_save |= self._must_stop()

    on_epoch_end = on_step_end  # for a signal that came after the last step

    def _must_stop(self) -> bool:
        return self._stopping if self._accelerator.num_processes > 1 else self._signal is not None

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._must_stop():
            return
        self.restore_handlers()
        number = self._signal or signal.SIGTERM  # another process received it
        how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
        raise Interrupted(
            f"{how} at step {state.global_step}; its state is in {args.output_dir}/checkpoint-{state.global_step}; resume "
            f"with: {shlex.join(resuming())}",
            exit_code=EXIT_CODES[number],
        )

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Restore the handlers. A signal that came after the last step ends the process as it does outside of training."""
        self.restore_handlers()
        if self._signal is not None:
            os.kill(os.getpid(), self._signal)

    def restore_handlers(self) -> None:
        """Make the signals do again what they did before training."""
        if getattr(signal, "SIGALRM", None) in self._previous:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


class Console(TrainerCallback):
    """Prints the log, and how far training and evaluation are (see tasks/progress.py), in the first process."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.on_train_end()  # --auto_find_batch_size comes here more than once
        shown = not args.disable_tqdm
        self._bars["train"] = progress(state.max_steps, "training", "step", initial=state.global_step, shown=shown)

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self._bars["train"].update()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "evaluate" not in self._bars:
            batches = len(kwargs["eval_dataloader"])
            self._bars["evaluate"] = progress(batches, "evaluating", "batch", shown=not args.disable_tqdm)
        self._bars["evaluate"].update()

    def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if bar := self._bars.pop("evaluate", None):
            bar.close()

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any) -> None:
        if state.is_world_process_zero:
            with tqdm.external_write_mode():  # a bar makes way
                print(log_line(logs, state.global_step, state.max_steps), flush=True)

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Also called where training ends by an error."""
        while self._bars:
            self._bars.popitem()[1].close()


def log_line(logs: Mapping[str, Any], step: int, max_steps: int) -> str:
    """What the log holds of a step, an evaluation or the end of training, in one short line."""
    if "train_loss" in logs:
        seconds = timedelta(seconds=round(logs["train_runtime"]))
        return f"trained {step:,} steps in {seconds}; mean loss {logs['train_loss']:.4f}"
    place = [f"step {step:,}/{max_steps:,}"] if step else []
    if "loss" in logs:
        speed = f"{logs['tokens_per_second']:,.0f} tokens/s"
        parts = [f"loss {logs['loss']:.4f}", f"learning rate {logs['learning_rate']:.3g}", speed]
    else:
        clock, unsaid = ("_runtime", "_per_second", "_time"), ("epoch", "eval_baseline_")
        metrics = {name: value for name, value in logs.items() if not (name.startswith(unsaid) or name.endswith(clock))}
        parts = [f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items()]
    return "  ".join([*place, *parts])


class Throughput(TrainerCallback):
    """Tokens a second of all processes since the last line of the log, without evaluations and checkpoints."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._reset()
        self._resume_clock()

    def count(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Add the tokens of a batch, padding left out. On a GPU nothing waits for it."""
        self._tokens += batch["attention_mask"].sum() if "attention_mask" in batch else batch["input_ids"].numel()

    def _reset(self) -> None:
        self._tokens = torch.zeros((), dtype=torch.long, device=self._accelerator.device)
        self._seconds = 0.0

    def _resume_clock(self, *args: Any, **kwargs: Any) -> None:
        self._since = time.monotonic()

    on_train_begin = on_epoch_begin = on_evaluate = on_save = _resume_clock

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        now = time.monotonic()
        self._seconds, self._since = self._seconds + now - self._since, now

    def per_second(self) -> float:
        """The figure; counting starts again from zero. Every process calls it."""
        rate = self._accelerator.reduce(self._tokens, "sum").item() / max(self._seconds, 1e-9)
        self._reset()
        return rate
