"""Runs under ``accelerate launch`` on two processes, several in one launch, and what two of them have in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.scripts.conftest import read_jsonl

LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def launch_runs(config: str, *runs: dict) -> str:
    """Run ``run_of(...)``s one after the other, which have to succeed; returns what they printed."""
    several = str(ROOT / "tests" / "helpers" / "several_runs.py")
    done = subprocess.run(
        [*LAUNCHER, "--config_file", config, "--main_process_port", "0", several, json.dumps(runs)],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout


def run_of(folder: str, files, out: Path, *more: object, **env: str) -> dict:
    """A run of nli on eight rows, two a process and step: two epochs of two steps."""
    train, validation = files["nli"]
    flags = [
        "--model", folder, "--train_file", train, "--validation_file", validation, "--output_dir", out,
        "--per_device_train_batch_size", 2, "--tokens_per_batch", 0, "--num_train_epochs", 2, "--learning_rate", 0.01,
        "--max_new_tokens", 12, *more,
    ]  # fmt: skip
    return {"argv": ["scripts/run_nli.py", *map(str, flags)], "env": env}


def furthest(one: Path, other: Path) -> float:
    """The largest difference of a weight of two folders that hold the same ones."""
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    return max((weight - second[name]).abs().max().item() for name, weight in first.items())


def scores(folder: Path) -> torch.Tensor:
    """The log-probability of each label, [rows, labels]."""
    return torch.tensor([list(row["scores"].values()) for row in read_jsonl(folder / "predictions.jsonl")])
