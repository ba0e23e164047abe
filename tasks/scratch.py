"""From scratch: a tokenizer and a GPT-2 trained on a corpus, measured as ``generate`` is."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.base import Task
from tasks.generate import Generate


class Scratch(Generate):
    """Plain text again, and a tokenizer that already holds the separators of every task that will be built on it."""

    name = "scratch"
    from_scratch = True
    corpus_columns = ()

    def __init__(self, others: Iterable[Task]) -> None:
        """``others`` are all other tasks. The separators stand in their order, so a new task belongs at the end of it."""
        others = list(others)
        self.separators = tuple(dict.fromkeys(separator for task in others for separator in task.separators))
        # The bundled corpus is every text of the other samples that offer theirs: a model made from it knows their words.
        self.sample_texts = {task.name: task.corpus_columns for task in others if task.corpus_columns}
