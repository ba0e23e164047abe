"""The clock of a training run, the same for every Trainer and every loop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from tasks.benchmarking.running import memory_figures, now
from tasks.errors import UserError
from tasks.preparing.encoding import IGNORE


@dataclass(eq=False)
class Meter(TrainerCallback):
    """Counts the tokens and the seconds of the steps after ``warmup_steps``; a loop calls ``begin``, ``batch`` and ``step``.

    With ``evaluate``, which returns the validation loss, no step is warm-up. Every ``eval_seconds`` the clock stops and the
    loss becomes a point of the curve: {seconds, step, tokens, loss}. The first point is before the first step.
    """

    warmup_steps: int
    max_seconds: float | None = None
    evaluate: Callable[[], float] | None = None
    eval_seconds: float = 30.0
    steps: int = 0
    loss: Any = None
    curve: list[dict[str, float]] = field(default_factory=list)

    def begin(self) -> None:
        """Training starts now."""
        self._restart()
        if self.evaluate:
            self.warmup_steps = 0
            self._add_point()

    def _restart(self) -> None:
        self.counts: Counter[str] = Counter()  # ints, or tensors that hold one
        self.paused = 0.0
        self.started = now()

    def seconds(self) -> float:
        """Seconds of training since the warm-up, without evaluations."""
        return time.perf_counter() - self.started - self.paused

    def batch(self, inputs: dict[str, torch.Tensor]) -> None:
        """Count a batch that is about to be trained on: ``input_ids``, ``labels``, and where padded ``attention_mask``."""
        ids, mask, positions = (inputs.get(name) for name in ("input_ids", "attention_mask", "position_ids"))
        # Sums on the accelerator stay there until somebody reads them: to wait for each would slow every step.
        self.counts.update(
            useful_tokens=ids.numel() if mask is None else mask.sum(),
            completion_tokens=(inputs["labels"][:, 1:] != IGNORE).sum(),
            padded=ids.numel(),
            # Without padding all rows are one sequence, and each starts at position 0.
            rows=len(ids) if positions is None else (positions == 0).sum(),
        )

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
                self._add_point()
        return self.max_seconds is not None and self.seconds() >= self.max_seconds

    def _add_point(self) -> None:
        paused_at = now()
        seconds = self.seconds()
        tokens = int(self.counts["useful_tokens"])
        self.curve.append({"seconds": seconds, "step": self.steps, "tokens": tokens, "loss": self.evaluate()})
        self.paused += time.perf_counter() - paused_at

    def result(self) -> dict[str, Any]:
        """The figures of the run. Raises UserError where no step was left to measure."""
        seconds, steps = now() - self.started - self.paused, self.steps - self.warmup_steps
        if steps < 1:
            raise UserError(
                f"all {self.steps} steps of the run were warm-up; give more rows (--max_train_samples, "
                "--num_train_epochs) or lower --warmup_steps"
            )
        figures = memory_figures()  # before the last evaluation, which is not the variant's own
        if self.evaluate and self.curve[-1]["step"] < self.steps:
            self._add_point()
        counts = {name: int(count) for name, count in self.counts.items()}
        padded = counts.pop("padded")
        return figures | {
            "useful_tokens_per_second": counts["useful_tokens"] / seconds,
            "completion_tokens_per_second": counts["completion_tokens"] / seconds,
            "steps_per_second": steps / seconds,
            "final_loss": float(self.loss),
            "seconds": seconds,
            "steps": steps,
            **counts,
            "padding": 1 - counts["useful_tokens"] / padded,
            **({"curve": self.curve} if self.evaluate else {}),
        }

    def train(self, trainer: Trainer) -> None:
        """Run ``trainer`` under this clock."""
        plain = trainer.training_step

        def training_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
            self.batch(inputs)
            self.loss = plain(model, inputs, *args, **kwargs)
            return self.loss

        trainer.training_step = training_step
        trainer.add_callback(self)
        trainer.train()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the step, and stop after the last one."""
        control.should_training_stop |= self.step()
