"""Checks of numbers that several groups of flags share."""

from __future__ import annotations

import math
from typing import Any

from tasks.errors import UserError


def at_least(arguments: Any, low: int, *names: str, or_else: str = "") -> None:
    """Raises UserError where a flag of ``arguments`` is given and below ``low``; ``or_else`` adds another way out."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < low:
            raise UserError(f"--{name} is {value}; it must be {low} or more{or_else}")


def trains(arguments: Any) -> None:
    """Raises UserError where a number of TrainingArguments would let training do nothing, or nothing sensible."""
    at_least(arguments, 1, "gradient_accumulation_steps", "per_device_train_batch_size", "per_device_eval_batch_size")
    if arguments.max_steps != -1:
        at_least(arguments, 1, "max_steps", or_else=", or left out to train --num_train_epochs")
    for name in ("learning_rate", "num_train_epochs", "weight_decay", "warmup_steps", "max_grad_norm", "adam_epsilon"):
        value, positive = getattr(arguments, name), name == "num_train_epochs"
        if value is not None and (not math.isfinite(value) or value < 0 or (positive and value == 0)):
            raise UserError(f"--{name} is {value}; it must be a number {'above 0' if positive else 'from 0 up'}")
    for name in ("adam_beta1", "adam_beta2", "label_smoothing_factor"):
        dropout_rate(arguments, name)


def dropout_rate(arguments: Any, name: str) -> None:
    """Raises UserError where a flag is given that is no probability below 1, such as one of dropout."""
    value = getattr(arguments, name)
    if value is not None and not 0 <= value < 1:
        raise UserError(f"--{name} is {value}; it must be from 0 to below 1")
