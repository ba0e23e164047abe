"""Adapters through the command line: trained, predicted with, measured, published."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.conftest import gpt2, kogpt2_tokenizer_json
from tests.scripts.conftest import read_json, read_jsonl
from tests.scripts.test_predict import Terminal

pytest_plugins = ["tests.helpers.hub_fixtures"]

LORA = ("--lora_r", 4, "--learning_rate", 0.05, "--num_train_epochs", 2)
ADAPTER = {
    "adapter_config.json", "adapter_model.safetensors", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "task.json", "all_results.json", "predictions.jsonl", "loss.png", "trainer_state.json", "README.md",
}  # fmt: skip
WHOLE = {"config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """KoGPT2's layout with room for the usage examples, and weights that depend on the whole prompt."""
    folder = tmp_path_factory.mktemp("models") / "my-kogpt2"
    text = kogpt2_tokenizer_json()
    # 64 wide, so that bitsandbytes could pack it on a CPU.
    gpt2(len(json.loads(text)["model"]["vocab"]), n_embd=64, n_positions=512, initializer_range=0.2).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def nli(files) -> tuple:
    train, validation = files["nli"]
    return "--train_file", train, "--validation_file", validation


@pytest.fixture(scope="module")
def tuned(run_once, base, nli, tmp_path_factory) -> Path:
    """What run_nli.py leaves of an adapter."""
    folder = tmp_path_factory.mktemp("runs") / "nli-lora"
    result = run_once("run_nli", "--model", base, *nli, *LORA, "--output_dir", folder)
    assert result.code == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def merged(run_once, base, nli, tmp_path_factory) -> Path:
    """The same run with --merge_adapter."""
    folder = tmp_path_factory.mktemp("runs") / "nli-merged"
    result = run_once("run_nli", "--model", base, *nli, *LORA, "--merge_adapter", "--output_dir", folder)
    assert result.code == 0, result.stderr
    return folder


def figures(folder: Path) -> dict[str, float]:
    """The results that belong to the model, not to the clock."""
    results = read_json(folder / "all_results.json")
    return {name: value for name, value in results.items() if isinstance(value, float) and "_runtime" not in name}


def assert_same_predictions(found: Path, expected: Path, tolerance: float = 1e-4) -> None:
    rows, others = read_jsonl(found / "predictions.jsonl"), read_jsonl(expected / "predictions.jsonl")
    assert [row["prediction"] for row in rows] == [row["prediction"] for row in others]
    for row, other in zip(rows, others):
        assert row["scores"] == pytest.approx(other["scores"], abs=tolerance)


def test_a_run_leaves_the_adapter_alone(tuned):
    names = {path.name for path in tuned.iterdir()}
    assert names >= ADAPTER and not names & WHOLE
    assert {path.name for path in (tuned / "checkpoint-2").iterdir()} >= {"adapter_model.safetensors", "optimizer.pt"}
    report = read_json(tuned / "run_report.json")
    weights = load_file(tuned / "adapter_model.safetensors")
    assert report["adapter_parameters"] == sum(weight.numel() for weight in weights.values())
    # 2 layers of 4 matrices between widths of 64, 192 and 256 at rank 4, and the rows of two separators.
    assert report["adapter_parameters"] == 2 * 4 * ((64 + 192) + (64 + 64) + (64 + 256) + (256 + 64)) + 2 * 64 == 8320
    assert (report["arguments"]["lora_r"], report["arguments"]["lora_alpha"]) == (4, 8)


def test_evaluate_model_measures_what_the_run_measured(tuned, merged, nli, run_script, tmp_path):
    for folder in (tuned, merged):
        out = tmp_path / folder.name
        result = run_script("evaluate_model", folder, *nli[2:], "--output_dir", out)
        assert result.code == 0, result.stderr
        assert_same_predictions(out, folder)
    assert_same_predictions(merged, tuned)
    first, second = figures(tuned), figures(merged)
    assert second["eval_loss"] == pytest.approx(first["eval_loss"], abs=1e-5)
    assert second["accuracy"] == first["accuracy"]


def test_predict_answers_as_the_run_did(tuned, nli, run_script):
    result = run_script("predict", tuned, "--input_file", nli[3])
    assert result.code == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    rows = read_jsonl(tuned / "predictions.jsonl")
    assert [answer["prediction"] for answer in answers] == [row["prediction"] for row in rows]


