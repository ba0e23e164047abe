"""Metrics of a split beside their baseline, and their table for the terminal."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers.trainer_utils import unwrap_peft_model

from tasks.arguments.training import TrainingArguments
from tasks.base import MEAN, Example, Prediction, Task
from tasks.distributed import is_first
from tasks.inference.predicting import UNFINISHED, Predictor
from tasks.labels import LABEL
from tasks.preparing.encoding import SHARED, Encoder
from tasks.run_folder import PREDICTIONS_FILE, own, write_jsonl

#: Labels whose rows the terminal tells.
MOST_LABELS = 10

logger = logging.getLogger(__name__)


def format_results(task: Task, results: Mapping[str, Any]) -> str:
    """The main figures of ``all_results.json`` beside their baseline."""
    lines = []
    intervals = {name: f"[{low:.3f}, {high:.3f}]" for name, (low, high) in results.get("intervals", {}).items()}
    if "rows" in results:
        drawn = f"groups of rows that share their {task.grouped_by}" if "interval_groups" in results else "the rows"
        note = f" and in brackets the 95 % interval over {drawn}" if intervals else ""
        shared = results["counts"].get("validation", {}).get(SHARED)
        seen = f", {shared} of which training read too," if shared else ","
        lines.append(
            f"{task.name} on {results['rows']} validation rows{seen} beside the baseline ({results['baseline']}){note}:"
        )
    figures = {}
    for name, value in results.items():
        baseline = results.get(f"baseline_{name}")
        metric = task.metrics.get(name)
        alone = name in ("eval_loss", "train_runtime") or name.startswith("free_") or (metric and metric.higher is not None)
        if isinstance(value, float) and (baseline is not None or alone):
            figures[name] = value, baseline
    width = max((len(intervals[name]) + 2 for name in figures if name in intervals), default=0)
    for name, (value, baseline) in figures.items():
        beside = f"{baseline:14.4f}" if baseline is not None else " " * 14
        interval = f"  {intervals[name]}".ljust(width) if name in intervals else " " * width
        mark = "  <- main" * (name == task.main_metric)
        lines.append(f"  {name:24} {value:10.4f}{interval} {beside}{mark}")
    for split, counts in results["counts"].items():
        labels = [key for key in counts if key.startswith(LABEL)]
        shown = [key for key in counts if key not in labels[MOST_LABELS:]]
        more = f", and {len(labels) - MOST_LABELS} more labels" if len(labels) > MOST_LABELS else ""
        lines.append(f"  {split}: " + ", ".join(f"{counts[key]:,} {key}" for key in shown) + more)
    return "\n".join(lines)


class Evaluator:
    """The predictor of each task of a run, with the model in training, and the ``examples`` of each split but train."""

    def __init__(
        self, task: Task, model: Any, encoder: Encoder, args: TrainingArguments, examples: Mapping[str, Sequence[Example]]
    ) -> None:
        """``model`` may be a PeftModel; its base model, which holds the adapter's layers, predicts."""
        model = unwrap_peft_model(model)
        self.task = task
        self.predictors = [
            Predictor(part, model, each, each.settings, args.generation_batch_size, args.seed)
            for part, each in zip(task.parts, encoder.of_parts)
        ]
        self.examples = examples
        self.predictions: list[Prediction] = []

    def score(self) -> dict[str, Any]:
        """Predict the validation rows. Returns the metrics, of several tasks the main ones, and sets ``predictions``."""
        self.predictions = []
        found: dict[str, Any] = {}
        for predictor in self.predictors:
            task = predictor.task
            predictions = predictor.predict(own(self.examples, task.prefix)["validation"])
            self.predictions += predictions
            scores = task.score(predictions)
            found |= {f"{task.prefix}{task.main_metric}": scores[task.main_metric]} if task.prefix else scores
        return found | overall(self.task.parts, found | self.baseline) if len(self.predictors) > 1 else found

    @cached_property
    def baseline(self) -> dict[str, Any]:
        """What ``score`` is compared with, which stays the same: the figures of ``Task.baseline``."""
        found: dict[str, Any] = {}
        for part in self.task.parts:
            rows = own(self.examples, part.prefix)
            figures = part.baseline(rows["validation"], rows.get("train"))
            found |= {f"{part.prefix}{name}": value for name, value in figures.items()}
        return found


