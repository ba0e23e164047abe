"""What figures and baselines are called: by the Hub, and by people in the languages of a card."""

from __future__ import annotations

from tasks.base import Metric, Task

#: What every run has, whatever its task.
LOSS = {"eval_loss": Metric("loss", "loss (nats per labelled token)", "손실 (레이블 토큰당 nat)")}


def metric_of(task: Task, name: str) -> Metric:
    """What a figure of all_results.json is called. Without a name of its own, ``per_label.neutral.f1`` is an ``f1``."""
    label = name.removeprefix("per_label.")
    return (task.metrics | LOSS).get(name) or Metric(name.rsplit(".", 1)[-1], label, label)


def baseline_label(task: Task, name: str, language: str) -> str:
    """What people call a baseline."""
    return task.baselines.get(name, name) if language == "ko" else name
