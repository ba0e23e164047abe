"""Which parameters of a test are for the quick level."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def quick(values: Iterable[Any], *kept: Any) -> list[Any]:
    """The values of a parametrized test, all but ``kept`` marked slow: each of them would cost the quick level seconds."""
    return [value if value in kept else pytest.param(value, marks=pytest.mark.slow) for value in values]