def normalized_score(task: Task, figures: Mapping[str, Any]) -> float:
    """Of the main metric (value - baseline) / (best - baseline): 0 at the baseline and 1 at the best possible value.

    ``figures`` has both, as all_results.json does. The Open LLM Leaderboard normalizes its scores in this way.
    """
    metric = task.metrics[task.main_metric]
    value, baseline = figures[task.main_metric], figures[f"baseline_{task.main_metric}"]
    best = metric.most if metric.higher else 0.0
    return float(value == best) if baseline == best else (value - baseline) / (best - baseline)


def overall(tasks: Sequence[Task], results: Mapping[str, Any]) -> dict[str, Any]:
    """What ``results`` say of several tasks together: each one's normalized score, and their mean; {} for one task.

    Where they were predicted, also all rows and seconds, as one task has them.
    """
    parts = [own(results, task.prefix) for task in tasks if len(tasks) > 1]
    scores = {task.name: normalized_score(task, row) for task, row in zip(tasks, parts) if task.main_metric in row}
    if not scores:
        return {}
    sums = {name: sum(row[name] for row in parts) for name in ("rows", "predict_runtime") if name in parts[0]}
    return sums | {"normalized_scores": scores, MEAN: math.fsum(scores.values()) / len(scores)}


def measure(
    predictor: Predictor, examples: Sequence[Example], folder: Path, prefix: str = "", train: Sequence[Example] | None = None
) -> dict[str, Any]:
    """Predict, write ``<prefix>predictions.jsonl`` into ``folder``, and return the metrics beside their baseline.

    With ``extractive`` the rows are predicted without it too, for ``<prefix>free_<metric>``. ``<prefix>intervals`` are the
    95 % intervals {metric: [low, high]} over the rows, or over ``interval_groups`` groups of rows that share the text of the
    task's ``grouped_by``; ``calibration`` is that of labels' scores. The baseline may use the training rows ``train``. Only
    the first process writes and scores; the others return {}.
    """
    task = predictor.task
    started = time.perf_counter()
    predictions = predictor.predict(examples)
    seconds = time.perf_counter() - started
    free = None
    if predictor.settings["extractive"]:
        freely = dataclasses.replace(predictor, settings=predictor.settings | {"extractive": False})
        free = freely.predict(examples)
    if not is_first():
        return {}
    for prediction, scores in zip(predictions, task.row_scores(predictions), strict=True):
        prediction.scores.update({name: round(value, 6) for name, value in scores.items()})
    write_jsonl(folder / f"{prefix}{PREDICTIONS_FILE}", (prediction.as_row() for prediction in predictions))
    metrics = {"rows": len(examples), **task.score(predictions)}
    if free is not None:
        metrics |= {f"free_{name}": value for name, value in task.score(free).items()}
    groups = [example.group for example in examples] if task.grouped_by else None
    metrics["intervals"] = task.intervals(predictions, predictor.seed, groups)
    if groups:
        metrics["interval_groups"] = len(set(groups))
    metrics |= task.baseline(examples, train)
    if calibration := task.calibration(predictions, predictor.seed):
        metrics["calibration"] = calibration
    unfinished = sum(UNFINISHED in prediction.scores for prediction in predictions)
    if unfinished:
        room = predictor.settings["max_new_tokens"]
        logger.warning(
            "%d of %d predictions ended because --max_new_tokens %d was used up; raise it, or they end in mid-sentence",
            unfinished, len(predictions), room,
        )  # fmt: skip
        metrics[f"{UNFINISHED}_predictions"] = unfinished
    metrics |= {"predict_runtime": seconds, "predict_rows_per_second": len(examples) / seconds}
    return {f"{prefix}{name}": value for name, value in metrics.items()}
