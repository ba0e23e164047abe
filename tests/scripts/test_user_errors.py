"""Mistakes of the user: exit code 2, one line that says what and where, before training, with nothing damaged."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.conftest import gpt2, write_rows
from tests.scripts.conftest import ROWS

GOOD = {task: [json.dumps(row, ensure_ascii=False) for row in rows] for task, rows in ROWS.items()}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def refused(run_script, kogpt2_folder, files, tmp_path):
    """Run a task that has to be refused; returns the error. ``None`` takes a default argument away."""

    def run(task: str, **changes) -> str:
        train, validation = files[task]
        out = tmp_path / "out"
        arguments = {
            "model": kogpt2_folder, "train_file": train, "validation_file": validation, "output_dir": out,
            "max_new_tokens": 12, "num_train_epochs": 1,
        } | changes  # fmt: skip
        flags = [f"--{name}={value}" for name, value in arguments.items() if value is not None]
        result = run_script(f"run_{task}", *flags)
        assert result.code == 2, result.stderr
        assert "trained" not in result.stdout  # nothing was trained
        if "output_dir" not in changes:
            assert not out.exists() or list(out.iterdir()) == []
        return result.error

    return run


def file_of(tmp_path: Path, name: str, content: str | bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def rows_and(task: str, **change) -> str:
    """Four good rows, and as the fifth the first one with a change."""
    rows = [*ROWS[task][:4], {**ROWS[task][0], **change}]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("task", "name", "content", "message"),
    [
        ("nli", "empty.jsonl", "", "empty.jsonl is empty; give a file that has rows"),
        ("nli", "blank.jsonl", "\n\n", "blank.jsonl holds no rows"),
        ("nli", "bad.jsonl", GOOD["nli"][0] + "\n{\n", "bad.jsonl line 2: not valid JSON"),
        ("nli", "cut.json", "[" + GOOD["nli"][0], "cut.json line 1: not valid JSON"),
        ("nli", "header.csv", "premise,hypothesis,label\n", "header.csv holds no rows"),
        ("nli", "cells.csv", "premise,hypothesis,label\na,b,0\na,b\n", "cells.csv line 3: 2 cells, but the header has 3"),
        ("nli", "no.csv", "premise,claim,label\na,b,0\n", "no column 'hypothesis'", ),
        ("nli", "names.csv", "premise,claim,label\na,b,0\n", "the columns there are premise, claim, label"),
        ("nli", "x.docx", "x", "x.docx: the file type is not known; those that are read: .csv, .tsv, .xlsx, .json"),
        ("nli", "x.txt", "x\n", "x.txt: a txt file has one column, and the task nli needs premise, hypothesis, label"),
        ("nli", "a.jsonl", rows_and("nli", label="maybe"), "a.jsonl line 5: unknown label 'maybe'; known are"),
        ("nli", "b.jsonl", rows_and("nli", label=7), "b.jsonl line 5: unknown label '7'; known are entailment, neutral"),
        ("nli", "c.jsonl", rows_and("nli", premise=" "), "c.jsonl line 5: column 'premise' is empty"),
        ("nli", "d.jsonl", rows_and("nli", premise=None), "d.jsonl line 5: column 'premise' is empty"),
        ("summarize", "a.jsonl", rows_and("summarize", summary=""), "a.jsonl line 5: column 'summary' is empty"),
        ("summarize", "b.jsonl", rows_and("summarize", summary=True), "b.jsonl line 5: column 'summary' holds true/false"),
        ("summarize", "c.jsonl", rows_and("summarize", document="가\0나"), "c.jsonl line 5: column 'document' holds a NUL"),
        ("qa", "a.jsonl", rows_and("qa", answers={"text": ["없다"], "answer_start": [0]}),
         "a.jsonl line 5: the answer '없다' is not in its context"),
        ("qa", "b.jsonl", rows_and("qa", answers={"text": [], "answer_start": []}), "b.jsonl line 5: the row has no answer"),
        ("qa", "c.jsonl", rows_and("qa", question=""), "c.jsonl line 5: column 'question' is empty"),
        ("generate", "a.txt", b"\xea\xb0\x80\n\xea\xb0\n", "a.txt line 2: the file is neither UTF-8 nor Korean CP949"),
        ("generate", "b.jsonl", rows_and("generate", text="  "), "b.jsonl line 5: column 'text' is empty"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_mistake_in_the_data_names_file_and_row(refused, tmp_path, task, name, content, message, split):
    path = file_of(tmp_path, name, content)
    assert f"{Path(path).parent}/" in (error := refused(task, **{f"{split}_file": path}))
    assert message in error


def test_a_missing_file_names_what_is_like_it(refused, tmp_path):
    file_of(tmp_path, "trains.csv", "x")
    assert refused("nli", train_file=tmp_path / "train.csv") == (
        f"there is no file {tmp_path}/train.csv; did you mean {tmp_path}/trains.csv?"
    )


def test_a_folder_is_no_file(refused, tmp_path):
    assert refused("nli", train_file=tmp_path).startswith(f"{tmp_path} is a folder without a file that is read")


def test_too_few_rows_to_set_some_aside(refused, tmp_path):
    path = write_rows(tmp_path / "one.jsonl", ROWS["nli"][:1])
    error = refused("nli", train_file=path, validation_file=None)
    assert error.startswith("the rows of train (1) hold one 'premise' between them, and validation needs one of its own")


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("nli", {"sample_data": True}, "--sample_data and --train_file and --validation_file cannot go together"),
        ("nli", {"train_file": None}, "there are no rows to train on; give --train_file beside --validation_file"),
        ("nli", {"column_map": "claim=x"}, "--column_map claim=x: the task nli has no column 'claim'"),
        ("nli", {"column_map": "premise=x"}, "no column 'x', which --column_map gives for 'premise'"),
        ("nli", {"validation_split": 2}, "--validation_split is 2.0; it must be between 0 and 1"),
        ("nli", {"max_train_samples": 0}, "--max_train_samples is 0; it must be 1 or more"),
        ("nli", {"max_length": 129}, "--max_length is 129; this model reads from 2 to 128 tokens"),
        ("nli", {"max_new_tokens": 128}, "max_new_tokens 128 leaves no room for a prompt within max_length 128"),
        ("nli", {"max_new_tokens": 0}, "--max_new_tokens is 0; it must be 1 or more"),
        ("nli", {"max_length": 16}, "tokens that may not be cut, and 4 fit; shorten it, or change --max_length (now 16)"),
        ("qa", {"max_length": 16}, "row validation-0: the prompt has"),
        ("nli", {"learning_rat": 1}, "unknown argument --learning_rat; did you mean --learning_rate?"),
        ("nli", {"learning_rate": "fast"}, "invalid float value: 'fast'; see --help"),
        ("nli", {"eval_strategy": "often"}, "often is not a valid IntervalStrategy"),
        ("nli", {"metric_for_best_model": "f1"}, "--metric_for_best_model f1: nli measures loss, accuracy, macro_f1"),
        ("qa", {"metric_for_best_model": "eval_rougeL"}, "--metric_for_best_model rougeL: qa measures loss, f1"),
        ("nli", {"early_stopping_patience": 2, "eval_strategy": "no"}, "--early_stopping_patience needs evaluations"),
        ("nli", {"config": "nowhere.yaml"}, "--config nowhere.yaml: no such file"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_arguments_is_named(refused, task, changes, message):
    assert message in refused(task, **changes)


def test_without_the_network_the_ways_out_are_named(refused):
    error = refused("nli", train_file=None, validation_file=None)
    assert error.startswith("the dataset klue/klue could not be reached")
    assert "--sample_data" in error
    assert "--train_file" in error


def test_a_model_that_cannot_be_reached_is_named(refused):
    assert refused("nli", model="skt/no-such-model").startswith("skt/no-such-model: no such folder here, and the Hub cannot")


def test_a_model_folder_that_is_not_there(refused, tmp_path):
    assert refused("nli", model=tmp_path / "nowhere") == f"--model {tmp_path}/nowhere: no such folder; check the path"


def test_an_empty_model_folder(refused, tmp_path):
    (tmp_path / "model").mkdir()
    assert refused("nli", model=tmp_path / "model").startswith(f"{tmp_path}/model: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer could be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 64), "model.safetensors is damaged or cut off"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'), "bert reads in both directions"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "t5"}'), "t5 is no causal language model"),
    ],
)
def test_a_damaged_model_folder_is_named(refused, kogpt2_folder, tmp_path, change, message):
    folder = tmp_path / "model"
    shutil.copytree(kogpt2_folder, folder)
    change(folder)
    error = refused("nli", model=folder)
    assert str(folder) in error
    assert message in error


def test_a_tokenizer_that_loses_korean_is_refused(refused, tmp_path):
    words = {"</s>": 0, "<unk>": 1, "hello": 2}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "model"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    gpt2(3).save_pretrained(folder)
    assert refused("nli", model=folder).startswith(f"{folder}: this tokenizer loses Korean: '안녕하세요.")


@pytest.fixture
def earlier(finished, tmp_path):
    """A copy of a finished NLI run, to which nothing may happen."""
    folder = tmp_path / "earlier"
    shutil.copytree(finished("nli"), folder)
    return folder


def test_an_earlier_run_is_not_written_over(refused, earlier):
    before = snapshot(earlier)
    assert refused("nli", output_dir=earlier).startswith(f"--output_dir {earlier} holds an earlier run; resume it with")
    assert snapshot(earlier) == before


def test_another_tasks_run_is_not_written_over_even_when_asked(refused, earlier):
    before = snapshot(earlier)
    error = refused("qa", output_dir=earlier, overwrite_output_dir=True)
    assert error == f"--output_dir {earlier} holds a run of nli; choose another folder for qa"
    assert snapshot(earlier) == before


@pytest.mark.parametrize("changes", [{"train_file": "nowhere.jsonl"}, {"model": "/no/such"}, {"max_new_tokens": 500}])
def test_a_mistake_leaves_the_run_that_was_to_be_replaced(refused, earlier, changes):
    before = snapshot(earlier)
    refused("nli", output_dir=earlier, overwrite_output_dir=True, **changes)
    assert snapshot(earlier) == before


def test_an_earlier_run_is_replaced_when_asked(run_script, kogpt2_folder, files, earlier):
    train, validation = files["nli"]
    (earlier / "checkpoint-99").mkdir()
    result = run_script(
        "run_nli", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--output_dir", earlier,
        "--num_train_epochs", 1, "--overwrite_output_dir", "--seed", 3,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert json.loads((earlier / "all_results.json").read_text("utf-8"))["seed"] == 3
    assert not (earlier / "checkpoint-99").exists()
    assert not (earlier / "test_predictions.jsonl").exists()  # of the earlier run; this one had no --test_file


def test_an_output_folder_that_is_a_file(refused, tmp_path):
    path = file_of(tmp_path, "notes.md", "mine")
    assert refused("nli", output_dir=path) == f"--output_dir {path} is a file; name a folder"
    assert Path(path).read_text() == "mine"


def test_someone_elses_folder_is_not_written_to(refused, kogpt2_folder, tmp_path):
    folder = tmp_path / "theirs"
    shutil.copytree(kogpt2_folder, folder)
    before = snapshot(folder)
    assert "holds files that no run of this project wrote" in refused("nli", output_dir=folder)
    assert snapshot(folder) == before


def test_a_folder_that_is_closed_to_us(refused, tmp_path, monkeypatch):
    def closed(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", closed)  # tests may run as root, whom no mode keeps out
    error = refused("nli", output_dir=tmp_path / "closed")
    assert error == f"--output_dir {tmp_path}/closed: Permission denied; choose a folder that you may write to"


def test_a_disk_that_fills_up_at_the_end_keeps_the_model(run_script, kogpt2_folder, files, tmp_path, monkeypatch):
    fsync, out = os.fsync, tmp_path / "out"

    def full(descriptor):
        if "all_results" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    train, validation = files["nli"]
    result = run_script(
        "run_nli", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--output_dir", out,
        "--num_train_epochs", 1,
    )  # fmt: skip
    assert result.code == 2
    assert result.error.startswith(
        f"{out}/all_results.json: No space left on device; nothing there was changed; free some space"
    )
    names = {path.name for path in out.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "task.json", "predictions.jsonl"} <= names
    assert "all_results.json" not in names
    assert not [name for name in names if name.endswith(".tmp")]
