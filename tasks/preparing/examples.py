"""From the command line's data arguments to formatted examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.base import Example, Task
from tasks.preparing.splits import format_examples, load_raw_datasets

if TYPE_CHECKING:
    from tasks.arguments.data import DataArguments


def load_examples(
    task: Task, data_args: DataArguments, *, seed: int, splits: tuple[str, ...]
) -> tuple[dict[str, list[Example]], dict[str, dict[str, int]]]:
    """The examples of each split that is there, and counts of rows used and skipped.

    Raises:
        UserError: whatever is wrong with files, columns or rows, with file and row.
    """
    raw = load_raw_datasets(task, data_args, seed=seed, splits=splits)
    examples: dict[str, list[Example]] = {}
    counts: dict[str, dict[str, int]] = {}
    for split, rows in raw.items():
        examples[split], skipped = format_examples(task, rows, data_args.skip_bad_rows)
        counts[split] = {"rows": len(examples[split])} | ({"skipped": skipped} if skipped else {})
    return examples, counts
