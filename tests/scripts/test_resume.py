"""Runs ended by Ctrl-C, SIGTERM, a full disk and more: what is kept, and the same weights, bit by bit, when they resume."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shlex
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from tasks.training.trainer import CompletionTrainer
from tests.conftest import ROOT, write_rows
from tests.helpers.docs import commands as documented
from tests.helpers.levels import quick
from tests.scripts.conftest import ROWS


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
        "--num_train_epochs", 3, "--tokens_per_batch", 0, "--per_device_train_batch_size", 2, "--learning_rate", 0.01,
        "--logging_steps", 1, *more,
    ]  # fmt: skip


def interrupt_at(monkeypatch, step, number=signal.SIGINT):
    """Press Ctrl-C, or send another signal, while the given step is being computed."""
    training_step, seen = CompletionTrainer.training_step, []

    def pressed(self, *args, **kwargs):
        seen.append(1)
        if len(seen) == step:
            os.kill(os.getpid(), number)
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
    command = shlex.split(message.rpartition("resume with: ")[2])
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
    assert result.error.startswith(f"interrupted at step {step}; its state is in {folder}/checkpoint-{step}; resume with: ")
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


def test_a_start_with_other_settings_does_not_touch_the_interrupted_run(
    run_once, dropout_folder, files, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        run_once("run_summarize", *arguments(dropout_folder, files, folder))
    before = (folder / "checkpoint-2" / "model.safetensors").read_bytes()
    result = run_once("run_summarize", *arguments(dropout_folder, files, folder, "--seed", 7))
    assert result.code == 2
    assert result.error.startswith(
        f"--output_dir {folder} holds an earlier run that was started with another --seed; resume it with "
        "--resume_from_checkpoint last, replace it with --overwrite_output_dir, or choose another folder"
    )
    assert (folder / "checkpoint-2" / "model.safetensors").read_bytes() == before


def test_changed_rows_are_not_mixed_into_the_interrupted_run(run_once, dropout_folder, tmp_path, monkeypatch):
    path = write_rows(tmp_path / "rows.jsonl", ROWS["summarize"])
    folder, changed = tmp_path / "run", {"summarize": (path, path)}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        run_once("run_summarize", *arguments(dropout_folder, changed, folder))
    write_rows(tmp_path / "rows.jsonl", ROWS["summarize"][::-1])
    result = run_once("run_summarize", *arguments(dropout_folder, changed, folder))
    assert result.code == 2
    assert result.error.startswith(f"{folder}/checkpoint-2 was trained on other rows, or rows in another order, than those")
    write_rows(tmp_path / "rows.jsonl", ROWS["summarize"])
    assert run_once("run_summarize", *arguments(dropout_folder, changed, folder)).code == 0


# Each task with another way of making batches.
TASKS = {
    "generate": ("--tokens_per_batch", 0, "--per_device_train_batch_size", 2),
    "summarize": ("--tokens_per_batch", 64),
    "nli": ("--tokens_per_batch", 0, "--train_sampling_strategy", "group_by_length", "--per_device_train_batch_size", 2),
    "qa": ("--per_device_train_batch_size", 1, "--gradient_accumulation_steps", 2, "--metric_for_best_model", "f1"),
    "scratch": ("--tokens_per_batch", 24),
    "scratch muon": ("--tokens_per_batch", 24, "--optim", "muon", "--architecture", "qwen3"),
}


@pytest.mark.parametrize("task", quick(TASKS, "summarize", "scratch muon"))
def test_ended_by_sigterm_the_same_command_goes_on(run_once, kogpt2_folder, files, tmp_path, monkeypatch, task):
    flags, task = TASKS[task], task.split()[0]
    train, validation = files["generate" if task == "scratch" else task]
    base = ("--model", kogpt2_folder)
    if task == "scratch":
        base = ("--model_size", "mini", "--vocab_size", 700, "--n_positions", 64)
    if task in ("generate", "scratch"):
        base = (*base, "--num_samples", 1)

    def run(folder):
        return run_once(
            f"run_{task}", *base, "--train_file", train, "--validation_file", validation, "--output_dir", folder,
            "--max_new_tokens", 8, "--num_train_epochs", 3, "--learning_rate", 0.01, "--dropout", 0.2, *flags,
        )  # fmt: skip

    assert run(tmp_path / "whole").code == 0
    folder = tmp_path / "run"
    for step in (2, 3):  # the second time in the middle of another epoch
        with monkeypatch.context() as patch:
            interrupt_at(patch, step, signal.SIGTERM)
            ended = run(folder)
        assert ended.code == 143, ended.stderr
        assert ended.error.startswith("ended by SIGTERM at step ")
    finished = run(folder)
    assert finished.code == 0, finished.stderr
    assert f"resuming from {folder}/checkpoint-" in finished.stderr
    expected, found = load_file(tmp_path / "whole" / "model.safetensors"), load_file(folder / "model.safetensors")
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    for name in ("tokenizer.json", "predictions.jsonl"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    again = run(folder)
    assert again.code == 2
    assert again.error.startswith(f"--output_dir {folder} holds an earlier run; resume it with")


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
    for more in ((), ("--resume_from_checkpoint", "last"), ("--resume_from_checkpoint", folder / "checkpoint-2")):
        result = run_once("run_summarize", *arguments(dropout_folder, files, folder, *more))
        assert result.code == 2
        assert "checkpoint-2" in result.error
        assert "model.safetensors has 100 bytes" in result.error
        assert "restart with --overwrite_output_dir" in result.error


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "trainer_state.json"])
def test_from_a_damaged_checkpoint_the_run_falls_back_to_the_one_before(
    run_once, dropout_folder, files, whole, tmp_path, monkeypatch, name
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6)  # checkpoint-4 is the first epoch's
        run_once("run_summarize", *arguments(dropout_folder, files, folder))
    path = folder / "checkpoint-6" / name
    path.write_bytes(path.read_bytes()[:-20])
    finished = run_once("run_summarize", *arguments(dropout_folder, files, folder))
    assert finished.code == 0, finished.stderr
    assert f"{folder}/checkpoint-6 is skipped: {name} has " in finished.stderr
    assert f"resuming from {folder}/checkpoint-4" in finished.stderr
    expected, found = load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint_and_no_result(
    run_once, dropout_folder, files, tmp_path, monkeypatch
):
    compute_loss, seen = CompletionTrainer.compute_loss, []

    def lost(self, model, *args, **kwargs):
        seen.append(model.training)  # evaluations come through here, too
        return compute_loss(self, model, *args, **kwargs) * (float("nan") if seen.count(True) == 6 else 1)

    monkeypatch.setattr(CompletionTrainer, "compute_loss", lost)
    folder = tmp_path / "run"
    result = run_once("run_summarize", *arguments(dropout_folder, files, folder))
    assert result.code == 2
    assert re.match(r"the loss is not a finite number at step 6 \(rows train-\d, train-\d\); ", result.error)
    assert f"the last good checkpoint is {folder}/checkpoint-4;" in result.error
    assert not (folder / "model.safetensors").exists()


def test_a_disk_that_fills_up_while_saving(run_once, dropout_folder, files, whole, tmp_path, monkeypatch):
    # A limit to the size of a file is the nearest to a full disk that a process may set for itself.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    training_step, seen, folder = CompletionTrainer.training_step, [], tmp_path / "run"

    def filling(self, *args, **kwargs):
        seen.append(1)
        if len(seen) == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        return training_step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CompletionTrainer, "training_step", filling)
        try:
            result = run_once("run_summarize", *arguments(dropout_folder, files, folder))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.code == 2
    assert result.error.startswith(f"{folder}/checkpoint-8 could not be written (")
    assert f"make room, and the same command resumes from {folder}/checkpoint-4, which is complete" in result.error
    assert not (folder / "checkpoint-8").exists()
    finished = run_once("run_summarize", *arguments(dropout_folder, files, folder))
    assert finished.code == 0, finished.stderr
    expected, found = load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_folder_that_is_closed_to_us_half_way(run_once, dropout_folder, files, tmp_path, monkeypatch):
    makedirs, folder = os.makedirs, tmp_path / "run"

    def closed(path, *args, **kwargs):
        if str(path).endswith("checkpoint-8"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        makedirs(path, *args, **kwargs)

    monkeypatch.setattr(os, "makedirs", closed)  # tests may run as root, whom no mode keeps out
    result = run_once("run_summarize", *arguments(dropout_folder, files, folder))
    assert result.code == 2
    assert result.error.startswith(f"{folder}/checkpoint-8 could not be written ({folder}/checkpoint-8: Read-only file")
    assert (folder / "checkpoint-4" / "complete.json").is_file()


def test_the_documented_commands_do_what_they_are_said_to(run_once, kogpt2_folder, files, tmp_path, monkeypatch):
    commands = documented(ROOT / "docs" / "training.md", "--resume_from_checkpoint")
    assert [command[:2] for command in commands] == [["python", "scripts/run_nli.py"]] * 3
    train, validation = files["nli"]

    def run(command):
        values = {"skt/kogpt2-base-v2": kogpt2_folder, "outputs/nli": tmp_path / "nli"}
        small = ("--train_file", train, "--validation_file", validation, "--max_new_tokens", 8, "--logging_steps", 1)
        return run_once("run_nli", *(values.get(word, word) for word in command[2:]), *small)

    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, signal.SIGTERM)
        assert run(commands[0]).code == 143
    gone_on = run(commands[0])
    assert gone_on.code == 0, gone_on.stderr
    assert "resuming from" in gone_on.stderr
    for command, steps in zip(commands[1:], (5, 3)):
        assert run(command).code == 0
        assert json.loads((tmp_path / "nli" / "trainer_state.json").read_text("utf-8"))["global_step"] == steps
