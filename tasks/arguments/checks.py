"""Checks of numbers that several groups of flags share."""

from __future__ import annotations

from typing import Any

from tasks.errors import UserError


def at_least(arguments: Any, low: int, *names: str, or_else: str = "") -> None:
    """Raises UserError where a flag of ``arguments`` is given and below ``low``; ``or_else`` adds another way out."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < low:
            raise UserError(f"--{name} is {value}; it must be {low} or more{or_else}")


def dropout_rate(arguments: Any, name: str) -> None:
    """Raises UserError where a flag is given that is no probability of dropout."""
    value = getattr(arguments, name)
    if value is not None and not 0 <= value < 1:
        raise UserError(f"--{name} is {value}; it must be from 0 to below 1")
