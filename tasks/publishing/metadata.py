"""The front matter of a card: what the Hub reads, filters and ranks by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from tasks import TASKS, task_of
from tasks.base import Metric, Task
from tasks.publishing.license import license_metadata
from tasks.publishing.report import Data, RunReport

#: Numbers of all_results.json that measure the run, not the model.
NOT_METRICS = (
    "baseline", "predict_", "train_", "epoch", "total_flos", "intervals", "calibration", "samples", "rows", "seed",
    "eval_runtime",
)  # fmt: skip

#: What every run has, whatever its task.
LOSS = {"eval_loss": Metric("loss", "loss (nats per labelled token)", "손실 (레이블 토큰당 nat)")}


#: The source of the figures of benchmarks.json: its name, before the version, and its address.
HARNESS = ("lm-evaluation-harness", "https://github.com/EleutherAI/lm-evaluation-harness")


def metric_of(task: Task, name: str) -> Metric:
    """How a figure of all_results.json is labelled; ``per_label.neutral.f1`` is an ``f1``."""
    label, _, kind = name.removeprefix("per_label.").rpartition(".")
    korean = {"precision": "정밀도", "recall": "재현율", "f1": "F1"}.get(kind, kind)
    return (task.metrics | LOSS).get(name) or Metric(kind, f"{label}.{kind}".strip("."), f"{label} {korean}".strip())


def metrics_of(results: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every metric of a split as a finite float, those of labels as ``per_label.neutral.f1``.

    ``prefix`` is "" for the validation rows and ``test_`` for the test rows.
    """
    own = {name.removeprefix(prefix): value for name, value in results.items() if name.startswith(prefix)}
    skipped = NOT_METRICS if prefix else (*NOT_METRICS, "test_")
    found: dict[str, float] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{name}.{key}" if name else key, item)
        elif isinstance(value, Real) and not isinstance(value, Integral) and math.isfinite(value):
            found[name] = float(value)

    walk("", {name: value for name, value in own.items() if not name.startswith(skipped)})
    return found


def card_metadata(
    report: RunReport,
    *,
    license: str | None,
    name: str,
    file_names: bool = False,
    benchmarks: Mapping[str, Any] | None = None,
) -> ModelCardData:
    """The metadata of a run; what is unknown is left out, and so are the figures of single labels.

    Without ``file_names`` files of the user's are told by their hash alone. ``benchmarks`` is benchmarks.json. Values are
    plain Python ones: ``ModelCardData`` would write numpy's as ``!!python/object``.
    """
    base, tasks = report.base, [task_of(part.config) for part in report.parts]
    # An adapter belongs to the very model that it was trained on; one of a local fine-tune is no adapter of what that was.
    relation = "adapter" if report.adapter and base.name == base.hub_id else "finetune"
    others = [name for name in base.also if "/" in name] if base.hub_id else []
    results = [
        EvalResult(
            task_type=task.hub_task,
            **dataset_fields(part.data, split, file_names),
            dataset_args={"rows": int(part.results[f"{prefix}rows"])},
            metric_type=metric_of(task, metric).hub,
            metric_name=metric_of(task, metric).en,
            metric_value=value,
        )
        for task, part in zip(tasks, report.parts)
        for split, prefix in (("validation", ""), ("test", "test_"))
        if f"{prefix}rows" in part.results
        for metric, value in metrics_of(part.results, prefix).items()
        if not metric.startswith("per_label.")
    ]
    measured = benchmark_results(benchmarks or {})
    names = [name for task in tasks for name in (task.name, task.hub_task)]
    return ModelCardData(
        language="ko",
        library_name="peft" if report.adapter else "transformers",
        # Whatever the task, weights without a classification head write text: that is what the Hub can run.
        pipeline_tag="text-classification" if report.parts[0].config.head else "text-generation",
        tags=list(dict.fromkeys(["korean", *names, *(["lora"] if report.adapter_parameters else [])])),
        **(license_metadata(license, base) if license else {}),
        base_model=[base.hub_id, *others] if others else base.hub_id,
        base_model_relation=relation if base.hub_id else None,
        datasets=list(dict.fromkeys(part.data.name for part in report.parts if part.data.source == "hub")) or None,
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=name if results or measured else None,
        eval_results=results + measured or None,
    )


def benchmark_results(benchmarks: Mapping[str, Any]) -> list[EvalResult]:
    """The figures of benchmarks.json, named as lm-eval names them; none where only a part of the rows was read."""
    return [
        EvalResult(
            task_type="text-generation",
            dataset_name=f"{row['task']} (version {row['version']})",
            dataset_type=row["task"],
            dataset_args={name: row[name] for name in ("num_fewshot", "rows") if row[name] is not None},
            metric_type=row["metric"],
            metric_name=row["metric"],
            metric_value=float(row["value"]),
            source_name=f"{HARNESS[0]} {benchmarks['lm_eval']}",
            source_url=HARNESS[1],
        )
        for row in benchmarks.get("results", ())
        if row["value"] is not None and benchmarks["limit"] is None
    ]


def is_of_a_run(result: Mapping[str, Any], metric: Mapping[str, Any]) -> bool:
    """Whether a metric of a result in ``model-index`` was written by ``card_metadata``, for this run or an earlier one.

    Its result has no source, its data set has the number of rows as its only argument, and a task has a metric of its type
    and name. Or it is of benchmarks.json: its source is lm-evaluation-harness, and a version follows that name.
    """
    source = result.get("source")
    if isinstance(source, Mapping) and source.get("url") == HARNESS[1]:
        return str(source.get("name")).startswith(f"{HARNESS[0]} ")
    dataset, kind, name = result.get("dataset"), metric.get("type"), str(metric.get("name"))
    rows = dataset.get("args") if isinstance(dataset, Mapping) else None
    ours = [LOSS, *(task.metrics for task in TASKS.values())]
    named = any((kind, name) == (known.hub, known.en) for metrics in ours for known in metrics.values())
    named |= name.endswith(f".{kind}")  # neutral.f1
    return "source" not in result and isinstance(rows, Mapping) and list(rows) == ["rows"] and named


def dataset_fields(data: Data, split: str, file_names: bool = False) -> dict[str, Any]:
    """What EvalResult says of the rows of a split. The revision is a commit of the Hub, or the hash of the only file."""
    own = [file for file in data.files if file["split"] == split]
    files = own or [file for file in data.files if split == "validation" and file["split"] == "train"]
    name = data.name or ", ".join(file["name"] for file in files)
    if data.source in ("files", "folder") and not file_names:
        name = "local data"
    return {
        "dataset_name": name or "unknown",
        "dataset_type": data.name if data.source == "hub" else f"local-{data.source or 'data'}",
        "dataset_config": data.config,
        "dataset_split": split_name(data, split),
        "dataset_revision": data.revision or (f"sha256:{files[0]['sha256']}" if len(files) == 1 else None),
    }


def split_name(data: Data, split: str) -> str:
    """``validation``, or what share of the training rows was taken for it."""
    from_train = split == "validation" and data.validation_share is not None
    return f"train (a seeded share of {data.validation_share})" if from_train else split
