"""Checks of numbers that several groups of flags share."""

from __future__ import annotations

import math
from typing import Any

from tasks.errors import UserError


def at_least(arguments: Any, low: int, *names: str, or_else: str = "") -> None:
    """Raises UserError where a flag of ``arguments`` is below ``low`` or infinite; ``or_else``: another way out."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not low <= value < math.inf:
            raise UserError(f"--{name} is {value}; it must be {low} or more{or_else}")


def above_zero(arguments: Any, *names: str) -> None:
    """Raises UserError where a flag of ``arguments`` is 0, negative, NaN or infinite."""
    for name in names:
        if (value := getattr(arguments, name)) is not None and not 0 < value < math.inf:
            raise UserError(f"--{name} is {value}; it must be a number over 0")


def share(arguments: Any, *names: str) -> None:
    """Raises UserError where a flag is given that is not from 0 to below 1, as a probability of dropout has to be."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not 0 <= value < 1:
            raise UserError(f"--{name} is {value}; it must be from 0 to below 1")
