"""DeepSpeed on two CPU processes, where it is installed: the files of configs/."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from tests.helpers.launching import furthest, launch_runs, run_of, scores
from tests.scripts.conftest import read_json

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"),
]


@pytest.mark.parametrize("stage", [2, 3])
def test_it_learns_what_one_process_does_and_resumes(run_once, kogpt2_folder, files, tmp_path, stage):
    chosen = ("--metric_for_best_model", "accuracy")  # predicts in the middle of training
    half = ("--bf16", "--gradient_checkpointing")
    launch_runs(
        f"configs/accelerate/deepspeed_zero{stage}.yaml",
        run_of(kogpt2_folder, files, tmp_path / "whole", *chosen),
        run_of(
            kogpt2_folder, files, tmp_path / "resumed", *chosen, "--resume_from_checkpoint", tmp_path / "whole/checkpoint-2"
        ),
        run_of(kogpt2_folder, files, tmp_path / "half", *half),
    )
    assert furthest(tmp_path / "resumed", tmp_path / "whole") == 0.0
    assert furthest(tmp_path / "whole", Path(kogpt2_folder)) > 1e-2
    alone = run_of(kogpt2_folder, files, tmp_path / "alone", *chosen, "--per_device_train_batch_size", 4)["argv"][1:]
    result = run_once("run_nli", *alone)
    assert result.code == 0, result.stderr
    assert furthest(tmp_path / "whole", tmp_path / "alone") < 1e-4
    assert torch.allclose(scores(tmp_path / "whole"), scores(tmp_path / "alone"), atol=1e-3)
    # Of every evaluation: the checkpoints that the runs keep are chosen by another metric each.
    logs = [read_json(tmp_path / name / "checkpoint-4/trainer_state.json")["log_history"] for name in ("half", "alone")]
    half, whole = ([entry["eval_loss"] for entry in log if "eval_loss" in entry] for log in logs)
    assert half == pytest.approx(whole, abs=0.1)
