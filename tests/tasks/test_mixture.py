"""Several tasks as one: what each of them reads, how many rows of it, and how the whole is measured."""

import pytest
from datasets import Dataset

from tasks import get_task
from tasks.arguments.mixture import MixtureArguments
from tasks.inference.measuring import normalized_score, overall
from tasks.mixture import Mixture
from tasks.preparing.mixture import mix, shares
from tasks.publishing.hub import _task_in


def mixture(names: str) -> Mixture:
    task = Mixture()
    task.choose(names)
    return task


def test_each_task_gets_what_bears_its_name():
    given = MixtureArguments(
        tasks="nli,qa,classify",
        train_file="nli=a,b.csv, qa=c.json,classify=d=1.csv",
        dataset_config="qa=small",
        column_map="nli.premise=s1,qa.context=c,nli.hypothesis=s2",
        label_words="0=부정",
        max_train_samples=7,
    )
    found = given.of_parts(mixture("nli,qa,classify"))
    assert [each.train_file for each in found] == ["a,b.csv", "c.json", "d=1.csv"]
    assert [each.dataset_config for each in found] == [None, "small", None]
    assert [each.column_map for each in found] == ["premise=s1,hypothesis=s2", "context=c", None]
    assert [each.label_words for each in found] == [None, None, "0=부정"]
    assert [each.max_train_samples for each in found] == [7, 7, 7]


def test_without_any_source_each_task_reads_its_default_dataset():
    found = MixtureArguments(tasks="nli,qa").of_parts(mixture("nli,qa"))
    assert [(each.train_file, each.dataset, each.sample_data) for each in found] == [(None, None, False)] * 2


def test_the_separators_of_all_tasks_once():
    assert mixture("nli,classify,summarize").separators == ("<sep>", "<nli>", "<classification>", "<summarize>")


def test_a_run_of_its_own_for_each_mixture():
    assert [part.prefix for part in mixture("nli,qa").parts] == ["nli_", "qa_"]
    assert get_task("nli").prefix == ""


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, [100, 400, 2500]), (2.0, [375, 750, 1875]), (1e9, [1000, 1000, 1000])]
)
def test_rows_of_each_task(temperature, expected):
    assert shares([100, 400, 2500], temperature) == expected


def rows(letter: str, count: int) -> Dataset:
    return Dataset.from_dict({"id": [f"{letter}{n}" for n in range(count)]})


def test_small_tasks_repeat_and_large_ones_are_drawn_from():
    assert mix([rows("a", 2), rows("b", 3)], 1.0, 42)["id"][:] == ["a0", "a1", "b0", "b1", "b2"]
    found = mix([rows("a", 2), rows("b", 8)], 1e9, 42)["id"][:]
    assert found[:4] == ["a0", "a1", "a0", "a1"]
    assert found[4] == "a0" or found[4] == "a1"
    assert len(found) == 10 and len(set(found[5:])) == 5 and found[5:] == sorted(found[5:])
    assert found == mix([rows("a", 2), rows("b", 8)], 1e9, 42)["id"][:] != mix([rows("a", 2), rows("b", 8)], 1e9, 1)["id"][:]


@pytest.mark.parametrize(
    ("task", "metric", "value", "baseline", "expected"),
    [
        ("nli", "accuracy", 0.75, 0.5, 0.5),
        ("qa", "f1", 55.0, 10.0, 0.5),
        ("generate", "bits_per_character", 2.0, 8.0, 0.75),
        ("generate", "bits_per_character", 9.0, 6.0, -0.5),
        ("nli", "accuracy", 1.0, 1.0, 1.0),
        ("nli", "accuracy", 0.9, 1.0, 0.0),
    ],
)
def test_a_normalized_score_is_0_at_the_baseline_and_1_at_the_best_value(task, metric, value, baseline, expected):
    assert normalized_score(get_task(task), {metric: value, f"baseline_{metric}": baseline}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("task_json", "expected"),
    [
        ('[{"task": "nli"}, {"task": "qa"}]', "nli-qa"),
        ('{"task": "nli"}', "nli"),
        ("[1, {}]", None),
        ("{}", None),
        (None, None),
    ],
)
def test_what_a_repository_holds(task_json, expected):
    assert _task_in(task_json) == expected


def test_the_mean_counts_every_task_alike():
    results = {
        "nli_accuracy": 0.75, "nli_baseline_accuracy": 0.5, "nli_rows": 1000, "nli_predict_runtime": 2.0,
        "qa_f1": 100.0, "qa_baseline_f1": 10.0, "qa_rows": 10, "qa_predict_runtime": 3.0,
    }  # fmt: skip
    assert overall(mixture("nli,qa").parts, results) == {
        "rows": 1010, "predict_runtime": 5.0, "normalized_scores": {"nli": 0.5, "qa": 1.0}, "mean_normalized_score": 0.75,
    }  # fmt: skip
    assert overall(get_task("nli").parts, {"accuracy": 0.75, "baseline_accuracy": 0.5}) == {}