def test_without_its_training_it_would_answer_otherwise(tuned, base, nli, run_script, tmp_path):
    # Guards the tests above: the adapter has to change what the model says.
    result = run_script("evaluate_model", base, "--task", "nli", *nli[2:], "--output_dir", tmp_path / "out")
    assert result.code == 0, result.stderr
    untrained, trained = (read_jsonl(path / "predictions.jsonl") for path in (tmp_path / "out", tuned))
    assert any(abs(a["scores"]["neutral"] - b["scores"]["neutral"]) > 0.1 for a, b in zip(untrained, trained))


def test_a_merged_run_is_a_plain_model(merged):
    names = {path.name for path in merged.iterdir()}
    assert names >= (ADAPTER - {"adapter_config.json", "adapter_model.safetensors"}) | WHOLE
    assert not {name for name in names if name.startswith("adapter")}
    assert (merged / "checkpoint-2" / "adapter_model.safetensors").is_file()  # to resume from
    assert not any("lora" in name for name in AutoModelForCausalLM.from_pretrained(merged).state_dict())


def test_a_whole_run_takes_the_place_of_an_adapter(tuned, base, nli, run_script, tmp_path):
    folder = Path(shutil.copytree(tuned, tmp_path / "run"))
    flags = ("--num_train_epochs", 1, "--output_dir", folder, "--overwrite_output_dir")
    result = run_script("run_nli", "--model", base, *nli, *flags)
    assert result.code == 0, result.stderr
    names = {path.name for path in folder.iterdir()}
    assert names >= WHOLE and not {name for name in names if name.startswith("adapter")}


