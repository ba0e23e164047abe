"""Text generation: paragraphs of three kinds, mixed."""

from __future__ import annotations

import random

from echoes import echo
from stories import conversation, scene

TASK = "generate"
COUNTS = (2400, 100)  # rows in training, rows in validation

#: Kinds of paragraphs, and how many of each come in a hundred.
KINDS = {echo: 45, conversation: 40, scene: 15}


def rows(rng: random.Random, split: str, count: int) -> list[dict[str, str]]:
    """``count`` different paragraphs."""
    found: dict[str, None] = {}
    while len(found) < count:
        (kind,) = rng.choices(list(KINDS), weights=list(KINDS.values()))
        found[kind(rng, split)] = None
    return [{"text": text} for text in found]
