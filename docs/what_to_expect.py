"""Write what a run measured into the last column of a row of docs/what-to-expect.md and its Korean twin.

python docs/what_to_expect.py ROW FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tasks import get_task
from tasks.errors import UserError, handle_errors
from tasks.publishing.report import RunReport

handle_errors(__name__)

#: Folder of the pages; their names.
DOCS = Path(__file__).parent
PAGES = ("what-to-expect.md", "what-to-expect.ko.md")


def cell(report: RunReport) -> str:
    """The main metric with its 95 % interval, the command, the commit, the hours and the card's address, if it has one."""
    task, results = get_task(report.config.task), report.results
    percent = 100 if task.output_type == "multiple_choice" else 1
    figures = [(results[name] * percent, name) for name in ("exact_match", task.main_metric) if name in results]
    low, high = (bound * percent for bound in results["intervals"][task.main_metric])
    hours = (results["train_runtime"] + results["predict_runtime"]) / 3600
    told = " / ".join(f"{value:.4g}" for value, _ in figures)
    device = report.hardware.get("accelerator") or report.hardware.get("processor")
    parts = [f"{told} [{low:.4g}, {high:.4g}]", f"`{report.command}`", f"commit {str(report.git_commit)[:7]}"]
    parts.append(f"{hours:.2f} h on {device}")
    if repository := report.choices.get("hub_model_id"):
        parts.append(f"[card](https://huggingface.co/{repository})")
    return ", ".join(parts).replace("|", "\\|")


def main() -> None:
    """Fill in the row of both pages."""
    if len(sys.argv) != 3:
        raise UserError("give a row of docs/what-to-expect.md and the folder of its run")
    name, folder = sys.argv[1:]
    told = cell(RunReport.load(folder))
    for page in PAGES:
        lines = (DOCS / page).read_text("utf-8").split("\n")
        places = [number for number, line in enumerate(lines) if line.startswith(f"| {name} | ")]
        if len(places) != 1:
            raise UserError(f"{DOCS / page}: {len(places)} rows are called {name}; one is needed")
        before = lines[places[0]].rstrip(" |").rpartition(" | ")[0]
        lines[places[0]] = f"{before} | {told} |"
        (DOCS / page).write_text("\n".join(lines), "utf-8")
    print(json.dumps({name: told}, ensure_ascii=False))


if __name__ == "__main__":
    main()
