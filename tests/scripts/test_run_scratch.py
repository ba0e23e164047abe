"""A tokenizer and a model from nothing, and a task trained on top of them."""

from __future__ import annotations

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks import get_task
from tasks.model.new_model import GPT2_SIZES
from tests.conftest import CORPUS


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


def test_a_vocabulary_without_room_is_refused(run_script, corpus, tmp_path):
    result = run_script("run_scratch", "--train_file", corpus, "--vocab_size", 300, "--output_dir", tmp_path / "out")
    assert result.code == 2
    assert result.error.startswith("--vocab_size 300 is too small")


def test_too_few_positions_are_refused(run_script, corpus, tmp_path):
    result = run_script("run_scratch", "--train_file", corpus, "--n_positions", 8, "--output_dir", tmp_path / "out")
    assert (result.code, result.error) == (2, "--n_positions is 8; it must be 16 or more")
