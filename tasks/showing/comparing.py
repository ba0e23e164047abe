"""Runs of one task side by side: their figures, what they differ in, and whether the difference is more than chance."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tasks import get_task
from tasks.base import Prediction, Separator, Source, Task
from tasks.errors import UserError
from tasks.metrics.bootstrap import paired_differences
from tasks.publishing.report import RunReport, check_finished, read_object
from tasks.run_folder import PREDICTIONS_FILE, RESULTS_FILE, RUN_FILE, TASK_FILE, own
from tasks.training.plots import COLOURS, loss_curves

#: Rows that are listed, and settings that say where and how a run was watched, not what it learned.
SHOWN = 10
WATCHED = ("logging_", "overwrite_output_dir")


@dataclass
class Run:
    """A finished run, or a measurement of evaluate_model.py, and its figures computed anew.

    ``statistics`` are what each row adds to the sums of the metric, and ``scores`` its main metric, both in the order of
    ``predictions``; ``worst`` are places of the worst rows.
    """

    folder: Path
    number: int
    results: dict[str, Any]
    predictions: list[Prediction]
    settings: dict[str, Any] = field(default_factory=dict)
    version: int | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    statistics: list[dict[str, float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    worst: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Those of training and predicting."""
        return self.results.get("train_runtime", 0) + self.results.get("predict_runtime", 0)


@dataclass
class Pair:
    """Two runs on the ``shared`` rows that both have; ``reason`` says why no difference is told.

    ``groups``: how many groups of rows the resamples draw, None where they draw rows. ``differences`` are those of
    ``paired_differences``. ``rows`` are the ones that the runs differ most in: (place in first, place in second).
    """

    first: Run
    second: Run
    shared: int
    groups: int | None = None
    reason: str | None = None
    differences: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Comparison:
    """The runs of one task, and all later ones beside the first."""

    task: Task
    runs: list[Run]
    pairs: list[Pair]

    @property
    def metrics(self) -> list[str]:
        """Names of the figures that a run has, the main one first."""
        names = dict.fromkeys((self.task.main_metric, *self.task.metrics))
        return [name for name in names if any(isinstance(run.results.get(name), float) for run in self.runs)]

    @property
    def settings(self) -> dict[str, list[Any]]:
        """Settings that are not the same in all runs: name -> value of each."""
        names = dict.fromkeys(name for run in self.runs for name in run.settings if not name.startswith(WATCHED))
        values = {name: [run.settings.get(name) for run in self.runs] for name in names}
        return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def load_runs(folder: Path, number: int, split: str) -> list[Run]:
    """The run in ``folder``, of several tasks one for each.

    Raises UserError where it is none, not finished, or has no predictions of ``split``.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the output folders of runs")
    check_finished(folder)
    results = read_object(folder / RESULTS_FILE)
    if not isinstance(results.get("task"), str):
        raise UserError(f"{folder}: no {RESULTS_FILE} of a run there; name the output folder of a finished run")
    report = RunReport.load(folder) if (folder / TASK_FILE).is_file() else None
    parts = report.parts if report and len(report.parts) > 1 else ()
    own_results = [(part, results | own(results, part.prefix) | {"task": part.config.task}) for part in parts]
    return [_load_run(folder, number, split, *each) for each in own_results or [(report, results)]]


def _load_run(folder: Path, number: int, split: str, report: RunReport | None, results: dict[str, Any]) -> Run:
    prefix = "test_" if split == "test" else ""
    path = folder / f"{report.prefix if report else ''}{prefix}{PREDICTIONS_FILE}"
    if not path.is_file() or not isinstance(results.get(f"{prefix}rows"), int):
        advice = "measure the model with scripts/evaluate_model.py, and name the folder that it writes"
        raise UserError(f"{folder}: no predictions of {split} rows there ({path.name}); {advice}")
    results |= {name.removeprefix(prefix): value for name, value in results.items() if name.startswith(prefix)}
    run = Run(folder, number, results, _read_predictions(path))
    if report:
        facts = {f"version of {name}": version for name, version in report.versions.items()}
        files = {f"SHA-256 of {file['split']}": file["sha256"] for file in report.data.files}
        given = read_object(folder / RUN_FILE).get("settings", {})
        run.settings = given | files | facts | {"git_commit": report.git_commit}
        run.version, run.log = report.config.task_version, report.log
    return run


def _read_predictions(path: Path) -> list[Prediction]:
    rows = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                texts = (row["id"], row["prompt"], row["prediction"] or "", *row["references"])
                if not (isinstance(row["references"], list) and all(isinstance(text, str) for text in texts)):
                    raise ValueError("what should be text is not")
                references, scores = tuple(row["references"]), dict(row["scores"])
                rows.append(Prediction(row["id"], row["prompt"], row["prediction"], references, scores))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UserError(f"{path} line {number}: no prediction of this project ({error!r:.60}); run again") from None
    return rows


def compare(runs: Sequence[Run], seed: int) -> list[Comparison]:
    """A Comparison for each task, in the order in which the tasks come. Raises UserError where a run cannot be measured."""
    tasks = dict.fromkeys(run.results["task"] for run in runs)
    return [_compare(get_task(name), [run for run in runs if run.results["task"] == name], seed) for name in tasks]


def _compare(task: Task, runs: list[Run], seed: int) -> Comparison:
    metric = task.metric()
    if task.learns_labels:  # those of all runs, so that the same labels are counted for each
        task.label_words = {label: label for run in runs for label in run.results.get("per_label", {})}
    for run in runs:
        try:
            inputs = task.metric_inputs(run.predictions)
            run.statistics = metric.rows(**inputs)
            run.scores = [scores.get(task.main_metric, math.nan) for scores in task.row_scores(run.predictions)]
            run.worst = _worst(task, run)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise UserError(f"{run.folder}: its predictions cannot be measured ({error!r:.120}); run again") from None
    told = [name for name, value in metric.details(**inputs).items() if isinstance(value, str)]
    return Comparison(task, runs, [_pair(task, runs[0], other, told, seed) for other in runs[1:]])


def _pair(task: Task, first: Run, second: Run, told: Sequence[str], seed: int) -> Pair:
    """``told`` are results in which a metric names what it was computed with."""
    # The prompt of a text that is scored is the beginning of a sample, which few rows have.
    scored = task.output_type == "loglikelihood"
    keys = [[(row.id, "" if scored else row.prompt, row.references) for row in run.predictions] for run in (first, second)]
    places = {key: place for place, key in enumerate(keys[1])}
    both = [(place, places[key]) for place, key in enumerate(keys[0]) if key in places]
    versions = [[run.version, *(run.results.get(name) for name in told)] for run in (first, second)]
    for name, one, other in zip(("version of the task", *told), *versions):
        if one != other and None not in (one, other):
            return Pair(first, second, len(both), reason=f"the metrics differ: {name} is {one} and {other}")
    if not both:
        return Pair(first, second, 0, reason="no row is in both: id, prompt and references have to be the same")
    groups = groups_of(task, [first.predictions[place].prompt for place, _ in both])
    rows = [[run.statistics[pair[side]] for pair in both] for side, run in enumerate((first, second))]
    for each, run in zip(rows, (first, second)):  # statistics that are zero may be missing from all but a first row
        each[0] = {**dict.fromkeys(run.statistics[0], 0), **each[0]}
    changed = {pair: abs(first.scores[pair[0]] - second.scores[pair[1]]) for pair in both}
    most = sorted((pair for pair in both if changed[pair] > 0), key=lambda pair: -changed[pair])
    return Pair(
        first, second, len(both),
        groups=len(set(groups)) if groups else None,
        differences=paired_differences(*rows, task.metric().pool, seed, groups),
        rows=most[:SHOWN],
    )  # fmt: skip


def groups_of(task: Task, prompts: Sequence[str]) -> list[str] | None:
    """The text of each prompt's Source, where rows of the task that share it are alike; None otherwise."""
    if not task.grouped_by:
        return None
    parts = task.prompt({column.name: column.name for column in task.input_columns})
    pattern = "".join(
        re.escape(part) if isinstance(part, Separator) else "(.*?)" if isinstance(part, Source) else ".*?" for part in parts
    )
    found = [re.fullmatch(pattern, prompt, re.DOTALL) for prompt in prompts]
    return [match.group(1) if match else prompt for match, prompt in zip(found, prompts)]