@pytest.mark.parametrize("task", ["generate", "summarize", "qa"])
def test_the_other_tasks_train_an_adapter_too(task, base, files, run_script, tmp_path):
    train, validation = files[task]
    out = tmp_path / "out"
    result = run_script(
        f"run_{task}", "--model", base, "--train_file", train, "--validation_file", validation, "--lora_r", 2,
        "--num_train_epochs", 1, "--max_new_tokens", 4, "--num_samples", 1, "--output_dir", out,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    again = run_script("evaluate_model", out, "--validation_file", validation, "--output_dir", tmp_path / "again")
    assert again.code == 0, again.stderr
    written, repeated = (read_jsonl(folder / "predictions.jsonl") for folder in (out, tmp_path / "again"))
    assert [row["prediction"] for row in written] == [row["prediction"] for row in repeated]


# Publishing


def dry_run(run_script, folder: Path, *arguments):
    return run_script("publish", folder, "--repo_id", "me/nli-lora", "--dry_run", *arguments)


def test_the_card_says_what_the_adapter_belongs_to(tuned, base, run_script, in_this_process, monkeypatch):
    refused = dry_run(run_script, tuned, "--license", "apache-2.0")
    assert refused.code == 2
    assert refused.error.startswith("the base of this adapter is the local model 'my-kogpt2', which nobody else has; name")
    result = dry_run(run_script, tuned, "--base_model", "skt/kogpt2-base-v2")  # loads it once more
    assert result.code == 0, result.stderr
    listing, _, card = result.stdout.partition("\n\n")
    assert [line.split()[1] for line in listing.splitlines()] == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "all_results.json", "confusion.png",
        "generation_config.json", "loss.png", "task.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    for line in ("library_name: peft", "base_model: skt/kogpt2-base-v2", "base_model_relation: adapter", "- lora"):
        assert f"\n{line}\n" in card
    assert "These files are a LoRA adapter of 8,320 parameters; the base is loaded with it." in card
    assert "AutoPeftModelForCausalLM.from_pretrained(model_id)" in card and 'model_id = "me/nli-lora"' in card
    assert str(base.parent) not in result.stdout
    monkeypatch.setattr("tasks.publishing.release.check_loads", lambda folder, staged: None)
    korean = dry_run(run_script, tuned, "--base_model", "skt/kogpt2-base-v2", "--card_language", "ko")
    assert "저장된 가중치는 파라미터 8,320개의 LoRA 어댑터이며" in korean.stdout


def test_what_is_staged_names_the_base_on_the_hub(tuned, base, tmp_path):
    from tasks.publishing.staging import check_secrets, stage

    names = stage(tuned, tmp_path, "# Card\n", adapter_base="skt/kogpt2-base-v2")
    assert read_json(tuned / "adapter_config.json")["base_model_name_or_path"] == str(base)
    assert read_json(tmp_path / "adapter_config.json")["base_model_name_or_path"] == "skt/kogpt2-base-v2"
    check_secrets(tmp_path, names, [])


def test_a_folder_with_both_kinds_is_not_published(tuned, base, tmp_path):
    from tasks.errors import UserError
    from tasks.publishing.staging import staged_names

    folder = Path(shutil.copytree(tuned, tmp_path / "run"))
    shutil.copy(base / "config.json", folder)
    with pytest.raises(UserError, match="holds a whole model and an adapter; remove the files of the one"):
        staged_names(folder)


def test_a_merged_run_is_published_as_a_whole_model(merged, run_script, monkeypatch):
    monkeypatch.setattr("tasks.publishing.release.check_loads", lambda folder, staged: None)  # as for any whole model
    result = dry_run(run_script, merged, "--base_model", "skt/kogpt2-base-v2")
    assert result.code == 0, result.stderr
    for line in ("library_name: transformers", "base_model_relation: finetune", "- lora"):
        assert f"\n{line}\n" in result.stdout
    assert "A LoRA adapter of 8,320 parameters was trained and merged into it." in result.stdout


def test_the_example_of_the_card_runs_as_printed(tuned, run_script, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (tuned / "README.md").read_text("utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(tuned.parent)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "card", "exec"), {"__name__": "__main__"})
    premise, hypothesis = (re.search(rf'^{name} = "(.*)"$', code, re.MULTILINE)[1] for name in ("premise", "hypothesis"))
    result = run_script("predict", tuned, "--prompt", f"{premise}\t{hypothesis}", "--output_format", "text")
    assert out.getvalue() == result.stdout


def test_pushing_an_adapter_of_a_local_model_is_refused_before_training(base, nli, run_script, tmp_path):
    flags = ("--push_to_hub", "--hub_model_id", "me/x", "--license", "apache-2.0", "--output_dir", tmp_path / "out")
    result = run_script("run_nli", "--model", base, *nli, *LORA, *flags)
    assert result.code == 2
    assert result.error.startswith("the base of this adapter is the local model 'my-kogpt2', which nobody else has")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_adapter_for_conversations_on_the_hub(base, files, hub, run_script, tmp_path, monkeypatch):
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    hub.add_repo("me/base", {path.name: path.read_bytes() for path in base.iterdir()})
    train, validation = files["chat"]
    data = ("--train_file", train, "--validation_file", validation, "--max_new_tokens", 12)
    result = run_script("run_chat", "--model", "me/base", *data, *LORA, "--output_dir", tmp_path / "run")
    assert result.code == 0, result.stderr
    result = run_script("publish", tmp_path / "run", "--repo_id", "me/chat", "--license", "mit")
    assert result.code == 0, result.stderr
    typed = iter(["누가", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    result = run_script("predict", "me/chat", "--do_sample", "false", stdin=Terminal())
    assert result.code == 0, result.stderr
    model, tokenizer = (kind.from_pretrained("me/chat") for kind in (AutoPeftModelForCausalLM, AutoTokenizer))
    asked = [{"role": "user", "content": "누가"}]
    inputs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert result.stdout.splitlines()[1:] == [tokenizer.decode(written, skip_special_tokens=True).strip()]


# Mistakes


@pytest.mark.parametrize("script", ["predict", "evaluate_model"])
def test_a_base_that_is_gone_is_named(script, tuned, run_script, tmp_path):
    folder = Path(shutil.copytree(tuned, tmp_path / "run"))
    config = read_json(folder / "adapter_config.json") | {"base_model_name_or_path": str(tmp_path / "gone")}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    result = run_script(script, folder, *(("--prompt", "비\t비") if script == "predict" else ()))
    assert result.code == 2
    assert result.error.startswith(f"{folder} is an adapter, and its base {tmp_path}/gone is needed too")


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="pip install -e '.[quantization]'")
def test_an_adapter_on_four_bits(base, nli, run_script, tmp_path):
    out = tmp_path / "out"
    result = run_script("run_nli", "--model", base, *nli, *LORA, "--load_in_4bit", "--output_dir", out)
    assert result.code == 0, result.stderr
    assert {path.name for path in out.iterdir()} >= ADAPTER
    assert all(weight.dtype == torch.float32 for weight in load_file(out / "adapter_model.safetensors").values())
    again = run_script("evaluate_model", out, *nli[2:], "--load_in_4bit", "--output_dir", tmp_path / "again")
    assert again.code == 0, again.stderr
    assert_same_predictions(tmp_path / "again", out, tolerance=1e-3)
    whole = run_script("evaluate_model", out, *nli[2:], "--output_dir", tmp_path / "whole")
    assert whole.code == 0, whole.stderr  # on a base that is not rounded, too
