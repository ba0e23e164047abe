"""Streaming through the command line, on a corpus of a few rows."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tasks.model import new_model as scratch_tokenizer
from tasks.training.trainer import CompletionTrainer
from tests.conftest import ROOT, write_rows
from tests.scripts.conftest import read_json


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(2):
        rows = [{"text": f"{n} 민준이는 도서관에서 책을 빌렸다."} for n in range(number, 60, 2)]
        write_rows(folder / f"shard-{number}.jsonl", rows)
    return folder / "*.jsonl"


def flags(corpus, output, *more):
    return [
        "--train_file", corpus, "--streaming", "--max_eval_samples", 4, "--validation_split", 0.5, "--max_steps", 4,
        "--per_device_train_batch_size", 4, "--learning_rate", 0.01, "--max_new_tokens", 6, "--num_samples", 1,
        "--eval_strategy", "steps", "--eval_steps", 2, "--save_strategy", "steps", "--save_steps", 2,
        "--load_best_model_at_end", "false", "--output_dir", output, *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(run_once, kogpt2_folder, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = run_once("run_generate", "--model", kogpt2_folder, *flags(corpus, folder))
    assert result.code == 0, result.stderr
    return folder


def test_generate_streams_its_corpus_and_counts_what_it_read(whole):
    results = read_json(whole / "all_results.json")
    state = read_json(whole / "trainer_state.json")
    assert (results["rows"], state["global_step"]) == (4, 4)
    assert results["counts"]["train"]["tokens"] == state["num_input_tokens_seen"] > 0
    assert 16 <= results["counts"]["train"]["rows"] <= 4 * 4 + 100
    assert results["train_tokens_per_second"] > 0


def test_a_corpus_that_changed_since_is_noticed_on_resuming(run_once, kogpt2_folder, corpus, tmp_path):
    for path in corpus.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    folder, short = tmp_path / "run", ("--num_samples", 0)
    command = ("run_generate", "--model", kogpt2_folder, *flags(tmp_path / "shard-*.jsonl", folder, *short))
    assert run_once(*command).code == 0
    run = read_json(folder / "run.json")
    (folder / "run.json").write_text(json.dumps({**run, "finished": False}))  # as if it had been killed at its end
    text = (tmp_path / "shard-1.jsonl").read_text("utf-8")
    (tmp_path / "shard-1.jsonl").write_text(text.replace("책", "글", 1), "utf-8")
    assert run_once(*command).error == (
        f"{folder}/checkpoint-4 was trained on other rows, or rows in another order, than those given now; give the same "
        "again, name the checkpoint with --resume_from_checkpoint to resume all the same, or restart with "
        "--overwrite_output_dir"
    )


def test_a_loss_that_is_no_number_names_rows_of_the_stream(run_once, kogpt2_folder, corpus, tmp_path, monkeypatch):
    plain = CompletionTrainer.compute_loss
    monkeypatch.setattr(CompletionTrainer, "compute_loss", lambda self, *args, **more: plain(self, *args, **more) * math.nan)
    result = run_once("run_generate", "--model", kogpt2_folder, *flags(corpus, tmp_path / "run"))
    found = re.match(r"the loss is not a finite number at step 1 \(rows (.*?)\); nothing of that step", result.error)
    assert len(found[1].split(", ")) == 4
    assert all(re.search(r"shard-[01]\.jsonl", name) for name in found[1].split(", ")), found[1]


def test_a_resumed_stream_goes_on_where_it_was(run_once, kogpt2_folder, corpus, whole, tmp_path):
    folder, resume = tmp_path / "resumed", ("--resume_from_checkpoint", whole / "checkpoint-2")
    result = run_once("run_generate", "--model", kogpt2_folder, *flags(corpus, folder, *resume))
    assert result.code == 0, result.stderr
    expected, found = load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    before = load_file(whole / "checkpoint-2" / "model.safetensors")
    assert any(not torch.equal(before[name], found[name]) for name in before)


def test_scratch_streams_the_tokenizers_corpus_too_and_once(run_once, corpus, tmp_path, monkeypatch):
    trained = []
    train = scratch_tokenizer.train_tokenizer

    def counted(texts, *args):
        trained.append(len(kept := list(texts)))
        return train(kept, *args)

    monkeypatch.setattr(scratch_tokenizer, "train_tokenizer", counted)
    more = ("--model_size", "mini", "--vocab_size", 600, "--n_positions", 64)
    for name in ("first", "second"):
        result = run_once("run_scratch", *flags(corpus, tmp_path / name, *more))
        assert result.code == 0, result.stderr
        assert read_json(tmp_path / name / "all_results.json")["counts"]["train"]["rows"] >= 16
    assert trained == [60 - 4]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("first", "second")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("flag", [("--tokens_per_batch", 64), ("--dataloader_num_workers", 1)])
def test_what_a_stream_cannot_do_ends_with_one_line(run_once, kogpt2_folder, corpus, tmp_path, flag):
    result = run_once("run_generate", "--model", kogpt2_folder, *flags(corpus, tmp_path / "run", *flag))
    assert result.code == 2
    assert result.error.startswith(f"{flag[0]} does not go with --streaming: ")


def torchrun(script, *arguments, cache):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", f"scripts/{script}.py",
         *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(cache)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_stream_one_corpus(kogpt2_folder, corpus, tmp_path):
    done = torchrun("run_generate", "--model", kogpt2_folder, *flags(corpus, tmp_path / "run"), cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "run" / "all_results.json").read_text("utf-8"))["counts"]["train"]
    assert counts["rows"] >= 2 * 16


@pytest.mark.slow
def test_two_processes_prepare_once(kogpt2_folder, files, tmp_path):
    train, validation = files["nli"]
    done = torchrun(
        "run_nli", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--max_steps", 1,
        "--output_dir", tmp_path / "run", cache=tmp_path / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entries = [path for path in (tmp_path / "cache" / "korean-causal-lm-tasks").iterdir() if path.is_dir()]
    assert len(entries) == 1
