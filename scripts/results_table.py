"""Print one table of finished runs: what was measured on how many rows, beside what baseline, in how many seconds.

python scripts/results_table.py outputs/*
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

import json
import sys
from pathlib import Path

from tasks import get_task
from tasks.errors import UserError
from tasks.run_folder import RESULTS_FILE

HEADER = ("task", "rows", "metric", "value", "baseline", "value", "seconds")


def main() -> None:
    """Read all_results.json of each folder and print a Markdown table."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    paths = [folder / RESULTS_FILE for folder in folders if (folder / RESULTS_FILE).is_file()]
    if not paths:
        raise UserError("name folders that hold an all_results.json, such as outputs/*")
    rows = [HEADER]
    for path in paths:
        try:
            results = json.loads(path.read_text("utf-8"))
            metric = get_task(results["task"]).main_metric
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(f"{path}: not the results of a run ({error!r:.80}); leave the folder out") from None
        if results.get(metric) is None:
            raise UserError(f"{path}: nothing was measured there; measure it with scripts/evaluate_model.py")
        seconds = results.get("train_runtime", 0) + results["predict_runtime"]
        baseline = results[f"baseline_{metric}"]
        values = (f"{results[metric]:.3f}", results["baseline"], f"{baseline:.3f}", f"{seconds:.0f}")
        rows.append((results["task"], str(results["rows"]), metric, *values))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


if __name__ == "__main__":
    main()
