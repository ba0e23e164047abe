"""Runs side by side: tables, the page, and folders that cannot be compared."""

from __future__ import annotations

import json
import re

import pytest

from tasks import get_task
from tasks.base import Prediction
from tasks.run_folder import RunConfig, write_json, write_jsonl

LABELS = ["entailment", "neutral", "contradiction"]
PREMISES = [f"전제 {n // 2}" for n in range(12)]  # two rows a premise
RIGHT = [LABELS[n % 3] for n in range(12)]


def nli_run(folder, wrong=(), *, right=RIGHT, hypothesis="가설", version=1, **settings):
    """The folder of a run of nli on twelve rows, of which those at ``wrong`` are answered by another label."""
    folder.mkdir()
    task = get_task("nli")
    predictions = [
        Prediction(
            f"row-{n}", f"{premise}<sep>{hypothesis} {n}<nli>", LABELS[(LABELS.index(label) + (n in wrong)) % 3], (label,),
            dict.fromkeys(LABELS, -0.1 * (1 + n)),
        )
        for n, (premise, label) in enumerate(zip(PREMISES, right))
    ]  # fmt: skip
    write_jsonl(folder / "predictions.jsonl", (each.as_row() for each in predictions))
    measured = task.score(predictions) | {"intervals": task.intervals(predictions, 42, PREMISES)}
    baseline = {"baseline": "majority label", "baseline_accuracy": 1 / 3}
    clock = {"train_runtime": 10.4, "predict_runtime": 1.2}
    write_json(
        folder / "all_results.json",
        {"task": "nli", "base_model": "kogpt2", "seed": 42, "rows": 12, **measured, **baseline, **clock},
    )
    RunConfig("nli", version, "kogpt2", "", {}, task.label_words, 128, 12).save(folder)
    log = [{"step": 1, "epoch": 0.5, "loss": 2.0}, {"step": 2, "epoch": 1.0, "eval_loss": 1.5}]
    write_json(folder / "trainer_state.json", {"log_history": log})
    write_json(folder / "run.json", {"task": "nli", "settings": {"learning_rate": 1e-3} | settings, "finished": True})
    return folder


@pytest.fixture
def page(tmp_path):
    return lambda: (tmp_path / "compare.html").read_text("utf-8")


def test_two_runs(run_script, tmp_path, page):
    first = nli_run(tmp_path / "a", wrong=range(9))
    second = nli_run(tmp_path / "b", wrong=[8], learning_rate=3e-4, train_file="<b>.csv")
    result = run_script("compare", first, second)
    assert result.code == 0, result.stderr
    title, *lines = result.stdout.splitlines()
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert title == "nli:"
    assert tables == [
        ["run", "folder", "base", "rate", "seed", "rows", "accuracy", "baseline accuracy", "seconds"],
        ["1", str(first), "kogpt2", "0.001", "42", "12", "0.250 [0.000, 0.583]", "0.333 majority label", "12"],
        ["2", str(second), "kogpt2", "0.0003", "42", "12", "0.917 [0.750, 1.000]", "0.333 majority label", "12"],
        ["metric", "run 1", "run 2", "difference", "interval", "p", "verdict"],
        ["accuracy", "0.250", "0.917", "+0.6667", "[0.333, 1.000]", "0.004", "better"],
        ["macro_f1", "0.250", "0.915", "+0.6653", "[0.328, 1.000]", "0.004", "better"],
    ]
    assert lines[-1] == "the whole comparison is in compare.html"
    assert 'class="better">better' in page()


def test_rows_of_one_premise_are_drawn_together(run_script, tmp_path):
    result = run_script("compare", nli_run(tmp_path / "a", wrong=range(8)), nli_run(tmp_path / "b"))
    assert "on the 12 rows that both have, in 6 groups that share their premise" in result.stdout


@pytest.mark.parametrize(
    "other, reason",
    [
        ({"hypothesis": "다른 가설"}, "no row is in both: id, prompt and references have to be the same"),
        ({"right": RIGHT[1:] + RIGHT[:1]}, "no row is in both: id, prompt and references have to be the same"),
        ({"version": 2}, "the metrics differ: version of the task is 1 and 2"),
    ],
)
def test_no_difference_is_told(run_script, tmp_path, page, other, reason):
    result = run_script("compare", nli_run(tmp_path / "a"), nli_run(tmp_path / "b", **other))
    assert f"run 2 - run 1: no difference is told: {reason}\n" in result.stdout
    assert f"No difference is told: {reason}." in page()


