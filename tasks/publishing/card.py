"""A model card from a RunReport, through a template of model_cards/."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError

from tasks import task_of
from tasks.arguments.publishing import PublishArguments
from tasks.base import MEAN, Separator, Task
from tasks.errors import UserError
from tasks.labels import LABEL
from tasks.preparing.encoding import SHARED
from tasks.publishing.edits import by_task, note_sections
from tasks.publishing.facts import repeatable, without_names
from tasks.publishing.license import license_of, license_words
from tasks.publishing.metadata import card_metadata, metric_of, metrics_of, split_name
from tasks.publishing.report import RunReport, benchmarks_of, copies_of, examples_of
from tasks.publishing.snippet import TEMPLATES, usage_snippet
from tasks.training.plots import CONFUSION
from tasks.wording import hardware, number, plain, seconds, verbatim

#: Sections of a card that each of several tasks has its own of.
BY_TASK = ("prompt", "usage", "results", "examples", "data", "use")

#: Labels that a card lists and has a confusion matrix and figures of.
MOST_LABELS = 20


def render_card(report: RunReport, folder: Path, publish_args: PublishArguments, model_id: str | None = None) -> str:
    """The whole card. ``model_id`` is the repository, by default the folder's name.

    Of several tasks each has its own prompt, program, results, data and limits. A licence that is not settled is left out:
    publishing asks for it.

    Raises:
        UserError: the template is broken.
    """
    try:
        license = license_of(report, publish_args)
    except UserError:
        license = None
    language = publish_args.card_language or "en"
    name = (model_id or folder.resolve().name).rsplit("/", 1)[-1]
    command = report.command and repeatable(report.command, report.base)
    names_shown = publish_args.card_file_names
    measured = benchmarks_of(folder)
    try:
        metadata = card_metadata(report, license=license, name=name, file_names=names_shown, benchmarks=measured)
        values = {
            "card_data": metadata.to_yaml(),
            "name": name,
            "command": command and without_names(command, report, names_shown),
            "base": report.base,
            "has_curve": (folder / "loss.png").is_file(),
            "benchmarks": measured and _benchmarks(measured),
            "copies": [_copy(about["measured"], report, language) for about in copies_of(folder)],
        }
        parts = []
        for part in report.parts:
            task = task_of(part.config)
            parts.append({
                **values,
                "snippet": usage_snippet(task, part, model_id or folder.resolve().name),
                "report": part,
                "data": part.data,
                **_files(part, names_shown),
                "prefix": part.prefix,
                "has_confusion": (folder / f"{part.prefix}{CONFUSION}").is_file(),
                "examples": examples_of(folder, publish_args.card_examples or 0, part.prefix),
                **_words(task, part, language),
                **_results(task, part, language),
                **_training(task, part, language),
                **license_words(part, publish_args, license, language),
            })  # fmt: skip
        whole = _together(report, parts, language)
    except (TypeError, ValueError, KeyError, AttributeError) as error:  # figures of another type in a folder of anybody's
        raise UserError(f"{folder}: its results or its report are damaged ({error!r:.80}); run again") from None
    own = publish_args.card_template
    try:
        template = parse_template(Path(own)) if own else TEMPLATES.get_template(f"{language}.md")
        several = zip(report.parts, parts) if len(parts) > 1 else ()
        cards = {part.config.task: template.render(values) for part, values in several}
        return note_sections(by_task(template.render(whole), cards, BY_TASK))
    except UserError:
        raise
    except Exception as error:  # a template of the user's may raise anything
        raise UserError(f"{own or language}: the template cannot be used ({error}); see model_cards/en.md") from None


def _together(report: RunReport, parts: list[dict[str, Any]], language: str) -> dict[str, Any]:
    """The values of one task, or for the sections that several tasks share."""
    if len(parts) == 1:
        return parts[0]
    too, scale = {
        "en": ("; it ", "mean normalized score (0: baselines, 1: best possible values)"),
        "ko": (". 또한 ", "정규화 점수의 평균 (0: 기준선, 1: 가능한 최고값)"),
    }[language]
    results, first = report.results, report.parts[0]
    headline = MEAN in results and {
        "label": scale, "value": number(results[MEAN]), "rows": results["rows"], "split": "validation", "shared": None,
        "interval": "", "baseline": "", "below_baseline": results[MEAN] <= 0,
    }  # fmt: skip
    return {
        **parts[0],
        **_training(task_of(first.config), dataclasses.replace(first, results=results), language),
        "does": too.join(part["does"] for part in parts),
        "decoding": "; ".join(f"{part['report'].config.task} {part['decoding']}" for part in parts if part["decoding"]),
        "headline": headline,
        "data_license": ", ".join(sorted({part["data_license"] for part in parts if part["data_license"]})) or None,
    }


def parse_template(path: Path) -> Template:
    """The template in a file. Raises UserError where it is none."""
    try:
        return TEMPLATES.from_string(path.read_text("utf-8"))
    except (OSError, ValueError, TemplateError) as error:
        raise UserError(f"{path}: the template cannot be used ({error}); see model_cards/en.md") from None


def _files(report: RunReport, names_shown: bool) -> dict[str, Any]:
    """The user's own data, file by file: rows where a split has one file, and the name where it may be shown."""
    data, splits = report.data, [file["split"] for file in report.data.files]
    rows = {split: counts["rows"] for split, counts in report.results.get("counts", {}).items() if "rows" in counts}
    files = [
        {**file, "rows": f"{rows[split]:,}" if splits.count(split) == 1 and split in rows else ""}
        for split, file in zip(splits, data.files)
    ]
    own = data.source in ("files", "folder") and not names_shown
    choices = [choice.split(": ", 1)[-1] if own else choice for choice in data.choices]  # train.csv: the file's own columns
    return {"files": files, "names_shown": names_shown, "choices": list(dict.fromkeys(choices))}


