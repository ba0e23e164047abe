"""Ctrl-C and SIGTERM: a checkpoint after the step in hand, by all processes at the same step."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from typing import Any

from accelerate import Accelerator
from transformers import TrainerCallback

from tasks.errors import Interrupted

#: Exit codes: what a shell reports of a process that the signal ended, so schedulers and scripts read them as that.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class StopOnSignal(TrainerCallback):
    """Ctrl-C and SIGTERM (preemption) end training after the step in hand, with a checkpoint; a second Ctrl-C at once.

    Under torchrun the signal reaches the processes at different moments. They ask each other after every step (one number,
    reduced), so that all save the same step.

    transformers has ``enable_jit_checkpoint`` for SIGTERM. It is not used: it waits three seconds, may save between a step's
    gradient and its update, does not let the processes agree, and then goes on as if training had come to its end.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        """``accelerator`` lets the processes agree."""
        self._accelerator = accelerator
        self._asked: signal.Signals | None = None
        self._asked_at = 0.0
        self._stopping = False  # what all processes have agreed on
        self._previous: dict[signal.Signals, Any] = {}

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Take over both signals. They can only be handled in the main thread, which is where scripts train."""
        if not self._previous:  # --auto_find_batch_size begins more than once
            self._previous = {number: signal.signal(number, self._ask) for number in EXIT_CODES}

    def _ask(self, number: int, frame: Any) -> None:
        # torchrun hands a Ctrl-C on that its processes have had from the terminal already.
        echo = "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._asked_at < 1
        if self._asked is not None and number == signal.SIGINT and not echo:
            self.give_back()
            raise KeyboardInterrupt
        if self._asked is None:
            self._asked, self._asked_at = signal.Signals(number), time.monotonic()
            more = "; press Ctrl-C again to stop at once" if number == signal.SIGINT else ""
            print(f"\nstopping after this step, to save it{more}", file=sys.stderr, flush=True)

    def _agreed(self) -> bool:
        """Whether any process was asked to stop. Called by all of them at the same place."""
        if self._accelerator.num_processes == 1:
            return self._asked is not None
        if self._asked is not None:
            self._accelerator.set_trigger()
        self._stopping = self._accelerator.check_trigger() or self._stopping
        return self._stopping

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint."""
        control.should_save = self._agreed() or control.should_save

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The same, for a signal that came after the last step."""
        control.should_save = self._agreed() or control.should_save

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave once the checkpoint is written."""
        stopping = self._stopping if self._accelerator.num_processes > 1 else self._asked is not None
        if not stopping:
            return
        self.give_back()
        number = self._asked or signal.SIGTERM  # another process was asked
        how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
        raise Interrupted(
            f"{how} at step {state.global_step}; its state is in {args.output_dir}/checkpoint-{state.global_step}; go on "
            f"with: python {shlex.join(_resuming(sys.argv))}",
            exit_code=EXIT_CODES[number],
        )

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Give the signals back. One that came after the last step ends the process as it does outside of training."""
        self.give_back()
        if self._asked is not None:
            os.kill(os.getpid(), self._asked)

    def give_back(self) -> None:
        """Make the signals do again what they did before training."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


class SaveAfterEvaluation(TrainerCallback):
    """Puts the checkpoint of a step that ends an epoch, or training, off until what comes after that step is done.

    The evaluation at an epoch's end draws random numbers, moves the best checkpoint and may stop training early. A run that
    resumed from a checkpoint written before it would not make it up.
    """

    def __init__(self) -> None:
        self._due = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put it off, where nothing but the epoch's end follows."""
        if float(state.epoch).is_integer() or control.should_training_stop:
            self._due, control.should_save = control.should_save, False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for it again."""
        control.should_save = control.should_save or self._due
        self._due = False


def _resuming(argv: list[str]) -> list[str]:
    """The command line that goes on from the newest checkpoint, whatever the one in hand began from."""
    kept: list[str] = []
    for argument in argv:
        if kept[-1:] == ["--resume_from_checkpoint"]:
            kept.pop()  # its value is this argument
        elif not argument.startswith("--resume_from_checkpoint="):
            kept.append(argument)
    return [*kept, "--resume_from_checkpoint", "last"]
