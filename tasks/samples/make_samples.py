"""Write the bundled sample data: ``python tasks/samples/make_samples.py [folder]``, this folder by default.

The same code always writes the same bytes, and needs the standard library alone.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import notices
import pairs
import paragraphs
import questions
from slots import SPLITS

#: task -> (the module that writes its rows, rows in training, rows in validation)
TASKS = {
    "generate": (paragraphs, 2400, 100),
    "summarize": (notices, 700, 100),
    "nli": (pairs, 999, 102),
    "qa": (questions, 1000, 100),
}


def write_samples(folder: Path) -> None:
    """Write ``<task>/<split>.jsonl`` into ``folder`` for every task and split."""
    for task, (module, *counts) in TASKS.items():
        (folder / task).mkdir(parents=True, exist_ok=True)
        for split, count in zip(SPLITS, counts, strict=True):
            # A seed of its own for every file: changing one task leaves the files of the others as they are.
            rows = module.rows(random.Random(f"{task}/{split}"), split, count)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / task / f"{split}.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
