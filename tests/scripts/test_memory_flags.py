"""Half precision and checkpointing on every path through the scripts, and how they end out of memory."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from tasks.training.trainer import CompletionTrainer
from tests.helpers.levels import quick
from tests.scripts.conftest import read_json

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB."
SMALL = ("--num_train_epochs", 1, "--max_new_tokens", 12, "--per_device_train_batch_size", 4)


def flags(task, folder, files, out, *more):
    train, validation = files["generate" if task == "scratch" else task]
    source = (
        ("--vocab_size", 500, "--model_size", "mini", "--n_positions", 128) if task == "scratch" else ("--model", folder)
    )
    return (*source, "--train_file", train, "--validation_file", validation, "--output_dir", out, *SMALL, *more)


def fail(*args, **kwargs):
    raise torch.OutOfMemoryError(CUDA)


@pytest.mark.parametrize("task", quick(["generate", "summarize", "nli", "qa", "scratch"], "nli", "scratch"))
def test_half_precision_and_checkpointing(run_once, kogpt2_folder, files, tmp_path, task):
    results = {}
    for name, more in {
        "plain": ("--tokens_per_batch", 80),
        "less": ("--bf16", "--gradient_checkpointing", "--tokens_per_batch", 80),
        "rows": ("--bf16", "--tokens_per_batch", 0, "--labelled_head", "false"),
    }.items():
        result = run_once(f"run_{task}", *flags(task, kogpt2_folder, files, tmp_path / name, *more))
        assert result.code == 0, result.stderr
        results[name] = read_json(tmp_path / name / "all_results.json")["eval_loss"]
        assert {weight.dtype for weight in load_file(tmp_path / name / "model.safetensors").values()} == {torch.float32}
    assert results["less"] == pytest.approx(results["plain"], abs=0.1)
    assert math.isfinite(results["rows"])  # other batches, so another loss
    assert results["less"] != results["plain"]  # it was not float32 after all


def test_half_of_the_other_kind_needs_a_gpu(run_script, kogpt2_folder, files, tmp_path):
    result = run_script("run_nli", *flags("nli", kogpt2_folder, files, tmp_path / "x", "--fp16"))
    assert (result.code, result.error) == (2, "--fp16 needs a GPU; on a CPU take --bf16, or neither of them for float32")


def test_out_of_memory_in_training_keeps_the_last_checkpoint(run_script, kogpt2_folder, files, tmp_path, monkeypatch):
    training_step = CompletionTrainer.training_step

    def step(self, *args, **kwargs):
        return fail() if self.state.global_step == 3 else training_step(self, *args, **kwargs)

    out = tmp_path / "run"
    arguments = flags("qa", kogpt2_folder, files, out, "--num_train_epochs", 2, "--tokens_per_batch", 0)
    with monkeypatch.context() as patch:
        patch.setattr(CompletionTrainer, "training_step", step)
        result = run_script("run_qa", *arguments)
    assert result.code == 2
    assert result.error == (
        f"out of memory while training ({CUDA}); what helps most: --per_device_train_batch_size 2 "
        f"--gradient_accumulation_steps 2, or --gradient_checkpointing, or --max_length 64; {out}/checkpoint-2 is kept: add "
        "--resume_from_checkpoint last"
    )
    resumed = run_script("run_qa", *arguments, "--resume_from_checkpoint", "last", "--gradient_checkpointing")
    assert resumed.code == 0, resumed.stderr
    assert read_json(out / "trainer_state.json")["global_step"] == 4


@pytest.mark.parametrize(
    ("script", "flag"), [("run_summarize", "--generation_batch_size"), ("evaluate_model", "--batch_size"),
                         ("predict", "--batch_size")],
)  # fmt: skip
def test_out_of_memory_in_predictions(run_script, finished, kogpt2_folder, files, tmp_path, monkeypatch, script, flag):
    folder = finished("summarize")
    given = {
        "run_summarize": flags("summarize", kogpt2_folder, files, tmp_path / "run", flag, 6),
        "evaluate_model": (folder, "--validation_file", files["summarize"][1], "--output_dir", tmp_path / "e", flag, 6),
        "predict": (folder, "--prompt", "민준이 책", flag, 6),
    }
    monkeypatch.setattr("tasks.inference.predicting.generate", fail)
    result = run_script(script, *given[script])
    assert result.code == 2
    assert result.error == (
        f"out of memory while predicting ({CUDA}); what helps most: {flag} 3, or --max_new_tokens 6, or --max_length 64"
    )
    if script == "run_summarize":
        assert (tmp_path / "run" / "model.safetensors").is_file()  # what was trained is saved by then


def test_a_model_that_does_not_fit_at_all(run_script, finished, monkeypatch):
    folder = finished("summarize")
    monkeypatch.setattr("transformers.PreTrainedModel.to", fail)
    result = run_script("predict", folder, "--prompt", "책")
    assert result.code == 2
    assert result.error.startswith(f"out of memory while loading ({CUDA}); what helps most: a smaller --model, or ")


def test_a_batch_that_fits_is_found_by_a_script(run_script, kogpt2_folder, files, tmp_path, monkeypatch):
    training_step = CompletionTrainer.training_step

    def step(self, model, inputs, *args, **kwargs):
        return fail() if len(inputs["input_ids"]) > 2 else training_step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(CompletionTrainer, "training_step", step)
    out = tmp_path / "run"
    result = run_script("run_nli", *flags("nli", kogpt2_folder, files, out, "--auto_find_batch_size"))
    assert result.code == 0, result.stderr
    assert read_json(out / "trainer_state.json")["train_batch_size"] == 2
    assert read_json(out / "all_results.json")["rows"] == 8
