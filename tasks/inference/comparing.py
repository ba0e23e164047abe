"""Two or more models on the same rows, in turns, so that what else the machine does slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.base import Example, Prediction
from tasks.inference.predicting import Predictor

#: How often the models take turns.
TURNS = 4


def side_by_side(predictors: Mapping[str, Predictor], examples: Sequence[Example]) -> dict[str, dict[str, Any]]:
    """The task's metrics of each predictor, its rows a second, and ``same``: the share of texts or labels as of the first.

    What is sampled is never the same, and not counted.
    """
    rows: dict[str, list[Prediction]] = {name: [] for name in predictors}
    seconds = dict.fromkeys(predictors, 0.0)
    names = list(predictors)
    for turn in range(TURNS):
        part = examples[turn::TURNS]
        for name in names if part else ():
            started = time.perf_counter()
            rows[name] += predictors[name].predict(part)
            seconds[name] += time.perf_counter() - started
        names.reverse()
    first = [prediction.text for prediction in next(iter(rows.values()))]
    figures: dict[str, dict[str, Any]] = {}
    for name, predictions in rows.items():
        task, sampled = predictors[name].task, predictors[name].settings["do_sample"]
        figures[name] = task.score(predictions) | {"rows_per_second": len(examples) / seconds[name]}
        same = [prediction.text == text for prediction, text in zip(predictions, first) if text is not None and not sampled]
        if same:
            figures[name]["same"] = sum(same) / len(same)
    return figures


def as_table(metric: str, figures: Mapping[str, Mapping[str, float]]) -> str:
    """The metric, size and speed of each model, a line each."""
    forms = {metric: ".4f", "same": ".1%", "megabytes": ".1f", "rows_per_second": ".2f"}
    shown = {name: form for name, form in forms.items() if all(name in each for each in figures.values())}
    width = max(map(len, figures)) + 2
    lines = [" " * width + "".join(f"{name:>18}" for name in shown)]
    for name, each in figures.items():
        lines.append(name.ljust(width) + "".join(f"{each[key]:>18{form}}" for key, form in shown.items()))
    return "\n".join(lines)