def _words(task: Task, report: RunReport, language: str) -> dict[str, Any]:
    text, words = task.card.get(language), report.config.label_words.values()
    return {
        "does": text.does if text else task.name,
        "use": text.use if text else None,
        "limits": text.limits if text else (),
        "label_words": ", ".join(
            f"{verbatim(label)} `{word}`" for label, word in list(report.config.label_words.items())[:MOST_LABELS]
        ),
        "labels": ", ".join(map(verbatim, list(report.config.label_words)[:MOST_LABELS])),
        "label_tokens": any(isinstance(word, Separator) for word in task.label_words.values()),
        "more_labels": len(report.config.label_words) - MOST_LABELS,
        "separators": ", ".join(f"`{name}`" for name in report.config.separators if name not in words),
    }


def _results(task: Task, report: RunReport, language: str) -> dict[str, Any]:
    """The table of each split that was measured, and the headline: the main metric of the last one."""
    from tasks.metrics.bootstrap import RESAMPLES

    results, tables = report.results, []
    for split, prefix in (("validation", ""), ("test", "test_")):
        metrics = metrics_of(results, prefix)
        if len(results.get(f"{prefix}per_label", ())) > MOST_LABELS:
            metrics = {name: value for name, value in metrics.items() if not name.startswith("per_label.")}
        if f"{prefix}rows" not in results or not metrics:
            continue
        rows = []
        for name, value in metrics.items():
            metric, baseline = metric_of(task, name), results.get(f"{prefix}baseline_{name}")
            low, high = (results.get(f"{prefix}intervals") or {}).get(name, (None, None))  # null stands for infinity
            rows.append(
                {
                    "name": name,
                    "label": verbatim(getattr(metric, language)) if "." in name else getattr(metric, language),
                    "value": number(value),
                    "interval": "" if low is None or high is None else f"{number(low)} - {number(high)}",
                    "baseline": "" if baseline is None else number(baseline),
                    "main": name == task.main_metric,
                    "below_baseline": baseline is not None and (value <= baseline if metric.higher else value >= baseline),
                }
            )
        majority = results.get(f"{prefix}baseline_majority_{task.main_metric}")
        confusion, baseline_name = results.get(f"{prefix}confusion_matrix"), results.get(f"{prefix}baseline", "")
        tables.append(
            {
                "split": split,
                "of": split_name(report.data, split),
                "share": report.data.validation_share if split == "validation" else None,
                "rows": results[f"{prefix}rows"],
                "shared": results.get("counts", {}).get(split, {}).get(SHARED),
                "unwritable": results.get("counts", {}).get(split, {}).get("unwritable"),
                "unfinished": results.get(f"{prefix}unfinished_predictions"),
                "baseline_name": task.baselines.get(baseline_name, baseline_name) if language == "ko" else baseline_name,
                "metrics": rows,
                "majority": number(majority) if majority is not None else None,
                "confusion": _shown(confusion) if isinstance(confusion, Mapping) else None,
            }
        )
    main = next((row for table in tables[-1:] for row in table["metrics"] if row["main"]), None)
    return {
        "result_tables": tables,
        "headline": main and {**tables[-1], **main},
        "resamples": f"{RESAMPLES:,}" if any(row["interval"] for table in tables for row in table["metrics"]) else None,
        "seed": results.get("seed"),
        "calibration": results.get("calibration") if report.config.temperature else None,
        "grouped_by": task.grouped_by if "interval_groups" in results or "test_interval_groups" in results else None,
    }


