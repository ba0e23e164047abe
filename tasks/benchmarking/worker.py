"""One run in a process of its own: python -m tasks.benchmarking.worker JOB.json RESULT.json"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.benchmarking.machine import limit_memory
from tasks.errors import user_errors
from tasks.run_folder import write_json


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The figures of a job."""
    modules = {"train": "training", "infer": "inferring", "prepare": "preparing", "scale": "scaling"}
    name = "floor" if job["way"] == "floor" else modules[job["command"]]
    return import_module(f"tasks.benchmarking.{name}").run(job)


def main() -> None:
    """Set the process up as every other one of the benchmark, run the job, write its figures."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    limit_memory(job["max_memory_gb"])

    from tasks.model.speedups import keep_freed_memory

    keep_freed_memory()
    write_json(sys.argv[2], run(job))


if __name__ == "__main__":
    with user_errors():
        main()
