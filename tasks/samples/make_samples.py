"""Write the bundled sample data: ``python tasks/samples/make_samples.py [folder]``, this folder by default.

The same code always writes the same bytes, and needs the standard library alone.
"""

from __future__ import annotations

import json
import random
import sys
from importlib import import_module
from pathlib import Path

from slots import SPLITS

HERE = Path(__file__).resolve().parent


def write_samples(folder: Path) -> None:
    """Write ``<task>/<split>.jsonl`` into ``folder`` for every module beside this one that writes the rows of a ``TASK``."""
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem != Path(__file__).stem)
    for module in filter(lambda module: hasattr(module, "TASK"), map(import_module, names)):
        (folder / module.TASK).mkdir(parents=True, exist_ok=True)
        for split, count in zip(SPLITS, module.COUNTS, strict=True):
            # A seed of its own for every file: changing one task leaves the files of the others as they are.
            rows = module.rows(random.Random(f"{module.TASK}/{split}"), split, count)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / module.TASK / f"{split}.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
