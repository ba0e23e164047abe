"""Predictions as lines of a file or a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tasks.base import Prediction, Task


def as_text(task: Task, row: dict[str, Any], predictions: Sequence[Prediction]) -> list[str]:
    """One line a prediction; line breaks inside it become spaces."""
    return [" ".join(prediction.text.split()) for prediction in predictions]


def as_json(task: Task, row: dict[str, Any], predictions: Sequence[Prediction]) -> list[str]:
    """One object a row: its id, its columns, the prediction, and scores where there are some."""
    shown = {"id": row["id"], **{column.name: row[column.name] for column in task.input_columns}}
    shown["prediction"] = predictions[0].text
    if len(predictions) > 1:
        shown["predictions"] = [prediction.text for prediction in predictions]
    if predictions[0].scores:
        shown["scores"] = predictions[0].scores
    return [json.dumps(shown, ensure_ascii=False)]
