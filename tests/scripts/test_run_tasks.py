"""Each run from its command line to the folder that it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from tasks import get_task
from tasks.arguments.generation import GenerationArguments
from tasks.base import BOS
from tasks.inference.predicting import load_predictor
from tests.conftest import ROOT, model_args
from tests.helpers.task_rows import SAMPLED, TRAINED
from tests.scripts.conftest import ROWS

CONTRACT = {
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "task.json",
    "all_results.json", "predictions.jsonl", "loss.png", "trainer_state.json",
}  # fmt: skip


def read(path: Path):
    return json.loads(path.read_text("utf-8"))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("task", TRAINED)
def test_a_run_leaves_the_files_of_the_contract_and_no_pickled_arguments(finished, task):
    folder = finished(task)
    names = {path.name for path in folder.iterdir()}
    assert names >= CONTRACT
    assert "training_args.bin" not in names
    assert not [name for name in names if name.endswith(".tmp") or name.startswith(".writable")]
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("task", TRAINED)
def test_results_have_the_metric_its_baseline_and_the_counts(finished, task):
    results = read(finished(task) / "all_results.json")
    assert (results["task"], results["rows"], results["seed"]) == (task, 8, 42)
    assert results["baseline"] in get_task(task).baselines
    metric = get_task(task).main_metric
    assert isinstance(results[metric], float)
    assert isinstance(results[f"baseline_{metric}"], float)
    low, high = results["intervals"][metric]
    assert low <= results[metric] <= high
    assert results["test_intervals"] == results["intervals"]
    assert results["counts"]["train"]["rows"] == results["counts"]["validation"]["rows"] == 8
    assert results["counts"]["train"]["labelled_tokens"] <= results["counts"]["train"]["tokens"]
    for name in ("eval_loss", "train_runtime", "predict_runtime", "train_tokens_per_second"):
        assert results[name] > 0


@pytest.mark.parametrize("task", TRAINED)
def test_a_test_file_is_measured_under_names_of_its_own(finished, task):
    folder = finished(task)
    results = read(folder / "all_results.json")
    metric = get_task(task).main_metric
    # The same rows: the same figure.
    assert results[f"test_{metric}"] == results[metric]
    assert results["test_rows"] == 8
    assert lines(folder / "test_predictions.jsonl") != []


@pytest.mark.parametrize("task", TRAINED)
def test_predictions_are_one_row_for_each_validation_row_in_order(finished, files, task):
    rows = lines(finished(task) / "predictions.jsonl")
    source = lines(Path(files[task][1]))
    examples = [get_task(task).format({"id": f"validation-{n}", **row}) for n, row in enumerate(source)]
    assert [set(row) for row in rows] == [{"id", "prompt", "prediction", "references", "scores"}] * 8
    assert [row["id"] for row in rows] == [f"validation-{n}" for n in range(8)]
    assert [row["references"] for row in rows] == [list(example.references) for example in examples]
    if get_task(task).output_type != "loglikelihood":  # there it is the beginning that was continued
        assert [row["prompt"] for row in rows] == [example.prompt_text for example in examples]
    if get_task(task).output_type == "multiple_choice":
        known = json.loads((finished(task) / "task.json").read_text("utf-8"))["label_words"]
        assert all(list(row["scores"]) == [*known, "accuracy"] for row in rows)
        assert get_task(task).learns_labels or known == get_task(task).label_words


def test_metrics_can_be_computed_again_from_the_predictions_file(finished):
    from tasks.base import Prediction

    for task in ("nli", "qa", "generate"):
        rows = lines(finished(task) / "predictions.jsonl")
        predictions = [Prediction(r["id"], r["prompt"], r["prediction"], tuple(r["references"]), r["scores"]) for r in rows]
        metric = get_task(task).main_metric
        assert get_task(task).score(predictions)[metric] == read(finished(task) / "all_results.json")[metric]


@pytest.mark.parametrize("task", TRAINED)
def test_the_folder_works_without_this_project(finished, kogpt2_folder, task):
    folder = str(finished(task))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.use_cache is True
    assert model.generation_config.max_new_tokens == 12
    # KoGPT2's free slots became the separators: no row was added.
    base = AutoModelForCausalLM.from_pretrained(kogpt2_folder)
    assert model.get_input_embeddings().weight.shape == base.get_input_embeddings().weight.shape
    assert model.config.eos_token_id == tokenizer.eos_token_id == 1
    text = pipeline("text-generation", model=folder)("서울은", max_new_tokens=3)[0]["generated_text"]
    assert text.startswith("서울은")


@pytest.mark.parametrize("task", TRAINED)
def test_plain_tokenizers_give_the_ids_that_training_used(finished, task):
    folder = str(finished(task))
    predictor = load_predictor(model_args(folder), GenerationArguments())
    plain = AutoTokenizer.from_pretrained(folder)
    first = predictor.task.input_columns[0].name
    example = predictor.task.input_example({**ROWS[task][0], "id": "1", first: "서울은 수도이다. 😂 ㅠㅠ"})
    by_hand = []
    for part in example.prompt:
        text = plain.bos_token if part == BOS else getattr(part, "text", part)
        by_hand += plain(text, add_special_tokens=False).input_ids
    if example.conversation:
        messages = [{"role": role, "content": text} for role, text in example.conversation]
        by_hand = plain.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert predictor.encoder.prompts([example]) == [[by_hand]]
    for separator, index in read(finished(task) / "task.json")["separators"].items():
        assert plain.convert_tokens_to_ids(separator) == index


def test_task_json_holds_what_inference_needs(finished):
    task = read(finished("nli") / "task.json")
    assert task["prompt_format"] == "premise <sep> hypothesis <nli> label <eos>"
    assert task["separators"] == {"<sep>": 9, "<nli>": 10}
    assert task["label_words"] == {"entailment": "참", "neutral": "중립", "contradiction": "모순"}
    assert (task["task"], task["task_version"], task["max_length"], task["max_new_tokens"]) == ("nli", 1, 128, 12)


@pytest.mark.parametrize("task", SAMPLED)
def test_the_bundled_sample_trains(run_script, kogpt2_folder, tmp_path, task):
    result = run_script(
        f"run_{task}", "--model", kogpt2_folder, "--sample_data", "--max_train_samples", 16, "--max_eval_samples", 4,
        "--num_train_epochs", 1, "--max_new_tokens", 6, "--output_dir", tmp_path / "out", "--num_samples", 2,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    results = read(tmp_path / "out" / "all_results.json")
    assert [results["counts"][split]["rows"] for split in ("train", "validation")] == [16, 4]
    assert results["rows"] == results["counts"]["validation"].get("answers", 4)
    assert f"{task} on {results['rows']} validation rows, beside the baseline" in result.stdout
    assert f"everything is in {tmp_path / 'out'}" in result.stdout


def test_every_layout_trains_saves_and_loads(run_script, any_folder, files, tmp_path):
    train, validation = files["summarize"]
    result = run_script(
        "run_summarize", "--model", any_folder, "--train_file", train, "--validation_file", validation,
        "--num_train_epochs", 1, "--max_new_tokens", 24, "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    again = run_script(
        "evaluate_model", tmp_path / "out", "--validation_file", validation, "--output_dir", tmp_path / "again"
    )
    assert again.code == 0, again.stderr
    first, second = (read(tmp_path / name / "all_results.json") for name in ("out", "again"))
    assert second["rouge1_syllables"] == first["rouge1_syllables"]


def test_a_byte_level_tokenizer_and_a_short_sequence_can_be_sampled_from(run_script, gpt2_folder, files, tmp_path):
    train, validation = files["generate"]
    result = run_script(
        "run_generate", "--model", gpt2_folder, "--train_file", train, "--validation_file", validation,
        "--num_train_epochs", 1, "--max_length", 32, "--max_new_tokens", 16, "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 0, result.stderr


def test_without_training_a_base_model_is_measured(run_script, kogpt2_folder, files, tmp_path):
    result = run_script(
        "run_nli", "--model", kogpt2_folder, "--no_do_train", "--validation_file", files["nli"][1],
        "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    results = read(tmp_path / "out" / "all_results.json")
    assert results["rows"] == 8
    assert "train_runtime" not in results
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize(("task", "metric", "best"), [("nli", "accuracy", max), ("generate", "perplexity", min)])
def test_a_metric_of_the_task_chooses_the_best_checkpoint(run_script, kogpt2_folder, files, tmp_path, task, metric, best):
    train, validation = files[task]
    result = run_script(
        f"run_{task}", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--output_dir",
        tmp_path / "out", "--num_train_epochs", 3, "--metric_for_best_model", metric, "--learning_rate", 0.5,
        "--lr_scheduler_type", "constant", "--warmup_steps", 0, "--num_samples", 1,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    state = read(tmp_path / "out" / "trainer_state.json")
    history = [entry[f"eval_{metric}"] for entry in state["log_history"] if f"eval_{metric}" in entry]
    # Such a learning rate makes it worse from the start on, so best and last differ.
    assert len(history) == 3
    assert state["best_metric"] == best(history)
    assert read(tmp_path / "out" / "all_results.json")[metric] == pytest.approx(best(history), rel=1e-4)


def test_in_a_process_of_its_own(kogpt2_folder, files, tmp_path):
    train, validation = files["nli"]
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "run_nli.py"), "--model", kogpt2_folder, "--train_file", train,
         "--validation_file", validation, "--num_train_epochs", "1"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    # The default folder is named after the task and the model.
    assert read(tmp_path / "outputs" / "nli-kogpt2" / "all_results.json")["rows"] == 8


@pytest.mark.parametrize(
    ("script", "flags"),
    [(f"run_{task}", ["--train_file", "--column_map", "--num_beams", "--metric_for_best_model"]) for task in TRAINED]
    + [
        ("run_scratch", ["--vocab_size", "--model_size", "--n_positions"]),
        ("predict", ["--input_file", "--num_return_sequences", "model_folder"]),
        ("evaluate_model", ["--task", "--validation_file", "model_folder"]),
    ],
)
def test_help_names_the_flags(run_script, script, flags):
    result = run_script(script, "--help")
    assert result.code == 0
    assert [flag for flag in flags if flag not in result.stdout] == []


def test_help_of_a_process_of_its_own(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "predict.py"), "--help"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert "predict.py outputs/summarize-kogpt2-base-v2 --input_file articles.csv" in result.stdout
