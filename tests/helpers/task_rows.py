"""Rows of any task, in words that the tiny tokenizers of the tests know."""

from __future__ import annotations

from typing import Any

from tasks import TASKS
from tasks.base import Task
from tasks.reading.sources import SAMPLES

# Written with syllables of tests.conftest.CORPUS alone: to its tokenizer all others are the same <unk>.
PEOPLE = ["민준이", "서연이", "시연이", "도준이", "민서", "도연이", "서준이", "연서"]
PLACES = ["도서관", "공원", "시청", "서울", "부산", "바다", "도시", "수도"]

#: The tasks that a model is trained on, in the order of ``TASKS``.
TRAINED = [name for name, task in TASKS.items() if not task.from_scratch]

#: Those of them that have a bundled sample, and those with one of their own or of other tasks.
SAMPLED = [name for name in TRAINED if (SAMPLES / name).is_dir()]
WITH_SAMPLE = [name for name, task in TASKS.items() if task.sample_texts or name in SAMPLED]


def rows_of(task: Task) -> list[dict[str, Any]]:
    """Eight rows: a sentence in the first column, a question in a second one, and a word of the sentence or a label."""
    first, *others = (column.name for column in task.input_columns)
    rows = []
    for n, (who, where) in enumerate(zip(PEOPLE, PLACES)):
        labels = list(task.label_words) or PLACES[:2] * task.learns_labels
        answer = labels[n % len(labels)] if labels else where
        row = {first: f"{who} {where}에서 책을 빌렸다."} | dict.fromkeys(others, "어디에서?")
        rows.append(row | {column.name: answer for column in task.target_columns})
    return rows
