"""Run every variant in a process of its own, and measure that process.

A run is ``python -m tasks.benchmarking.running JOB.json RESULT.json``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import psutil

from tasks.errors import OUT_OF_MEMORY, Interrupted, user_errors
from tasks.run_folder import write_json

logger = logging.getLogger(__name__)

#: The module of each command, with a function ``run`` from job to figures.
MODULES = {"train": "training", "infer": "inferring", "prepare": "preparing"}

#: The rate that a run is reported by.
RATES = {"useful_tokens_per_second": "useful tokens/s", "rows_per_second": "rows/s"}

#: What Python, torch, C++ and the loader of libraries write when they are refused memory.
NO_MEMORY = rf"{OUT_OF_MEMORY}|Cannot allocate memory|MemoryError|bad_alloc|map segment"


def run_all(jobs: dict[str, dict[str, Any]], repeats: int, folder: Path) -> list[dict[str, Any]]:
    """{"variant", "repeat", figures} of each run. All variants run once, then all of them again, and so on.

    A machine that slows down then slows all variants. A run that fails has ``failed`` (the reason) instead of figures, and
    its variant is not run again.
    """
    runs: list[dict[str, Any]] = []
    failed: set[str] = set()
    for repeat in range(repeats):
        for name, job in jobs.items():
            if name in failed:
                continue
            # Another seed each time: which rows a few steps see moves the figures more than the clock does.
            figures = start(job | {"seed": job["seed"] + repeat}, folder)
            runs.append({"variant": name, "repeat": repeat, **figures})
            if "failed" in figures:
                failed.add(name)
            rate = next((f"{figures[key]:,.1f} {unit}" for key, unit in RATES.items() if key in figures), None)
            logger.info("run %d/%d %s: %s", repeat + 1, repeats, name, rate or f"failed: {figures['failed']}")
    return runs


def start(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run ``job`` in a new process of this interpreter; its figures, or {"failed": why}."""
    job_file, result_file = folder / "job.json", folder / "result.json"
    job_file.write_text(json.dumps(job), "utf-8")
    result_file.unlink(missing_ok=True)
    environment = os.environ | {
        "TOKENIZERS_PARALLELISM": "false",  # texts are encoded before the clock starts; `prepare` counts one thread
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-m", "tasks.benchmarking.running", str(job_file), str(result_file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0 and result_file.exists():
        return json.loads(result_file.read_text("utf-8"))
    return {"failed": reason(done.returncode, done.stderr)}


@contextlib.contextmanager
def ended_together() -> Iterator[None]:
    """SIGTERM first kills every process that this one has started, then ends it by Interrupted."""

    def stopped(*_: object) -> NoReturn:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        raise Interrupted("ended by SIGTERM; its runs were stopped, and no results were written", exit_code=143)

    previous = signal.signal(signal.SIGTERM, stopped)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def reason(code: int, stderr: str) -> str:
    """Why a process ended, in one line."""
    if code == -signal.SIGKILL:
        return "killed, most likely by the kernel for want of memory"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    last = (errors or lines or [f"exit code {code}"])[-1][:300]
    if code < 0:
        last = f"ended by {signal.Signals(-code).name}"
    return ("out of memory: " if re.search(NO_MEMORY, stderr) else "") + last


def peak_memory_mb() -> float:
    """The peak of this process's resident memory, in MB.

    Linux keeps it in VmHWM. ``ru_maxrss`` of a child starts at the size of its parent, so it is only the fallback.
    """
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"VmHWM:\s*(\d+) kB", status.read_text("utf-8"))):
        return int(peak[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if platform.system() == "Darwin" else 1024)


def limit_memory(gigabytes: float | None) -> None:
    """Let an allocation beyond ``gigabytes`` fail in this process, before the kernel kills some other one to make room."""
    if gigabytes is not None and psutil.LINUX:
        hard = psutil.Process().rlimit(psutil.RLIMIT_DATA)[1]
        limit = int(gigabytes * 1024**3)
        psutil.Process().rlimit(psutil.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def now() -> float:
    """The clock's seconds, after the accelerator has done all it was given."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def memory_figures() -> dict[str, float]:
    """The peaks of this process, in the machine's memory and in the accelerator's."""
    import torch

    figures = {"peak_memory_mb": peak_memory_mb()}
    if torch.cuda.is_available():
        figures["peak_device_memory_mb"] = torch.cuda.max_memory_allocated() / 1024**2
    return figures


def row_figures(rows: int, seconds: float) -> dict[str, float]:
    """The figures of a run that counts rows."""
    return memory_figures() | {"rows_per_second": rows / seconds, "rows": rows, "seconds": seconds}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run ``job`` in this process and return its figures."""
    return import_module(f"tasks.benchmarking.{MODULES[job['command']]}").run(job)


def main() -> None:
    """Run the job of a file in this process, and write its figures to another."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    limit_memory(job["max_memory_gb"])  # before the large imports

    from tasks.model.speedups import keep_freed_memory

    keep_freed_memory()
    write_json(sys.argv[2], run(job))


if __name__ == "__main__":
    with user_errors():
        main()