def _worst(task: Task, run: Run) -> list[int]:
    """Places of the rows with the worst scores; of labels the surest mistakes."""
    sign = 1 if task.metrics[task.main_metric].higher else -1
    sure = [max(task.probabilities(row.scores).values(), default=0.0) for row in run.predictions]
    known = [place for place, score in enumerate(run.scores) if not math.isnan(score)]
    return sorted(known, key=lambda place: (sign * run.scores[place], -sure[place]))[:SHOWN]


# What is shown


def verdict(difference: Mapping[str, Any], higher: bool | None) -> str:
    """Which of two runs is better by this metric, in words."""
    low, high = difference["interval"]
    if low <= 0 <= high:
        return "not decided"
    return "differs" if higher is None else "better" if (low > 0) == higher else "worse"


def number(value: Any) -> str:
    """A figure with four digits or so; what is no figure as it is."""
    if isinstance(value, bool) or not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.3g}" if 0 < abs(value) < 0.001 else f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def interval(value: Sequence[float] | None) -> str:
    """``[low, high]``, or nothing."""
    return f"[{number(value[0])}, {number(value[1])}]" if value else ""


def facts_of(comparison: Comparison) -> list[dict[str, str]]:
    """A row of the table for each run: what it was and what was measured of it on all of its rows."""
    main, rows = comparison.task.main_metric, []
    for run in comparison.runs:
        results = run.results
        rows.append(
            {
                "run": f"{run.number}",
                "folder": str(run.folder),
                "base": number(results.get("base_model")),
                "rate": number(run.settings.get("learning_rate")),
                "seed": number(results.get("seed")),
                "rows": number(results["rows"]),
                **{
                    name: f"{number(results.get(name))} {interval(results.get('intervals', {}).get(name))}".strip()
                    for name in comparison.metrics
                },
                f"baseline {main}": f"{number(results.get(f'baseline_{main}'))} {results.get('baseline') or ''}".strip(),
                "seconds": f"{run.seconds:.0f}",
            }
        )
    return rows


def as_page(comparisons: Sequence[Comparison]) -> str:
    """The whole comparison as one HTML page that needs no other file. Texts of the data are escaped."""
    environment = Environment(
        loader=PackageLoader("tasks.showing", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {
        "number": number, "interval": interval, "verdict": verdict, "facts_of": facts_of, "colours": COLOURS,
        "curves": lambda runs: Markup(loss_curves({f"run {run.number}": (run.number, run.log) for run in runs})),
    }  # fmt: skip
    return environment.get_template("compare.html.jinja").render(comparisons=comparisons)
