"""What every task promises of its rows: metrics from sums over any rows are the score of those rows."""

from __future__ import annotations

import numpy as np
import pytest

from tasks import TASKS, get_task
from tasks.base import Prediction, Task
from tasks.metrics.bootstrap import intervals

TEXTS = [
    Prediction("0", "", "비가 온다", ("비가 온다",)),
    Prediction("1", "", "서울에서 비가 그쳤다", ("부산에서 비가 그쳤다", "서울에 비가 온다")),
    Prediction("2", "", None, ("눈이 온다",)),
    Prediction("3", "", "맑다", ("날씨가 맑다",)),
    Prediction("4", "", "?!", ("...",)),
]
# No set below has all three labels right, and most lack a label of either side.
LABELS = [
    Prediction(str(n), "", given, (right,))
    for n, (given, right) in enumerate(
        [
            ("entailment", "entailment"), ("neutral", "entailment"), ("neutral", "neutral"),
            ("contradiction", "neutral"), ("neutral", "contradiction"),
        ]
    )
]  # fmt: skip
LIKELIHOODS = [
    Prediction(str(n), "", "가 나 가", ("x",), {"nll": nll, "tokens": tokens, "characters": characters, "unknown_tokens": n})
    for n, (nll, tokens, characters) in enumerate([(3.5, 2, 4), (40.25, 11, 30), (0.125, 1, 1), (9e5, 7, 9), (12.5, 5, 20)])
]
PREDICTIONS = {"summarize": TEXTS, "qa": TEXTS, "nli": LABELS, "generate": LIKELIHOODS, "scratch": LIKELIHOODS}
OF_SAMPLES = {"repetition", "distinct_1", "distinct_2"}

#: All rows, each by itself, and what resampling makes of them.
SETS = [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4], [0, 0, 2], [1, 4], [3, 3, 3, 1, 0], [4, 4, 2, 2, 2]]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.filterwarnings("error:::tasks")
def test_metrics_from_sums_over_any_rows_are_the_score_of_those_rows(name):
    task = get_task(name)
    statistics = task.row_statistics(PREDICTIONS[name])
    sums = {key: np.array([sum(statistics[row][key] for row in rows) for rows in SETS], float) for key in statistics[0]}
    pooled = task.pooled(sums)
    for n, rows in enumerate(SETS):
        scores = task.score([PREDICTIONS[name][row] for row in rows])
        expected = {key: value for key, value in scores.items() if isinstance(value, float) and key not in OF_SAMPLES}
        assert {key: values[n] for key, values in pooled.items()} == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert set(task.metrics) <= set(pooled)


@pytest.mark.parametrize("name", TASKS)
def test_one_row_is_its_own_interval(name):
    task, [first, *_] = get_task(name), PREDICTIONS[name]
    found = intervals(task.row_statistics([first]), task.pooled, seed=1)
    scores = task.score([first])
    assert found == {key: [pytest.approx(scores[key])] * 2 for key in found}
    assert set(task.metrics) <= set(found)


def test_a_task_need_not_have_pooled_metrics():
    assert intervals(Task().row_statistics(TEXTS), Task().pooled, seed=1) == {}
