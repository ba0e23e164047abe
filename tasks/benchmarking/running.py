"""All runs of a benchmark, in turn, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tasks

#: What Python, torch, C++ and the loader of libraries say that are refused memory.
NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "MemoryError", "out of memory", "bad_alloc", "map segment")


def run_all(jobs: dict[str, dict[str, Any]], repeats: int, folder: Path) -> list[dict[str, Any]]:
    """{"variant", "repeat", figures} of each run: every variant once, then every one again, and so on.

    In turn, so that a machine that slows down slows all of them. A run that ends badly has ``failed`` instead of figures,
    and its variant is not tried again.
    """
    runs: list[dict[str, Any]] = []
    failed: set[str] = set()
    for repeat in range(repeats):
        for name, job in jobs.items():
            if name in failed:
                continue
            # Other batches each time: of a few steps, what is in them moves the figures more than the clock does.
            figures = start(job | {"seed": job["seed"] + repeat}, folder)
            runs.append({"variant": name, "repeat": repeat, **figures})
            if "failed" in figures:
                failed.add(name)
            print(f"run {repeat + 1}/{repeats} {name}: {_in_short(figures)}", file=sys.stderr, flush=True)
    return runs


def start(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run ``job`` in a new process of this interpreter; its figures, or {"failed": why}."""
    paths = folder / "job.json", folder / "result.json"
    paths[0].write_text(json.dumps(job), "utf-8")
    paths[1].unlink(missing_ok=True)
    root = str(Path(tasks.__file__).resolve().parent.parent)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "TOKENIZERS_PARALLELISM": "false",  # texts are encoded before the clock starts; `prepare` counts one thread
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-m", "tasks.benchmarking.worker", *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0 and paths[1].exists():
        return json.loads(paths[1].read_text("utf-8"))
    return {"failed": _reason(done.returncode, done.stderr)}


def _reason(code: int, stderr: str) -> str:
    """Why a process ended, in one line."""
    if code == -signal.SIGKILL:
        return "killed, most likely by the kernel for want of memory"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reason = (errors or lines or [f"exit code {code}"])[-1][:300]
    if code < 0:
        reason = f"ended by {signal.Signals(-code).name}"
    return ("out of memory: " if any(words in stderr for words in NO_MEMORY) else "") + reason


def _in_short(figures: dict[str, Any]) -> str:
    if "failed" in figures:
        return f"failed: {figures['failed']}"
    for name, unit in (("useful_tokens_per_second", "useful tokens/s"), ("rows_per_second", "rows/s")):
        if name in figures:
            return f"{figures[name]:,.1f} {unit}"
    return ", ".join(f"{name} {value}" for name, value in figures.items())


def summarize(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{variant: {figure: {"median", "min", "max"}, "runs": how many}}; a variant that failed has ``failed`` as well."""
    summary: dict[str, dict[str, Any]] = {}
    for name in names:
        own = [run for run in runs if run["variant"] == name]
        good = [run for run in own if "failed" not in run]
        figures: dict[str, Any] = {"runs": len(good)}
        for key, value in (good[0] if good else {}).items():
            if isinstance(value, (int, float)) and key != "repeat":
                values = [run[key] for run in good]
                figures[key] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
        if len(good) < len(own):
            figures["failed"] = own[-1]["failed"]
        summary[name] = figures
    return summary
