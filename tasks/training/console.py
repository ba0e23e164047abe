"""What training shows: one line a log step and one an evaluation, how far it is, and how fast."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm
from transformers import TrainerCallback

from tasks.progress import progress


class Console(TrainerCallback):
    """Prints the log, and how far training and evaluation are (see tasks/progress.py), in the first process."""

    def __init__(self) -> None:
        self._training: Any = None
        self._evaluation: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()  # --auto_find_batch_size comes here more than once
        shown = not args.disable_tqdm
        self._training = progress(state.max_steps, "train", "step", initial=state.global_step, shown=shown)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._training.update()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._evaluation is None:
            self._evaluation = progress(len(kwargs["eval_dataloader"]), "evaluate", "batch", shown=not args.disable_tqdm)
        self._evaluation.update()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._evaluation is not None:
            self._evaluation.close()
        self._evaluation = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any) -> None:
        if state.is_world_process_zero:
            with tqdm.external_write_mode():  # a bar makes way
                print(log_line(logs, state.global_step, state.max_steps), flush=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """Also called where training ends by an error."""
        for bar in filter(None, (self._training, self._evaluation)):
            bar.close()
        self._training = self._evaluation = None


def log_line(logs: Mapping[str, Any], step: int, max_steps: int) -> str:
    """The entry of the log that a step, an evaluation or the end of training leaves, in one short line."""
    if "train_loss" in logs:
        seconds = timedelta(seconds=round(logs["train_runtime"]))
        return f"trained {step:,} steps in {seconds}; mean loss {logs['train_loss']:.4f}"
    place = [f"step {step:,}/{max_steps:,}"] if step else []
    if "loss" in logs:
        speed = f"{logs['tokens_per_second']:,.0f} tokens/s"
        parts = [f"loss {logs['loss']:.4f}", f"learning rate {logs['learning_rate']:.3g}", speed]
    else:
        clock = ("_runtime", "_per_second", "_time")
        metrics = {name: value for name, value in logs.items() if name != "epoch" and not name.endswith(clock)}
        parts = [f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items()]
    return "  ".join([*place, *parts])


def mean_loss(log_history: list[dict[str, Any]]) -> float:
    """The mean over all steps of a run, from its lines; each holds the mean of the steps since the line before."""
    total, previous = 0.0, 0
    for entry in log_history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - previous)
            previous = entry["step"]
    return total / max(previous, 1)


class Throughput(TrainerCallback):
    """Tokens a second of all processes since the last line of the log; evaluations and checkpoints take no part."""

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
        """The figure, after which it counts from zero. Every process calls it."""
        rate = self._accelerator.reduce(self._tokens, "sum").item() / max(self._seconds, 1e-9)
        self._reset()
        return rate
