"""A copy for CTranslate2 answers as its run does, under the same commands, and says what it cannot do."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.errors import UserError
from tasks.inference import load
from tasks.inference.exported import export
from tasks.inference.generation import generate
from tasks.inference.predicting import load_predictor
from tasks.run_folder import file_sha256
from tests.scripts.conftest import ROWS, read_json, read_jsonl

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="ctranslate2 is not installed")


@pytest.fixture(scope="session")
def copied(run_once, finished, tmp_path_factory):
    """``copied("qa", "int8")``: the folder of a measured copy of that run, made once."""
    folders: dict[tuple[str, str], Path] = {}

    def folder_of(task: str, quantization: str = "float32") -> Path:
        if (task, quantization) not in folders:
            folder = tmp_path_factory.mktemp("copies") / f"{task}-{quantization}"
            result = run_once("export", finished(task), "--quantization", quantization, "--output_dir", folder)
            assert result.code == 0, result.stderr
            folders[task, quantization] = folder
        return folders[task, quantization]

    return folder_of


def opened(folder, **settings):
    return load_predictor(ModelArguments(model=str(folder)), GenerationArguments(**settings))


@pytest.mark.parametrize("task", ["nli", "qa", "generate", "classify"])
def test_evaluate_model_gives_the_figures_of_the_run(run_script, finished, copied, files, tmp_path, task):
    found = []
    for name, folder in (("run", finished(task)), ("copy", copied(task))):
        out = tmp_path / name
        arguments = ("--validation_file", files[task][1], "--output_dir", out, "--do_sample", "false")
        result = run_script("evaluate_model", folder, *arguments)
        assert result.code == 0, result.stderr
        found.append(read_jsonl(out / "predictions.jsonl"))
    assert len(found[0]) == 8
    for original, copy in zip(*found, strict=True):
        scores = original.pop("scores"), copy.pop("scores")
        assert original == copy
        assert scores[1] == pytest.approx(scores[0], abs=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 2, "max_new_tokens": 20},
        {"num_beams": 3},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_prompts_of_different_lengths_are_continued_as_by_the_run(finished, copied, settings):
    original, copy = (opened(folder, do_sample=False, **settings) for folder in (finished("generate"), copied("generate")))
    texts = ("민준이는 책을", "서연이는 공원에서 자전거를", "비가", "부산은 바다에 접한 도시이다", "날씨가")
    prompts = original.encoder.tokenize(texts)[0]
    assert len({len(prompt) for prompt in prompts}) > 2
    expected, written = (generate(p.model, p.encoder.tokenizer, prompts, p.settings, batch_size=4) for p in (original, copy))
    assert written == expected
    assert len({str(row) for row in expected}) > 1


def test_samples_depend_on_the_seed(copied):
    def write(seed):
        arguments = GenerationArguments(do_sample=True, top_k=0, top_p=1.0, max_new_tokens=20)
        model = ModelArguments(model=str(copied("generate")))
        copy = load_predictor(model, arguments, seed=seed, num_return_sequences=3)
        [texts] = generate(copy.model, copy.encoder.tokenizer, copy.encoder.tokenize(["서울은"])[0], copy.settings)
        return texts

    first = write(1)
    assert len({tuple(ids) for ids in first}) == 3
    assert write(1) == first
    assert write(2) != first


def test_an_answer_is_heard_while_it_is_written(copied):
    copy = opened(copied("generate"), do_sample=False)
    heard = []
    prompt = copy.encoder.tokenize(["서울은"])[0]
    tell = {"heard": lambda ids: heard.append(list(ids))}
    [[text]] = generate(copy.model, copy.encoder.tokenizer, prompt, copy.settings, **tell)
    assert len(text) > 1
    assert heard == [text[:end] for end in range(1, len(text) + 1)]


def test_int8_is_smaller_and_measured_beside_the_run(copied, finished, tmp_path):
    folder, run = copied("nli", "int8"), finished("nli")
    about = read_json(folder / "export.json")
    assert (about["format"], about["quantization"], about["run"]) == ("ctranslate2", "int8", "nli")
    assert about["run_weights_sha256"] == {"model.safetensors": file_sha256(run / "model.safetensors")}
    measured = about["measured"]
    assert (measured["rows"], measured["batch_size"]) == (8, 1)
    original, copy = measured["models"]["original"], measured["models"]["int8"]
    assert original["accuracy"] == read_json(run / "all_results.json")["accuracy"]
    assert original["same"] == 1
    assert copy["megabytes"] < 0.5 * original["megabytes"]
    assert (folder / "task.json").read_bytes() == (run / "task.json").read_bytes()


def test_predict_takes_it_and_an_adapter_is_merged(run_script, kogpt2_folder, files, tmp_path):
    train, validation = files["nli"]
    run = tmp_path / "adapter"
    flags = ("--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--output_dir", run)
    assert run_script("run_nli", *flags, "--lora_r", 4, "--num_train_epochs", 1, "--learning_rate", 0.05).code == 0
    result = run_script("export", run, "--quantization", "float32", "--no_measure")
    assert result.code == 0, result.stderr
    said = []
    for folder in (run, tmp_path / "adapter-float32"):
        result = run_script("predict", folder, "--input_file", validation, "--output_format", "jsonl")
        assert result.code == 0, result.stderr
        said.append([json.loads(line)["scores"] for line in result.stdout.splitlines()])
    assert len(said[0]) == len(ROWS["nli"])
    for original, copy in zip(*said, strict=True):
        assert copy == pytest.approx(original, abs=1e-3)


def test_it_is_loaded_from_python_too(finished, copied):
    row = {key: ROWS["nli"][0][key] for key in ("premise", "hypothesis")}
    original, copy = (load(str(folder))(row) for folder in (finished("nli"), copied("nli")))
    assert copy["prediction"] == original["prediction"]
    assert copy["probabilities"] == pytest.approx(original["probabilities"], abs=1e-3)


def test_a_copy_is_not_trained(run_script, copied, files):
    train, validation = files["nli"]
    result = run_script("run_nli", "--model", copied("nli"), "--train_file", train, "--validation_file", validation)
    assert result.code == 2
    assert result.error == f"--model {copied('nli')} is a copy for CTranslate2, which cannot be trained; name the run"


def test_a_measured_extractive_run_answers_freely(finished, copied, tmp_path, caplog):
    folder = tmp_path / "copy"
    shutil.copytree(copied("qa"), folder)
    task = read_json(folder / "task.json")
    (folder / "task.json").write_text(json.dumps(task | {"generation": task["generation"] | {"extractive": True}}))
    assert opened(folder).settings["extractive"] is False
    assert "answers freely" in caplog.text


@pytest.mark.parametrize("flag", ["--extractive", "--dtype=bfloat16", "--attn_implementation=eager"])
def test_flags_that_a_copy_cannot_honour_are_named(run_script, copied, files, flag):
    folder = copied("qa")
    result = run_script("predict", folder, "--input_file", files["qa"][1], flag)
    assert result.code == 2
    name = flag.partition("=")[0]
    assert (
        result.error == f"{name}: {folder} is a copy for CTranslate2, which cannot honour it; leave it out, or name the run"
    )


def test_bad_input_is_one_line(run_script, copied, finished, kogpt2_folder, tmp_path, monkeypatch):
    run, copy = finished("nli"), copied("nli", "int8")

    def refused(*arguments):
        result = run_script("export", *arguments)
        assert result.code == 2, result.stderr
        return result.error

    assert refused(kogpt2_folder) == f"{kogpt2_folder}: no task.json there; name the folder of a finished run"
    assert refused("me/nli").startswith("me/nli: no such folder; a run on the Hub has to be here: hf download me/nli")
    assert refused(copy) == f"{copy} is a copy already; name the run that it was made of"
    assert refused(run, "--output_dir", run) == f"--output_dir {run} holds other files; choose another folder"
    assert refused(run, "--format", "gguf").startswith("--format gguf is not written: llama.cpp splits text by rules of its")
    broken = tmp_path / "broken"
    shutil.copytree(copy, broken)
    (broken / "ctranslate2" / "model.bin").write_bytes(b"no model")
    result = run_script("predict", broken, "--prompt", "비가 온다.\t날씨가 맑다.")
    assert result.code == 2
    assert result.error.startswith(f"{broken}: the copy is damaged (")
    monkeypatch.setattr("tasks.inference.exported.find_spec", lambda name: None)
    assert refused(run) == "copies for CTranslate2 need its package; install it with: pip install -e '.[export]'"


def test_a_classification_head_is_refused(finished, tmp_path):
    original = opened(finished("nli"))
    torch.manual_seed(0)
    head = GPT2ForSequenceClassification(GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(UserError, match="a model with a classification head, which CTranslate2 cannot convert"):
        export(head, original.encoder.tokenizer, finished("nli"), tmp_path / "copy", "int8")
    assert list(tmp_path.iterdir()) == []
