"""evaluate_model.py measures what a run measured, and writes over nobody's results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks import get_task
from tests.helpers.task_rows import TRAINED


def results(folder):
    return json.loads((folder / "all_results.json").read_text("utf-8"))


@pytest.mark.parametrize("task", TRAINED)
def test_it_gives_the_figures_of_the_run_itself(run_script, finished, files, tmp_path, task):
    folder = finished(task)
    result = run_script("evaluate_model", folder, "--validation_file", files[task][1], "--output_dir", tmp_path / "out")
    assert result.code == 0, result.stderr
    ours, of_the_run = results(tmp_path / "out"), results(folder)
    metrics = {name for name in of_the_run if name in ours} - {
        "predict_runtime",
        "predict_rows_per_second",
        "base_model",
        "counts",
    }
    if get_task(task).learned_baseline:  # which needs the training rows
        metrics = {name for name in metrics if not name.startswith("baseline")} | {f"baseline_{get_task(task).main_metric}"}
        of_the_run |= {name: value for name, value in ours.items() if name.startswith("baseline")}
    assert {get_task(task).main_metric, f"baseline_{get_task(task).main_metric}", "rows"} <= metrics
    assert {name: ours[name] for name in metrics} == {name: of_the_run[name] for name in metrics}
    assert (tmp_path / "out" / "predictions.jsonl").read_text() == (folder / "predictions.jsonl").read_text()


def test_a_base_model_is_measured_with_a_task(run_script, kogpt2_folder, files, tmp_path):
    result = run_script(
        "evaluate_model", kogpt2_folder, "--task", "generate", "--validation_file", files["generate"][1], "--num_samples", 0,
        "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    # Untrained, every one of its tokens is about as likely as any other.
    size = json.loads(Path(kogpt2_folder, "config.json").read_text("utf-8"))["vocab_size"]
    assert results(tmp_path / "out")["perplexity"] == pytest.approx(size, rel=0.2)
    assert not (tmp_path / "out" / "task.json").exists()


def test_without_an_output_folder_results_are_named_after_task_and_model(run_script, finished, files, tmp_path):
    result = run_script("evaluate_model", finished("nli"), "--validation_file", files["nli"][1])
    assert result.code == 0, result.stderr
    assert results(tmp_path / "outputs" / "evaluate-nli-nli")["rows"] == 8


def test_the_sample_can_be_measured_on(run_script, finished, tmp_path):
    result = run_script(
        "evaluate_model", finished("nli"), "--sample_data", "--max_eval_samples", 5, "--output_dir", tmp_path / "out"
    )
    assert result.code == 0, result.stderr
    assert results(tmp_path / "out")["counts"] == {"validation": {"rows": 5, "label contradiction": 2, "label neutral": 3}}


def test_a_trained_models_results_are_not_written_over(run_script, finished, files):
    folder = finished("nli")
    before = (folder / "all_results.json").read_bytes()
    result = run_script("evaluate_model", folder, "--validation_file", files["nli"][1], "--output_dir", folder)
    assert result.code == 2
    assert result.error == f"--output_dir {folder} holds a trained model and its results; choose another folder"
    assert (folder / "all_results.json").read_bytes() == before


def test_a_base_model_needs_a_task(run_script, kogpt2_folder, files):
    result = run_script("evaluate_model", kogpt2_folder, "--validation_file", files["nli"][1])
    assert result.code == 2
    assert result.error.endswith("no task.json there, so its task is not known; name it with --task")