def _benchmarks(found: Mapping[str, Any]) -> dict[str, Any]:
    """The table of benchmarks.json, named as lm-eval names its tasks."""
    rows = [
        {
            "task": f"{verbatim(str(row['task']))} ({row['version']})",
            "num_fewshot": "" if row["num_fewshot"] is None else row["num_fewshot"],
            "rows": f"{row['rows']:,}" if row["rows"] else "",
            "metric": verbatim(row["metric"]),
            **{name: "" if row[name] is None else number(row[name]) for name in ("value", "stderr")},  # null: not a number
        }
        for row in found["results"]
    ]
    return {"rows": rows, "lm_eval": found["lm_eval"], "limit": found["limit"]}


def _copy(measured: Mapping[str, Any], report: RunReport, language: str) -> dict[str, Any]:
    """The table of a copy for another engine: original and copy on the same rows, as scripts/export.py measured them."""
    models = measured["models"]
    tasks = [task_of(part.config) for part in report.parts]
    task, *_ = (task for task in tasks if task.main_metric in models["original"])
    return {
        "metric": getattr(metric_of(task, task.main_metric), language),
        "rows": f"{measured['rows']:,}",
        "batch_size": measured["batch_size"],
        "hardware": hardware(measured["machine"], language),
        "models": [
            {
                "name": name,
                "value": number(model[task.main_metric]),
                "same": f"{model['same']:.1%}" if "same" in model else "",
                **{figure: number(model[figure]) for figure in ("megabytes", "rows_per_second")},
            }
            for name, model in models.items()
        ],
    }


def _shown(matrix: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]] | None:
    """The confusion matrix with labels that are safe in a table; None where it would be too wide for a page."""
    if len(matrix) > MOST_LABELS:
        return None
    return {verbatim(right): {verbatim(given): n for given, n in row.items()} for right, row in matrix.items()}


def _training(task: Task, report: RunReport, language: str) -> dict[str, Any]:
    """The log at each evaluation, arguments, seconds, decoding, machine and versions."""
    log, loss = [], None
    for entry in report.log:
        loss = entry.get("loss", loss)
        if "eval_loss" in entry:
            figures = {"loss": "" if loss is None else number(loss), "eval_loss": number(entry["eval_loss"])}
            log.append({"step": entry["step"], "epoch": f"{entry['epoch']:.2f}", **figures})
            loss = None  # it was logged before this evaluation, and says nothing of the next
    arguments, changed = [], []
    for name, value in sorted(report.arguments.items()):
        default = report.defaults.get(name)
        arguments.append({"name": name, "value": plain(value), "default": plain(default)})
        if value != default and (value or default):  # None and False are both "off"
            changed.append(arguments[-1])
    results = report.results
    timed = {} if report.resumed else results
    found = (name for row in results.get("counts", {}).values() for name in row)
    columns = list(dict.fromkeys(name for name in found if not name.startswith((LABEL, "skipped_"))))  # perhaps many
    # A count that is missing is 0, but for rows shared with train: those nobody has counted.
    counts = {
        split: ["-" if name == SHARED and name not in row else f"{row.get(name, 0):,}" for name in columns]
        for split, row in results.get("counts", {}).items()
    }
    # A label is chosen, not written.
    settings = {} if task.output_type == "multiple_choice" else report.config.generation
    shown = ["max_new_tokens", "num_beams", "do_sample", "repetition_penalty", "no_repeat_ngram_size"]
    shown += ["top_k", "top_p", "temperature"] if settings.get("do_sample") else []
    shown += ["extractive"] if settings.get("extractive") else []
    return {
        "log_rows": log,
        "arguments": arguments,
        "changed": changed,
        "seconds": seconds(timed.get("train_runtime"), language),
        "tokens_per_second": f"{timed['train_tokens_per_second']:,.0f}" if "train_tokens_per_second" in timed else None,
        "predict_seconds": seconds(results.get("predict_runtime"), language),
        "counts": {"columns": columns, "rows": counts} if counts else None,
        "cut": {split: row["cut"] for split, row in results.get("counts", {}).items() if row.get("cut")},
        "decoding": ", ".join(f"`{name}={settings[name]}`" for name in shown if name in settings),
        "hardware": hardware(report.hardware, language),
        "versions": ", ".join(f"{package} {version}" for package, version in report.versions.items()),
    }
