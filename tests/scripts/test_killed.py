"""kill -9, in the middle of writing and at random moments: the same command goes on, and ends with the same weights."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.helpers.faults import KILLED, run_process, seconds_of
from tests.scripts.conftest import read_json


def arguments(model, files, output, *more):
    """Twelve steps, each evaluated and saved."""
    train, validation = files["summarize"]
    return (
        "--model", model, "--train_file", train, "--validation_file", validation, "--output_dir", output,
        "--max_new_tokens", 6, "--num_train_epochs", 3, "--tokens_per_batch", 0, "--per_device_train_batch_size", 2,
        "--learning_rate", 0.01, "--dropout", 0.2, "--logging_steps", 1, "--eval_strategy", "steps", "--eval_steps", 1,
        "--save_strategy", "steps",
        "--save_steps", 1, *more,
    )  # fmt: skip


def assert_same_run(found, expected):
    ours, theirs = load_file(found / "model.safetensors"), load_file(expected / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    results = [read_json(folder / "all_results.json") for folder in (found, expected)]
    assert results[0]["eval_loss"] == results[1]["eval_loss"]
    assert results[0]["train_loss"] == results[1]["train_loss"]


@pytest.fixture(scope="module")
def whole(kogpt2_folder, files, tmp_path_factory):
    """A run that nobody ends, and its seconds."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    seconds = seconds_of("run_summarize", *arguments(kogpt2_folder, files, folder), folder=folder.parent / "process")
    return folder, seconds


def test_killed_while_a_checkpoint_is_written(whole, kogpt2_folder, files, tmp_path):
    out, process = tmp_path / "run", tmp_path / "process"
    command = arguments(kogpt2_folder, files, out)
    # Weights and optimizer are there, and the state is just being opened; later all but the seal's name.
    for moment in (("open", "checkpoint-3/trainer_state.json"), ("os.rename", "checkpoint-7/complete.json")):
        assert run_process("run_summarize", *command, folder=process, kill_at=moment) == KILLED
    assert (out / "checkpoint-7" / "trainer_state.json").is_file()
    assert not (out / "checkpoint-7" / "complete.json").exists()
    assert run_process("run_summarize", *command, folder=process) == 0
    told = (process / "stderr").read_text("utf-8")
    assert f"{out}/checkpoint-7 is skipped: it has no complete.json" in told
    assert f"resuming from {out}/checkpoint-6: the same run was not finished" in told
    assert_same_run(out, whole[0])


#: Moments of a checkpoint: what Python is asked for, and of which file.
WRITING = [("open", name) for name in ("trainer_state.json", "optimizer.pt", "rng_state.pth")]
WRITING += [("os.rename", "complete.json")]


@pytest.mark.slow
def test_killed_twenty_times_and_more_at_random_moments(whole, kogpt2_folder, files, tmp_path):
    expected, seconds = whole
    moments, kills, half_written, run, process = random.Random(7), 0, 0, 0, tmp_path / "process"
    while kills < 24:
        out = tmp_path / f"run-{run}"
        started = time.monotonic()
        command = arguments(kogpt2_folder, files, out)
        # At any time, or while a file of a checkpoint is opened or its seal gets its name.
        moment = {"kill_after": moments.uniform(0.1, seconds)} if kills % 2 else {"kill_at": moments.choice(WRITING)}
        code = run_process("run_summarize", *command, folder=process, **moment)
        if code == KILLED:
            kills += 1
            half_written += any(not (path / "complete.json").exists() for path in out.glob("checkpoint-*"))
            continue
        # At its end; 2 where the kill before had come in the moment between the last file and the end of the process.
        assert code == 0 or (code == 2 and read_json(out / "run.json")["finished"]), (process / "stderr").read_text("utf-8")
        assert_same_run(out, expected)
        seconds = min(seconds, time.monotonic() - started)  # the first run may have found a busier machine
        run += 1
    code = run_process("run_summarize", *command, folder=process)
    assert code == 0 or (code == 2 and read_json(out / "run.json")["finished"])
    assert_same_run(out, expected)
    assert half_written, "no kill met a checkpoint that was being written: the moments are badly chosen"


@pytest.mark.slow
def test_sigterm_to_torchrun_is_one_step_for_all_processes(kogpt2_folder, files, tmp_path):
    def start(out):
        more = ("--num_train_epochs", 20, "--save_total_limit", 100)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command += ["scripts/run_summarize.py", *map(str, arguments(kogpt2_folder, files, out, *more))]
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    whole = start(tmp_path / "whole")
    assert whole.communicate(timeout=500)[1] is not None
    assert whole.returncode == 0

    out, stopped = tmp_path / "run", start(tmp_path / "run")
    deadline = time.monotonic() + 300
    while not (out / "checkpoint-3" / "complete.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    told = stopped.communicate(timeout=300)[1]
    assert stopped.returncode != 0
    steps = set(re.findall(r"error: ended by SIGTERM at step (\d+);", told))
    assert len(steps) == 1, told  # both processes say the same step
    last = out / f"checkpoint-{steps.pop()}"
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= read_json(last / "complete.json")["files"].keys()

    gone_on = start(out)
    told = gone_on.communicate(timeout=500)[1]
    assert gone_on.returncode == 0, told
    assert f"resuming from {last}" in told
    assert_same_run(out, tmp_path / "whole")
