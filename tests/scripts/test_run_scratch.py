"""A tokenizer and a model from nothing, and a task trained on top of them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks import get_task
from tasks.model.new_model import GPT2_SIZES
from tasks.training import budget
from tests.conftest import CORPUS
from tests.scripts.conftest import read_json
from tests.scripts.test_resume import interrupt_at


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("".join(f"{line}\n" for line in CORPUS * 3), "utf-8")
    return path


@pytest.fixture(scope="module")
def scratch(run_once, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch") / "mini"
    result = run_once(
        "run_scratch", "--train_file", corpus, "--model_size", "mini", "--vocab_size", 700, "--n_positions", 64,
        "--num_train_epochs", 1, "--max_new_tokens", 8, "--output_dir", folder, "--num_samples", 1,
        "--validation_split", 0.2,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    return folder, result


def test_it_leaves_a_tokenizer_and_a_model_of_one_size(scratch):
    folder, result = scratch
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert model.get_input_embeddings().weight.shape == (len(tokenizer), GPT2_SIZES["mini"][1])
    assert len(tokenizer) <= 700
    assert model.config.n_layer == GPT2_SIZES["mini"][0]
    assert (model.config.n_positions, tokenizer.model_max_length) == (64, 64)
    assert model.config.eos_token_id == tokenizer.eos_token_id < len(tokenizer)
    if len(tokenizer) < 700:
        assert f"the corpus gave {len(tokenizer):,} tokens, fewer than the 700 asked for" in result.stdout


@pytest.mark.parametrize("text", ["안녕하세요. 한국어 GPT-2 입니다.", "뷁쉟퀣 漢字 😤 <0x41>", "둘\n줄", "<summarize> </s>"])
def test_no_text_is_lost_by_the_tokenizer(scratch, text):
    tokenizer = AutoTokenizer.from_pretrained(scratch[0])
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids


def test_results_name_what_was_made(scratch):
    folder, _ = scratch
    results = json.loads((folder / "all_results.json").read_text("utf-8"))
    assert (results["task"], results["base_model"]) == ("scratch", "GPT-2 mini from scratch")
    assert results["perplexity"] > 1
    assert json.loads((folder / "task.json").read_text("utf-8"))["separators"].keys() == {*get_task("scratch").separators}


def test_a_task_is_trained_on_top_and_takes_the_separator_that_is_there(scratch, run_script, files, tmp_path):
    folder, _ = scratch
    train, validation = files["summarize"]
    result = run_script(
        "run_summarize", "--model", folder, "--train_file", train, "--validation_file", validation, "--num_train_epochs", 1,
        "--max_new_tokens", 8, "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    base, tuned = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(base) == len(tuned)
    assert base.convert_tokens_to_ids("<summarize>") == tuned.convert_tokens_to_ids("<summarize>") != base.unk_token_id


def test_a_qwen3_is_a_base_model_like_any_other(run_script, corpus, files, tmp_path):
    made = run_script(
        "run_scratch", "--train_file", corpus, "--model_size", "mini", "--vocab_size", 700, "--n_positions", 64,
        "--architecture", "qwen3", "--optim", "muon", "--max_steps", 3, "--max_new_tokens", 8, "--num_samples", 1,
        "--output_dir", tmp_path / "base", "--validation_split", 0.2,
    )  # fmt: skip
    assert made.code == 0, made.stderr
    results = json.loads((tmp_path / "base" / "all_results.json").read_text("utf-8"))
    assert results["base_model"] == "Qwen3 mini from scratch"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "base").config.model_type == "qwen3"
    train, validation = files["nli"]
    tuned = run_script(
        "run_nli", "--model", tmp_path / "base", "--train_file", train, "--validation_file", validation,
        "--num_train_epochs", 1, "--padding_free", "--output_dir", tmp_path / "nli",
    )  # fmt: skip
    assert tuned.code == 0, tuned.stderr
    row = '{"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}\n'
    answered = run_script("predict", tmp_path / "nli", stdin=row)
    assert answered.code == 0, answered.stderr
    assert json.loads(answered.stdout)["prediction"] in ("entailment", "neutral", "contradiction")


def test_a_budget_is_decided_on_once_and_the_card_repeats_what_was(run_once, corpus, tmp_path, monkeypatch):
    run = {"tokens_per_batch": 100, "learning_rate": 0.004, "measured": [], "parameters": 600_000}
    monkeypatch.setattr(budget, "MEASURED_RUNS", {"mini": run})
    words = [
        "--train_file", corpus, "--vocab_size", 700, "--n_positions", 64, "--max_new_tokens", 8, "--num_samples", 1,
        "--validation_split", 0.2,
    ]  # fmt: skip
    hours = [*words, "--budget_hours", 0.25, "--output_dir", tmp_path / "run"]
    with monkeypatch.context() as patch:
        patch.setattr(budget, "tokens_per_second", lambda *args: 1.0)
        interrupt_at(patch, 3)
        stopped = run_once("run_scratch", *hours)
    assert stopped.code == 130 and "\n  mini: 1 tokens a second here\n" in stopped.stdout
    resumed = run_once("run_scratch", *hours)
    assert resumed.code == 0, resumed.stderr
    report, results = (read_json(tmp_path / "run" / name) for name in ("run_report.json", "all_results.json"))
    steps = results["train_steps"]
    chosen = f"model_size mini, tokens_per_batch 100, learning_rate 0.004, max_steps {steps}"
    assert f"--budget_hours 0.25: {chosen}\n  as decided when the run began\n" in resumed.stdout
    assert steps > 3 and (results["base_model"], results["train_learning_rate"]) == ("GPT-2 mini from scratch", 0.004)
    used = {"model_size": "mini", "tokens_per_batch": 100, "learning_rate": 0.004, "max_steps": steps}
    assert used.items() <= report["arguments"].items()
    flags = ["--model_size", "mini", "--tokens_per_batch", "100", "--learning_rate", "0.004", "--max_steps", str(steps)]
    assert f" {' '.join(flags)} --output_dir run" in report["command"] and "--budget" not in report["command"]
    repeated = run_once("run_scratch", *words, *flags, "--output_dir", tmp_path / "again")
    assert repeated.code == 0, repeated.stderr
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "again"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_vocabulary_without_room_is_refused(run_script, corpus, tmp_path):
    result = run_script("run_scratch", "--train_file", corpus, "--vocab_size", 300, "--output_dir", tmp_path / "out")
    assert result.code == 2
    assert result.error.startswith("--vocab_size 300 is too small")


def test_too_few_positions_are_refused(run_script, corpus, tmp_path):
    result = run_script("run_scratch", "--train_file", corpus, "--n_positions", 8, "--output_dir", tmp_path / "out")
    assert (result.code, result.error) == (2, "--n_positions is 8; it must be 16 or more")
