"""A model card from a RunReport, through a template of model_cards/."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tasks import task_of
from tasks.arguments.publishing import PublishArguments
from tasks.base import Task
from tasks.errors import UserError
from tasks.preparing.overlap import SHARED
from tasks.publishing.facts import repeatable
from tasks.publishing.license import LICENSES, credit, license_metadata, resolve_license
from tasks.publishing.merge import note_sections
from tasks.publishing.metadata import card_metadata, metric_of, metrics_of, split_name
from tasks.publishing.report import Base, RunReport
from tasks.publishing.snippet import usage_snippet
from tasks.run_folder import PREDICTIONS_FILE


def license_for(base: Base, data_license: str | None, publish_args: PublishArguments) -> str:
    """The licence of the model, by the rules of ``resolve_license``; what the user says of the data comes first.

    Raises:
        UserError: base, data and what was asked for do not go together, or none is known; or the base is a folder whose
            licence asks to credit a maker whom nothing names.
    """
    license = resolve_license(
        base.license,
        publish_args.license,
        publish_args.dataset_license or data_license,
        base_model=None if base.from_scratch else base.hub_id or base.name,
        allow_nd_dataset=publish_args.allow_nd_dataset,
    )
    of_base = LICENSES.get((base.license or "").lower())
    nobody = base.hub_id is None and not base.from_scratch
    # Permissive and copyleft licences ask to keep notices; these ask to name and link the source, or prescribe the words.
    if nobody and of_base and of_base.kind in ("cc", "vendor") and "attribution" in of_base.asks:
        raise UserError(
            f"the base is the local model {base.name!r} under {of_base.id}, which asks for credit to its maker, and nothing "
            "there says who that is; name the Hub id that it is a copy of by --base_model, or publish it first and train on "
            "what was published"
        )
    return license


def render_card(report: RunReport, folder: Path, publish_args: PublishArguments, model_id: str | None = None) -> str:
    """The whole card. ``model_id`` is the repository, or else the folder itself.

    A licence that is not settled is left out: publishing asks for it.

    Raises:
        UserError: the template is broken.
    """
    from jinja2 import Environment, StrictUndefined

    try:
        license = license_for(report.base, report.data.license, publish_args)
    except UserError:
        license = None
    task, language = task_of(report.config), publish_args.card_language or "en"
    name = (model_id or folder.resolve().name).rsplit("/", 1)[-1]
    values = {
        "card_data": card_metadata(report, license=license, name=name).to_yaml(),
        "name": name,
        "snippet": usage_snippet(task, report, model_id or folder.resolve().name),
        "report": report,
        "command": report.command and repeatable(report.command, report.base),
        "base": report.base,
        "data": report.data,
        "has_curve": (folder / "loss.png").is_file(),
        "examples": examples(folder, publish_args.card_examples or 0),
        **_words(task, report, language),
        **_results(task, report, language),
        **_training(task, report, language),
        **_license(report, publish_args, license, language),
    }
    own = publish_args.card_template
    path = Path(own) if own else files("model_cards") / f"{language}.md"
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True)
    try:
        return note_sections(environment.from_string(path.read_text("utf-8")).render(values))
    except Exception as error:  # a template of the user's may raise anything
        raise UserError(f"{path}: the template cannot be used ({error}); see model_cards/en.md") from None


def _words(task: Task, report: RunReport, language: str) -> dict[str, Any]:
    text = task.card.get(language)
    return {
        "does": text.does if text else task.name,
        "use": text.use if text else None,
        "limits": text.limits if text else (),
        "separators": ", ".join(f"`{name}`" for name in report.config.separators),
        "label_words": ", ".join(f"{label} `{word}`" for label, word in report.config.label_words.items()),
    }


def _results(task: Task, report: RunReport, language: str) -> dict[str, Any]:
    """The tables of the splits that were measured, each with its confusion matrix, and the figure that stands at the top."""
    from tasks.metrics.bootstrap import RESAMPLES

    results, tables = report.results, []
    for split, prefix in (("validation", ""), ("test", "test_")):
        metrics = metrics_of(results, prefix)
        if f"{prefix}rows" not in results or not metrics:
            continue
        intervals = {
            metric: f"{number(ends[0])} - {number(ends[1])}"
            for metric, ends in (results.get(f"{prefix}intervals") or {}).items()
            if None not in ends  # null is what JSON has for infinity
        }
        confusion = results.get(f"{prefix}confusion_matrix")
        baseline_name = results.get(f"{prefix}baseline", "")
        baseline = {metric: results.get(f"{prefix}baseline_{metric}") for metric in metrics}
        rows = [
            {
                "name": metric,
                "label": getattr(metric_of(task, metric), language),
                "value": number(value),
                "interval": intervals.get(metric, ""),
                "baseline": "" if baseline[metric] is None else number(baseline[metric]),
                "main": metric == task.main_metric,
            }
            for metric, value in metrics.items()
        ]
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
                "values": metrics,
                "baselines": baseline,
                "confusion": confusion if isinstance(confusion, Mapping) else None,
            }
        )
    # What was measured last counts: the test rows, where there are some.
    return {
        "result_tables": tables,
        "headline": _headline(task, tables[-1]) if tables else None,
        "resamples": f"{RESAMPLES:,}" if any(row["interval"] for table in tables for row in table["metrics"]) else None,
        "seed": results.get("seed"),
    }


def _headline(task: Task, table: dict[str, Any]) -> dict[str, Any] | None:
    row = next((row for row in table["metrics"] if row["main"]), None)
    if row is None:
        return None
    value, baseline = table["values"][task.main_metric], table["baselines"][task.main_metric]
    worse = baseline is not None and (value <= baseline if task.metrics[task.main_metric].higher else value >= baseline)
    of_table = {name: table[name] for name in ("split", "rows", "shared", "baseline_name")}
    return {**row, **of_table, "below_baseline": worse}


def _training(task: Task, report: RunReport, language: str) -> dict[str, Any]:
    """The log at each evaluation, arguments, seconds, decoding, machine and versions."""
    log, loss = [], None
    for entry in report.log:
        loss = entry.get("loss", loss)
        if "eval_loss" in entry:
            log.append(
                {
                    "step": entry["step"],
                    "epoch": f"{entry['epoch']:.2f}",
                    "loss": "" if loss is None else number(loss),
                    "eval_loss": number(entry["eval_loss"]),
                }
            )
            loss = None  # it was logged before this evaluation, and says nothing of the next
    arguments = [{"name": name, "value": _plain(value)} for name, value in sorted(report.arguments.items())]
    changed = [
        {"name": name, "value": _plain(value), "default": _plain(report.defaults.get(name))}
        for name, value in sorted(report.arguments.items())
        if value != report.defaults.get(name) and (value or report.defaults.get(name))  # None and False are both "off"
    ]
    results = report.results
    timed = {} if report.resumed else results
    columns = list(dict.fromkeys(name for row in results.get("counts", {}).values() for name in row))
    # What happened to no row is not in the counts; rows shared with train are, unless nobody has counted them.
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
        "seconds": _seconds(timed.get("train_runtime"), language),
        "tokens_per_second": f"{timed['train_tokens_per_second']:,.0f}" if "train_tokens_per_second" in timed else None,
        "predict_seconds": _seconds(results.get("predict_runtime"), language),
        "counts": {"columns": columns, "rows": counts} if counts else None,
        "cut": {split: row["cut"] for split, row in results.get("counts", {}).items() if row.get("cut")},
        "decoding": ", ".join(f"`{name}={settings[name]}`" for name in shown if name in settings),
        "hardware": _hardware(report.hardware, language),
        "versions": ", ".join(f"{package} {version}" for package, version in report.versions.items()),
    }


def _license(report: RunReport, publish_args: PublishArguments, license: str | None, language: str) -> dict[str, Any]:
    data_license = (publish_args.dataset_license or report.data.license or "").lower() or None
    known = license_metadata(license, report.base) if license else {}
    change = {"en": "fine-tuned, as described above", "ko": "위에 적은 대로 미세 조정함"}[language]
    asked = LICENSES[data_license].asks if data_license in LICENSES else ()
    return {
        "license": license,
        "license_label": known.get("license_name") or (LICENSES[license].name if license else None),
        "license_link": known.get("license_link") or (LICENSES[license].link if license else None),
        "data_license": data_license,
        "nd_note": publish_args.allow_nd_dataset and "no-derivatives" in asked,
        "credit": credit(report.base.hub_id, language, change),
    }


def examples(folder: Path, count: int) -> list[dict[str, Any]]:
    """The first ``count`` rows of predictions.jsonl: prompt lines, what the model made of it, and the reference.

    Raises:
        UserError: the folder has no predictions, or they are damaged.
    """
    path = folder / PREDICTIONS_FILE
    if count and not path.is_file():
        raise UserError(f"--card_examples {count}: {path} is not there; leave the flag out, or run again")
    if not count:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            rows = [json.loads(line) for line, _ in zip(file, range(count))]
        return [
            {
                "prompt": [_verbatim(line) for line in row["prompt"].splitlines()],
                "prediction": _verbatim(" ".join((row["prediction"] or "").split())) or "-",
                "reference": " / ".join(_verbatim(" ".join(text.split())) for text in row["references"]),
            }
            for row in rows
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error!r}); leave --card_examples out, or run again") from None


def _verbatim(text: str) -> str:
    """``text`` as Markdown that shows it as it is: ``<summarize>`` would otherwise vanish like any unknown HTML."""
    text = re.sub(r"[\\`*_\[\]<>!|~&#$]", r"\\\g<0>", text)
    return re.sub(r"^(\s*(?:\d+(?=[.)]))?)([-+=.)])", r"\1\\\2", text)


def number(value: float) -> str:
    """A figure for people: as many digits as tell something."""
    if value and not 0.001 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _seconds(seconds: float | None, language: str) -> str | None:
    if seconds is None:
        return None
    second, minute, hour = {"en": (" s", " min", " h"), "ko": ("초", "분", "시간")}[language]
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 1:
        return {"en": "less than 1 s", "ko": "1초 미만"}[language]
    if seconds < 120:
        return f"{seconds:.0f}{second}"
    return f"{minutes:.0f}{minute}" if minutes < 120 else f"{hours:.1f}{hour}"


def _plain(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
    return text.replace("|", "\\|")


def _hardware(facts: Mapping[str, Any], language: str) -> str:
    """``2 x NVIDIA A100 (80 GiB), AMD EPYC, 16 cores, Linux``."""
    cores, processes = {"en": ("{} cores", "{} processes"), "ko": ("코어 {}개", "프로세스 {}개")}[language]
    parts: Sequence[str | None] = (
        facts.get("accelerator")
        and " ".join(
            [f"{facts.get('processes', 1)} x {facts['accelerator']}"]
            + ([f"({facts['accelerator_memory_gib']} GiB)"] if "accelerator_memory_gib" in facts else [])
        ),
        facts.get("processor"),
        cores.format(facts["cores"]) if "cores" in facts else None,
        processes.format(facts["processes"]) if facts.get("processes", 1) > 1 and "accelerator" not in facts else None,
        facts.get("system"),
    )
    return ", ".join(part for part in parts if part)