def test_rows_that_one_run_lacks_are_left_out(run_script, tmp_path):
    first, second = nli_run(tmp_path / "a", wrong=[0, 1]), nli_run(tmp_path / "b")
    lines = (second / "predictions.jsonl").read_text("utf-8").splitlines(keepends=True)
    (second / "predictions.jsonl").write_text("".join(lines[2:]), "utf-8")
    result = run_script("compare", first, second)
    assert "on the 10 rows that both have, in 5 groups" in result.stdout
    assert "| accuracy | 1.000 | 1.000 | +0.0000    | [0.000, 0.000] | 1.000 | not decided |" in result.stdout


def test_the_page_needs_no_other_file_and_shows_texts_as_they_are(run_script, tmp_path, page):
    attack = "<script>alert('가')</script>\u2028"
    first = nli_run(tmp_path / "a", wrong=[3], hypothesis=attack)
    run_script("compare", first, nli_run(tmp_path / "b", wrong=[5, 6], hypothesis=attack, seed=43))
    text = page()
    assert "<script" not in text and "&lt;script&gt;alert(&#39;가&#39;)&lt;/script&gt;\u2028 3" in text
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text and "<svg" in text
    assert not any(f'{word}="http' in text for word in ("src", "href")) and "url(http" not in text and "@import" not in text
    settings = text[text.index("Settings that differ") : text.index("<h3>Loss")]
    assert settings.count("<tr>") == 2 and ">seed<" in settings and "43" in settings
    differing = text[text.index("differ most") : text.index("The worst rows")]
    assert sorted(each[: each.index("<")] for each in differing.split("<dt>row-")[1:]) == ["3", "5", "6"]


def test_several_tasks_have_a_table_each(run_script, finished):
    result = run_script("compare", finished("nli"), finished("generate"), finished("qa"))
    assert result.code == 0, result.stderr
    assert [line for line in result.stdout.splitlines() if line.endswith(":")] == ["nli:", "generate:", "qa:"]


@pytest.mark.parametrize("task", ["generate", "summarize", "classify"])
def test_a_copy_is_neither(run_script, finished, tmp_path, task):
    folder = finished(task)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.glob("*.json*"):
        (copy / path.name).write_bytes(path.read_bytes())
    result = run_script("compare", folder, copy, "--split", "test")
    assert result.code == 0, result.stderr
    results = json.loads((folder / "all_results.json").read_text("utf-8"))
    assert f"on the {results['test_rows']} rows that both have" in result.stdout
    assert {line.split("|")[-2].strip() for line in result.stdout.splitlines() if "+0.0000" in line} == {"not decided"}
    assert not re.search("better|worse|differs", result.stdout)


def spoil(folder, name, text):
    (folder / name).write_text(text, "utf-8")


@pytest.mark.parametrize(
    "harm, error",
    [
        (lambda run: (run / "all_results.json").unlink(), "no all_results.json of a run there"),
        (lambda run: (run / "predictions.jsonl").unlink(), "no predictions of validation rows there (predictions.jsonl)"),
        (lambda run: spoil(run, "all_results.json", '{"task": "nli", "seed": 1}'), "no predictions of validation rows"),
        (lambda run: spoil(run, "all_results.json", "[1]"), "holds no object"),
        (lambda run: spoil(run, "run.json", '{"task": "nli", "finished": false}'), "the run is not finished"),
        (lambda run: spoil(run, "predictions.jsonl", '{"id": 1}\n'), "line 1: no prediction of this project"),
        (lambda run: spoil(run, "predictions.jsonl", ""), "its predictions cannot be measured"),
    ],
)
def test_a_folder_that_cannot_be_compared_is_named(run_script, tmp_path, harm, error):
    good, bad = nli_run(tmp_path / "a"), nli_run(tmp_path / "b")
    harm(bad)
    result = run_script("compare", good, bad)
    assert result.code == 2
    assert result.error.startswith(str(bad)) and error in result.error
    assert not (tmp_path / "compare.html").exists()


def test_one_run_is_not_enough(run_script, tmp_path):
    folder = nli_run(tmp_path / "a")
    assert "name two runs or more" in run_script("compare", folder, folder).error
    assert "no such folder" in run_script("compare", folder, tmp_path / "b").error
