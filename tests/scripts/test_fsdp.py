"""FSDP on two processes, as on two GPUs, with gloo in place of nccl: the documented commands and files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.conftest import ROOT
from tests.helpers.docs import commands
from tests.helpers.launching import ENVIRONMENT, LAUNCHER, furthest, launch_runs, run_of, scores
from tests.scripts.conftest import read_json

pytestmark = pytest.mark.slow  # three runs of two processes

CONFIG = "configs/accelerate/fsdp.yaml"
FULL, SHARDED = ({"FSDP_STATE_DICT_TYPE": f"{kind}_STATE_DICT"} for kind in ("FULL", "SHARDED"))


@pytest.fixture(scope="module")
def runs(kogpt2_folder, files, tmp_path_factory) -> Path:
    """plain; whole, with dropout and chosen by the task's metric; resumed, the second half of whole."""
    folder = tmp_path_factory.mktemp("fsdp")
    chosen = ("--dropout", 0.1, "--metric_for_best_model", "accuracy")
    printed = launch_runs(
        CONFIG,
        run_of(kogpt2_folder, files, folder / "plain"),
        run_of(kogpt2_folder, files, folder / "whole", *chosen),
        run_of(kogpt2_folder, files, folder / "resumed", *chosen, "--resume_from_checkpoint", folder / "whole/checkpoint-2"),
    )
    assert printed.count("everything is in") == 3  # once a run, not once a process
    return folder


def test_it_learns_what_one_process_does(runs, run_once, kogpt2_folder, files, tmp_path):
    alone = run_of(kogpt2_folder, files, tmp_path / "alone", "--per_device_train_batch_size", 4)["argv"][1:]
    result = run_once("run_nli", *alone)
    assert result.code == 0, result.stderr
    assert furthest(runs / "plain", tmp_path / "alone") < 1e-4
    assert furthest(runs / "plain", Path(kogpt2_folder)) > 1e-2
    sharded, single = (read_json(folder / "all_results.json") for folder in (runs / "plain", tmp_path / "alone"))
    assert sharded["eval_loss"] == pytest.approx(single["eval_loss"], abs=1e-4)
    assert torch.allclose(scores(runs / "plain"), scores(tmp_path / "alone"), atol=1e-3)
    state = read_json(runs / "plain" / "trainer_state.json")
    assert state["global_step"] == 4  # 8 rows, 2 on each of 2 processes


def test_the_saved_folder_answers_the_same_in_one_process(runs, run_once, files, tmp_path):
    result = run_once("evaluate_model", runs / "plain", "--validation_file", files["nli"][1], "--output_dir", tmp_path / "e")
    assert result.code == 0, result.stderr
    assert torch.allclose(scores(tmp_path / "e"), scores(runs / "plain"), atol=1e-4)
    assert (
        read_json(tmp_path / "e" / "all_results.json")["accuracy"] == read_json(runs / "plain/all_results.json")["accuracy"]
    )
    config = read_json(runs / "plain" / "config.json")
    assert config["architectures"] == ["GPT2LMHeadModel"]  # not the sharded class
    weights = load_file(runs / "plain" / "model.safetensors")
    assert "lm_head.weight" not in weights  # tied to the embedding, and written once
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_resumed_it_ends_where_the_whole_run_does(runs):
    # With dropout and shuffling on: weights, optimizer, order and each process' random numbers come back.
    assert furthest(runs / "resumed", runs / "whole") == 0.0
    assert furthest(runs / "plain", runs / "whole") > 1e-4  # dropout was on


def test_a_checkpoint_loads_without_fsdp(runs):
    model = AutoModelForCausalLM.from_pretrained(runs / "whole" / "checkpoint-2")
    assert torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight)


def test_the_best_checkpoint_by_a_metric_that_predicts_in_the_middle_of_training(runs):
    state = read_json(runs / "whole" / "trainer_state.json")
    measured = [entry["eval_accuracy"] for entry in state["log_history"] if "eval_accuracy" in entry]
    assert len(measured) == 2
    assert state["best_metric"] == max(measured)
    assert furthest(Path(state["best_model_checkpoint"]), runs / "whole") == 0.0


