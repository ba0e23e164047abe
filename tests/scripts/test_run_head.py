"""``--head`` through the command line: trained, resumed, merged, measured, published, and read by stock programs."""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import pipeline

from tasks.training.trainer import CompletionTrainer
from tests.scripts.conftest import read_json, read_jsonl
from tests.scripts.test_resume import interrupt_at

RUN = ("--num_train_epochs", 4, "--per_device_train_batch_size", 2, "--tokens_per_batch", 0, "--learning_rate", 0.01)


def arguments(model, files, task, output, *more):
    train, validation = files[task]
    mapped = ("--column_map", "text=text,text_pair=text_pair") if task == "classify" else ()
    data = ("--train_file", train, "--validation_file", validation)
    return ("--model", model, *data, *mapped, "--output_dir", output, "--head", *RUN, *more)


@pytest.fixture(scope="module", params=["classify", "nli"])
def tuned(request, run_once, kogpt2_folder, files, tmp_path_factory):
    """The task, and what its run leaves."""
    folder = tmp_path_factory.mktemp("heads") / request.param
    result = run_once(f"run_{request.param}", *arguments(kogpt2_folder, files, request.param, folder))
    assert result.code == 0, result.stderr
    return request.param, folder


def test_a_stock_pipeline_takes_the_folder(tuned, files):
    task, folder = tuned
    config, run = read_json(folder / "config.json"), read_json(folder / "task.json")
    labels = ["공원", "도서관"] if task == "classify" else ["entailment", "neutral", "contradiction"]
    assert config["architectures"] == ["GPT2ForSequenceClassification"]
    assert config["id2label"] == {str(n): label for n, label in enumerate(labels)}
    assert config["label2id"] == {label: n for n, label in enumerate(labels)}
    assert (config["pad_token_id"], run["head"], list(run["label_words"])) == (3, True, labels)
    rows = read_jsonl(Path(files[task][1]))
    names = ("text", "text_pair") if task == "classify" else ("premise", "hypothesis")
    inputs = [dict(zip(("text", "text_pair"), (row[name] for name in names))) for row in rows]
    classifier = pipeline("text-classification", model=str(folder))
    answers = [classifier(each, top_k=None) for each in inputs]
    expected = read_jsonl(folder / "predictions.jsonl")
    assert [answer[0]["label"] for answer in answers] == [row["prediction"] for row in expected]
    for answer, row in zip(answers, expected):
        for each in answer:
            assert each["score"] == pytest.approx(math.exp(row["scores"][each["label"]]), abs=1e-4)
    assert len({row["prediction"] for row in expected}) > 1


def test_it_is_measured_and_predicted_as_the_run_did(tuned, files, run_script, tmp_path):
    task, folder = tuned
    result = run_script("evaluate_model", folder, "--validation_file", files[task][1], "--output_dir", tmp_path / "out")
    assert result.code == 0, result.stderr
    own, again = read_json(folder / "all_results.json"), read_json(tmp_path / "out" / "all_results.json")
    assert again["confusion_matrix"] == own["confusion_matrix"]
    result = run_script("predict", folder, "--input_file", files[task][1], "--output_file", tmp_path / "answers.jsonl")
    assert result.code == 0, result.stderr
    for found, expected in zip(read_jsonl(tmp_path / "answers.jsonl"), read_jsonl(folder / "predictions.jsonl")):
        assert found["prediction"] == expected["prediction"]
        assert found["probability"] == max(found["probabilities"].values())
        assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_its_card_says_what_it_is_and_stock_loads_what_is_published(tuned, run_script):
    task, folder = tuned
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "text-classification"
    assert "A classification head answers at the last token: " in card.text
    said = io.StringIO()
    (code,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert 'pipeline("text-classification"' in code
    with contextlib.redirect_stdout(said):
        exec(re.sub(r'model=".*?"', f"model={str(folder)!r}", code), {"__name__": "__main__"})
    assert said.getvalue().split(", ")[0].split()[0] in read_json(folder / "task.json")["label_words"]
    if task == "classify":  # stock transformers loads it in a process of its own, which takes seconds
        result = run_script("publish", folder, "--repo_id", "me/x", "--license", "mit", "--dry_run")
        assert result.code == 0, result.stderr
        assert "pipeline_tag: text-classification" in result.stdout


def test_an_interrupted_run_goes_on_as_if_never_interrupted(tuned, files, kogpt2_folder, run_once, tmp_path, monkeypatch):
    task, whole = tuned
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6)
        result = run_once(f"run_{task}", *arguments(kogpt2_folder, files, task, tmp_path / "run"))
    assert result.code == 130
    again = run_once(f"run_{task}", *shlex.split(result.error.rpartition("resume with: ")[2])[2:])
    assert again.code == 0, again.stderr
    expected, found = load_file(whole / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert "score.weight" in found
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_an_adapter_is_merged_with_its_head(files, kogpt2_folder, run_script, tmp_path):
    lora = ("--lora_r", 4, "--merge_adapter")
    result = run_script("run_classify", *arguments(kogpt2_folder, files, "classify", tmp_path / "run", *lora))
    assert result.code == 0, result.stderr
    checkpoint = next((tmp_path / "run").glob("checkpoint-*"))
    saved = load_file(checkpoint / "adapter_model.safetensors")
    assert any("score" in name for name in saved)
    classifier = pipeline("text-classification", model=str(tmp_path / "run"))
    for row, expected in zip(read_jsonl(Path(files["classify"][1])), read_jsonl(tmp_path / "run" / "predictions.jsonl")):
        answer = classifier({"text": row["text"], "text_pair": row["text_pair"]}, top_k=None)
        assert answer[0]["label"] == expected["prediction"]
        assert answer[0]["score"] == pytest.approx(math.exp(expected["scores"][answer[0]["label"]]), abs=1e-3)


def test_a_dry_run_shows_the_label(files, kogpt2_folder, run_script, tmp_path):
    result = run_script("run_nli", *arguments(kogpt2_folder, files, "nli", tmp_path / "run", "--dry_run"))
    assert result.code == 0, result.stderr
    assert "비가 온다.<nli>[[참]]" in result.stdout.replace(" <nli>", "<nli>")


@pytest.mark.parametrize(
    ("script", "flags", "message"),
    [
        ("run_qa", (), "--head: qa has no labels; leave it out"),
        ("run_classify", ("--label_form", "words"), "--label_form: with --head no label is written; leave one of them out"),
        ("run_classify", ("--label_words", "0=a"), "--label_words: with --head no label is written; leave one of them out"),
        ("run_nli", ("--label_smoothing_factor", 0.1), "--label_smoothing_factor: not with --head; leave one of them out"),
        ("run_nli", ("--lora_r", 4), "--lora_r with --head: an adapter alone does not hold the labels; add --merge_adapter"),
    ],
)
def test_what_does_not_go_with_it(run_script, script, flags, message):
    result = run_script(script, "--sample_data", "--head", *flags)
    assert (result.code, result.error) == (2, message)


def test_not_where_the_model_is_sharded(files, kogpt2_folder, run_script, tmp_path, monkeypatch):
    plain = CompletionTrainer.create_accelerator_and_postprocess

    def sharded(self):
        plain(self)
        self.is_fsdp_enabled = True

    monkeypatch.setattr(CompletionTrainer, "create_accelerator_and_postprocess", sharded)
    result = run_script("run_nli", *arguments(kogpt2_folder, files, "nli", tmp_path / "run"))
    assert (result.code, result.error) == (2, "--head: not with FSDP or DeepSpeed; leave one of them out")
