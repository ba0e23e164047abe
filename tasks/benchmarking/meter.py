"""The clock of a training run: the same one for every Trainer and every loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from tasks.benchmarking.machine import memory_figures, synchronize
from tasks.errors import UserError
from tasks.preparing.encoding import IGNORE


class Meter:
    """Counts the tokens of the steps after ``warmup_steps`` and their seconds.

    With ``evaluate`` nothing is warm-up, the clock is stopped every ``eval_seconds``, and what it returns is noted as a
    point of the curve {seconds, step, tokens, loss}, the first before the first step.
    """

    def __init__(
        self,
        warmup_steps: int,
        max_seconds: float | None,
        evaluate: Callable[[], float] | None = None,
        eval_seconds: float = 30.0,
    ) -> None:
        self.warmup_steps = 0 if evaluate else warmup_steps
        self.max_seconds = max_seconds
        self.evaluate = evaluate
        self.eval_seconds = eval_seconds
        self.steps = 0
        self.loss: Any = None
        self.curve: list[dict[str, float]] = []

    def begin(self) -> None:
        """Training starts now."""
        self._restart()
        if self.evaluate:
            self._note()

    def _restart(self) -> None:
        synchronize()
        self.useful = self.completion = self.padded = self.rows = 0
        self.paused = 0.0
        self.started = time.perf_counter()

    def seconds(self) -> float:
        """Seconds of training since the warm-up, evaluations not counted."""
        return time.perf_counter() - self.started - self.paused

    def batch(self, useful: int, completion: int, padded: int, rows: int) -> None:
        """The tokens of a batch that is about to be trained on: useful ones, those of completions, all with padding."""
        self.useful += useful
        self.completion += completion
        self.padded += padded
        self.rows += rows

    def step(self) -> bool:
        """A step has ended; returns whether to stop here."""
        self.steps += 1
        if self.steps == self.warmup_steps:
            self._restart()
        if self.steps <= self.warmup_steps:
            return False
        if self.evaluate:
            last = self.curve[-1]["seconds"]
            # Often at first, where the loss falls fast: after an eighth of the interval, a quarter, a half.
            if self.seconds() >= last + min(self.eval_seconds, max(last, self.eval_seconds / 8)):
                self._note()
        return self.max_seconds is not None and self.seconds() >= self.max_seconds

    def _note(self) -> None:
        synchronize()
        seconds = self.seconds()
        begin = time.perf_counter()
        point = {"seconds": seconds, "step": self.steps, "tokens": self.useful, "loss": self.evaluate()}
        self.curve.append(point)
        self.paused += time.perf_counter() - begin

    def result(self) -> dict[str, Any]:
        """The figures of the run. Raises UserError where no step was left to measure."""
        synchronize()
        seconds, steps = self.seconds(), self.steps - self.warmup_steps
        if steps < 1:
            raise UserError(
                f"all {self.steps} steps of the run were warm-up; give more rows (--max_train_samples, "
                "--num_train_epochs) or lower --warmup_steps"
            )
        figures = memory_figures()  # before the last evaluation, which is not the variant's own
        if self.evaluate and self.curve[-1]["step"] < self.steps:
            self._note()
        return figures | {
            "useful_tokens_per_second": self.useful / seconds,
            "completion_tokens_per_second": self.completion / seconds,
            "steps_per_second": steps / seconds,
            "final_loss": float(self.loss),
            "seconds": seconds,
            "steps": steps,
            "rows": self.rows,
            "useful_tokens": self.useful,
            "completion_tokens": self.completion,
            "padding": 1 - self.useful / self.padded,
            **({"curve": self.curve} if self.evaluate else {}),
        }

    def train(self, trainer: Trainer) -> None:
        """Run ``trainer`` under this clock."""
        plain = trainer.training_step

        def training_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
            ids, mask = inputs["input_ids"], inputs.get("attention_mask")
            useful = ids.numel() if mask is None else int(mask.sum())
            # Without padding the rows stand one behind the other, and each begins at position 0.
            rows = int((inputs["position_ids"] == 0).sum()) if "position_ids" in inputs else len(ids)
            self.batch(useful, int((inputs["labels"][:, 1:] != IGNORE).sum()), ids.numel(), rows)
            self.loss = plain(model, inputs, *args, **kwargs)
            return self.loss

        trainer.training_step = training_step
        trainer.add_callback(_Clock(self))
        trainer.train()


class _Clock(TrainerCallback):
    """Tells the meter when training begins and when a step ends."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.meter.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        over = self.meter.step()  # always asked: the last step counts too
        control.should_training_stop = control.should_training_stop or over