@pytest.mark.parametrize("direction", ["fsdp to one process", "one process to fsdp"])
def test_a_checkpoint_of_the_other_kind_is_named(
    runs, run_script, finished, kogpt2_folder, files, tmp_path, monkeypatch, direction
):
    if direction == "fsdp to one process":
        flags = run_of(kogpt2_folder, files, tmp_path / "x", "--resume_from_checkpoint", runs / "whole/checkpoint-2")["argv"]
        result = run_script("run_nli", *flags[1:])
        assert (result.code, result.error) == (
            2,
            f"{runs}/whole/checkpoint-2 was written under FSDP; resume it under FSDP: accelerate launch "
            "--config_file configs/accelerate/fsdp.yaml scripts/...",
        )
    else:
        from tasks.errors import UserError
        from tasks.training.sharding import check_checkpoint

        with pytest.raises(UserError, match=r"checkpoint-\d+ was written without FSDP; resume it without"):
            check_checkpoint(str(next(finished("nli").glob("checkpoint-*"))), fsdp=True)


@pytest.mark.slow
def test_sharded_checkpoints_and_half_precision(runs, kogpt2_folder, files, tmp_path):
    chosen = ("--dropout", 0.1, "--metric_for_best_model", "accuracy")
    launch_runs(
        CONFIG,
        run_of(kogpt2_folder, files, tmp_path / "sharded", *chosen, **SHARDED),
        run_of(
            kogpt2_folder, files, tmp_path / "resumed", *chosen, "--resume_from_checkpoint",
            tmp_path / "sharded/checkpoint-2", **SHARDED,
        ),
        run_of(
            kogpt2_folder, files, tmp_path / "half", "--bf16", "--gradient_checkpointing", "--tokens_per_batch", 64, **FULL
        ),
    )  # fmt: skip
    assert (tmp_path / "sharded/checkpoint-2/pytorch_model_fsdp_0/.metadata").is_file()
    assert furthest(tmp_path / "sharded", runs / "whole") == 0.0
    assert furthest(tmp_path / "resumed", runs / "whole") == 0.0
    half = load_file(tmp_path / "half" / "model.safetensors")
    assert {weight.dtype for weight in half.values()} == {torch.float32}
    # The loss is handed over in float32: in bfloat16 it would be one of 256 values between 4 and 8.
    loss = torch.tensor(read_json(tmp_path / "half/all_results.json")["eval_loss"])
    assert loss.to(torch.bfloat16).item() != loss.item()


DOCUMENTED = commands(ROOT / "docs" / "gpus.md", "accelerate launch")


def test_there_is_a_command_for_one_machine_and_one_for_several():
    assert ["--machine_rank" in words for words in DOCUMENTED] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_documented_command(kogpt2_folder, files, tmp_path, number):
    words = DOCUMENTED[number][2:]
    own = ["--num_processes", "2", "--main_process_port", "29571"]
    small = ["--model", kogpt2_folder, "--train_file", files["generate"][0], "--validation_file", files["generate"][1],
             "--output_dir", tmp_path / "run", "--max_new_tokens", "12", "--num_train_epochs", "1"]  # fmt: skip
    # The last of two flags wins; those of accelerate stand in front of the script.
    script = next(i for i, word in enumerate(words) if word.startswith("scripts/"))
    machines = ["0", "1"] if "--machine_rank" in words else [None]
    started = []
    for machine in machines:
        mine = own if machine is None else [*own, "--machine_rank", machine, "--main_process_ip", "127.0.0.1"]
        command = [*LAUNCHER, *words[:script], *mine, *words[script:], *map(str, small)]
        with open(tmp_path / f"log-{machine}", "w", encoding="utf-8") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT))
    codes = [process.wait(timeout=900) for process in started]
    outputs = [path.read_text("utf-8") for path in tmp_path.glob("log-*")]
    assert codes == [0] * len(started), outputs
    assert sum(output.count("everything is in") for output in outputs) == 1
    AutoModelForCausalLM.from_pretrained(tmp_path / "run")
