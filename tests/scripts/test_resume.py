"""Ctrl-C in the middle of training, and the very command that its message names: the same weights, bit by bit."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from tasks.training.trainer import CompletionTrainer


@pytest.fixture(scope="module")
def dropout_folder(kogpt2_folder, tmp_path_factory):
    """Dropout draws from the random state in every step, so a state that is not restored shows in the weights."""
    folder = tmp_path_factory.mktemp("models") / "dropout"
    shutil.copytree(kogpt2_folder, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.2)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def arguments(model, files, output, *more):
    train, validation = files["summarize"]
    return [
        "--model", model, "--train_file", train, "--validation_file", validation, "--output_dir", output,
        "--max_new_tokens", 6,
        "--num_train_epochs", 3, "--per_device_train_batch_size", 2, "--learning_rate", 0.01, "--logging_steps", 1, *more,
    ]  # fmt: skip


def interrupt_at(monkeypatch, step):
    """Press Ctrl-C while the given step is being computed."""
    training_step, seen = CompletionTrainer.training_step, []

    def pressed(self, *args, **kwargs):
        seen.append(1)
        if len(seen) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, *args, **kwargs)

    monkeypatch.setattr(CompletionTrainer, "training_step", pressed)


@pytest.fixture(scope="module")
def whole(run_once, dropout_folder, files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = run_once("run_summarize", *arguments(dropout_folder, files, folder))
    assert result.code == 0, result.stderr
    return folder


def go_on(run_once, message):
    """The arguments of the command that the message ends with."""
    command = shlex.split(message.rpartition("go on with: ")[2])
    assert command[0] == "python"
    assert command[1].endswith("scripts/run_summarize.py")
    return run_once("run_summarize", *command[2:])


# Step 6 is in the middle of the second epoch of four steps, step 4 the end of the first.
@pytest.mark.parametrize("step", [6, 4])
def test_interrupted_and_gone_on_is_as_if_never_interrupted(
    run_once, dropout_folder, files, whole, tmp_path, monkeypatch, step
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        result = run_once("run_summarize", *arguments(dropout_folder, files, folder))
    assert result.code == 130
    assert result.error.startswith(f"interrupted at step {step}; its state is in {folder}/checkpoint-{step}; go on with: ")
    assert result.error.endswith("--resume_from_checkpoint last")
    assert (folder / f"checkpoint-{step}" / "trainer_state.json").is_file()
    assert not (folder / "all_results.json").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    finished = go_on(run_once, result.error)
    assert finished.code == 0, finished.stderr
    expected, found = load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    first, second = (json.loads((run / "all_results.json").read_text("utf-8")) for run in (whole, folder))
    assert first["eval_loss"] == second["eval_loss"]


def test_dropout_and_shuffling_are_on(run_once, dropout_folder, files, whole, tmp_path):
    # Else the test above would show nothing: with another seed the weights differ.
    result = run_once("run_summarize", *arguments(dropout_folder, files, tmp_path / "run", "--seed", 7))
    assert result.code == 0, result.stderr
    expected, found = load_file(whole / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert any(not torch.equal(expected[name], found[name]) for name in expected)


def test_interrupted_a_second_time_the_message_leads_to_the_newest_checkpoint(
    run_once, dropout_folder, files, whole, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        first = run_once("run_summarize", *arguments(dropout_folder, files, folder))
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        named = arguments(dropout_folder, files, folder, "--resume_from_checkpoint", folder / "checkpoint-3")
        second = run_once("run_summarize", *named)
    assert (first.code, second.code) == (130, 130)
    assert second.error.startswith("interrupted at step 6;")
    # Not the checkpoint of the first interruption again: three steps would be lost.
    assert re.search(r"--resume_from_checkpoint (last|\S*checkpoint-6)$", second.error)
    assert go_on(run_once, second.error).code == 0
    expected, found = load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_plain_start_does_not_touch_the_interrupted_run(run_once, dropout_folder, files, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        run_once("run_summarize", *arguments(dropout_folder, files, folder))
    before = (folder / "checkpoint-2" / "model.safetensors").read_bytes()
    result = run_once("run_summarize", *arguments(dropout_folder, files, folder))
    assert result.code == 2
    assert "go on with it by --resume_from_checkpoint last" in result.error
    assert (folder / "checkpoint-2" / "model.safetensors").read_bytes() == before


def test_a_checkpoint_that_is_none_is_named(run_once, dropout_folder, files, tmp_path):
    for value, message in (
        ("last", f"--resume_from_checkpoint last: {tmp_path}/run holds no checkpoint; start without it"),
        (tmp_path, f"--resume_from_checkpoint {tmp_path}: not a checkpoint of a Trainer (no trainer_state.json)"),
    ):
        more = ("--resume_from_checkpoint", value)
        result = run_once("run_summarize", *arguments(dropout_folder, files, tmp_path / "run", *more))
        assert (result.code, result.error) == (2, message)
        assert not list((tmp_path / "run").glob("*"))


def test_a_damaged_checkpoint_is_named(run_once, dropout_folder, files, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        run_once("run_summarize", *arguments(dropout_folder, files, folder))
    weights = folder / "checkpoint-2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    more = ("--resume_from_checkpoint", "last")
    result = run_once("run_summarize", *arguments(dropout_folder, files, folder, *more))
    assert result.code == 2
    assert "checkpoint-2: the checkpoint cannot be read" in result.error
