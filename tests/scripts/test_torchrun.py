"""Two processes under torchrun, as on two GPUs, with gloo in place of nccl."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.conftest import ROOT


def test_two_processes_train_one_model_and_write_its_results_once(kogpt2_folder, tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "scripts/run_nli.py",
            "--model", kogpt2_folder, "--sample_data", "--max_train_samples", "12", "--max_eval_samples", "5",
            "--per_device_train_batch_size", "3", "--num_train_epochs", "1", "--tokens_per_batch", "0",
            "--output_dir", str(tmp_path / "run"),
        ],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("everything is in") == 1
    assert len((tmp_path / "run" / "predictions.jsonl").read_text("utf-8").splitlines()) == 5
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text("utf-8"))
    # 12 rows in batches of 3 on each of two processes: two steps together, where one process would take four.
    assert state["global_step"] == 2
