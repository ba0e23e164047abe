"""One table of finished runs."""

from __future__ import annotations

import json


def results_of(folder, **values):
    folder.mkdir()
    (folder / "all_results.json").write_text(json.dumps(values), "utf-8")
    return folder


NLI = {"task": "nli", "rows": 8, "accuracy": 0.75, "baseline": "majority label", "baseline_accuracy": 0.375,
       "train_runtime": 10.4, "predict_runtime": 1.2}  # fmt: skip
QA = {"task": "qa", "rows": 100, "f1": 61.23456, "baseline": "word matching", "baseline_f1": 20.0, "predict_runtime": 3.0}


def test_a_markdown_table(run_script, tmp_path):
    result = run_script("results_table", results_of(tmp_path / "a", **NLI), results_of(tmp_path / "b", **QA))
    assert result.stdout == (
        "| task | rows | metric   | value  | baseline       | value  | seconds |\n"
        "|------|------|----------|--------|----------------|--------|---------|\n"
        "| nli  | 8    | accuracy | 0.750  | majority label | 0.375  | 12      |\n"
        "| qa   | 100  | f1       | 61.235 | word matching  | 20.000 | 3       |\n"
    )


def test_folders_without_results_are_left_out(run_script, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run_script("results_table", tmp_path / "empty", results_of(tmp_path / "a", **NLI))
    assert len(result.stdout.splitlines()) == 3


def test_nothing_to_show_is_a_mistake(run_script, tmp_path):
    result = run_script("results_table", tmp_path)
    assert (result.code, result.error) == (2, "name folders that hold an all_results.json, such as outputs/*")


def test_a_run_that_measured_nothing_is_named(run_script, tmp_path):
    folder = results_of(tmp_path / "a", task="nli", train_runtime=3.0, counts={})
    result = run_script("results_table", folder)
    assert result.code == 2
    assert result.error.startswith(f"{folder}/all_results.json: nothing was measured there")


def test_the_folders_of_real_runs(run_script, finished):
    result = run_script("results_table", finished("nli"), finished("qa"))
    assert [line.split("|")[1].strip() for line in result.stdout.splitlines()[2:]] == ["nli", "qa"]
