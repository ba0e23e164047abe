"""What every task promises: figures from sums over any rows are the score of those rows, and each has its words."""

from __future__ import annotations

import numpy as np
import pytest

from tasks import TASKS, get_task, task_of
from tasks.base import Prediction, Task
from tasks.errors import RowError, UserError
from tasks.run_folder import RunConfig

TEXTS = [
    Prediction("0", "", "비가 온다", ("비가 온다",), {"nll": 3.5, "characters": 5}),
    Prediction(
        "1", "", "서울에서 비가 그쳤다", ("부산에서 비가 그쳤다", "서울에 비가 온다"), {"nll": 40.25, "characters": 11}
    ),
    Prediction("2", "", None, ("눈이 온다",), {"nll": 0.125, "characters": 5, "unfinished": True}),
    Prediction("3", "", "맑다", ("날씨가 맑다",), {"nll": 9e5, "characters": 6}),
    Prediction("4", "", "?!", ("...",), {"nll": 12.5, "characters": 3}),
]
LIKELIHOODS = [
    Prediction(str(n), "", "가 나 가", ("x",), {"nll": nll, "tokens": tokens, "characters": characters, "unknown_tokens": n})
    for n, (nll, tokens, characters) in enumerate([(3.5, 2, 4), (40.25, 11, 30), (0.125, 1, 1), (9e5, 7, 9), (12.5, 5, 20)])
]
NAMES = sorted(TASKS)
OF_SAMPLES = {"repetition", "distinct_1", "distinct_2"}


def predictions_of(task: Task) -> list[Prediction]:
    """Five rows. Those of labels are such that no set below has all of them right, and most lack a label of either side."""
    if task.output_type == "loglikelihood":
        return LIKELIHOODS
    if task.output_type == "generate_until":
        return TEXTS
    task.label_words = task.label_words or {"가": "가", "나": "나", "다": "다"}  # of a task that learns its labels
    labels = list(task.label_words)
    first, second, last = labels[0], labels[1], labels[-1]
    pairs = [(first, first), (second, first), (second, second), (last, second), (second, last)]
    return [Prediction(str(n), "", given, (right,)) for n, (given, right) in enumerate(pairs)]


#: All rows, each by itself, and what resampling makes of them.
SETS = [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4], [0, 0, 2], [1, 4], [3, 3, 3, 1, 0], [4, 4, 2, 2, 2]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error:::tasks")
def test_figures_from_sums_over_any_rows_are_the_score_of_those_rows(name):
    task = get_task(name)
    predictions, metric = predictions_of(task), task.metric()
    statistics = metric.rows(**task.metric_inputs(predictions))
    sums = {key: np.array([sum(statistics[row][key] for row in rows) for rows in SETS], float) for key in statistics[0]}
    pooled = metric.pool(sums)
    for n, rows in enumerate(SETS):
        scores = task.score([predictions[row] for row in rows])
        expected = {key: value for key, value in scores.items() if isinstance(value, float) and key not in OF_SAMPLES}
        assert {key: values[n] for key, values in pooled.items()} == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_one_row_is_its_own_interval(name):
    task = get_task(name)
    [first, *_] = predictions_of(task)
    found, scores = task.intervals([first], seed=1), task.score([first])
    assert found == {key: [pytest.approx(scores[key])] * 2 for key in found}
    assert task.main_metric in found


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_that_may_choose_the_best_checkpoint_is_measured(name):
    task = get_task(name)
    scores = task.score(predictions_of(task))
    may_choose = [key for key, metric in task.metrics.items() if metric.higher is not None]
    assert task.main_metric in may_choose
    assert [key for key in may_choose if not isinstance(scores[key], float)] == []


@pytest.mark.parametrize("name", NAMES)
def test_figures_and_baselines_have_names_in_both_languages(name):
    task = get_task(name)
    flat = {key for key, value in task.score(predictions_of(task)).items() if isinstance(value, float)}
    assert flat <= set(task.metrics)
    assert all(metric.en and metric.ko and metric.hub for metric in task.metrics.values())
    assert task.baselines and all(english and korean for english, korean in task.baselines.items())
    assert set(task.card) == {"en", "ko"}


def test_the_baseline_has_figures_of_its_answers_and_may_read_the_training_rows():
    class Echo(type(get_task("summarize"))):
        def baseline_answers(self, examples, train):
            return "first of train", [train[0].completion] * len(examples)

    task = Echo()
    rows = [task.format({"id": str(n), "document": "비가 온다.", "summary": text}) for n, text in enumerate(["맑다", "눈"])]
    found = task.baseline(rows, rows)
    assert (found["baseline"], found["baseline_rougeL_words"]) == ("first of train", 0.5)
    assert [key for key in found if not key.startswith("baseline")] == []
    assert "baseline_rouge_tokenizer" not in found


def test_each_run_has_a_task_of_its_own():
    first = get_task("nli")
    first.label_words = {"yes": "네", "no": "아니요"}
    assert list(get_task("nli").label_words) == ["entailment", "neutral", "contradiction"]
    assert first.format({"id": "1", "premise": "가", "hypothesis": "나", "label": "Yes"}).completion == "네"
    with pytest.raises(RowError, match="unknown label 'entailment'"):
        first.format({"id": "1", "premise": "가", "hypothesis": "나", "label": "entailment"})


def test_task_json_says_which_labels_a_model_knows():
    run = RunConfig("nli", 1, "b", "", {}, {"yes": "네", "no": "아니요"}, 64, 8)
    task = task_of(run)
    assert task.label_words == {"yes": "네", "no": "아니요"}
    assert task.score([Prediction("1", "", "no", ("no",))])["confusion_matrix"]["no"] == {"yes": 0, "no": 1}
    assert task_of(RunConfig("qa", 1, "b", "", {}, {}, 64, 8)).label_words == {}
    with pytest.raises(UserError, match="unknown task 'x'; the tasks are generate"):
        task_of(RunConfig("x", 1, "b", "", {}, {}, 64, 8))
