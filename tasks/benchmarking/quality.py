"""Validation loss against seconds of training: the same code for every side, and what can be read off the curves."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Curve = Sequence[dict[str, float]]


def completion_loss(model: Any, rows: Any, pad_token_id: int, bf16: bool) -> float:
    """Nats per token of the completions of encoded rows, eos included; every token weighs the same."""
    import math

    import torch

    from tasks.inference.scoring import token_logprobs
    from tasks.preparing.encoding import IGNORE

    pairs = []
    for ids, labels in zip(rows["input_ids"], rows["labels"]):
        start = next(i for i, label in enumerate(labels) if label != IGNORE)
        pairs.append((ids[:start], ids[start:]))
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        logprobs = token_logprobs(model, pairs, pad_token_id, batch_size=64)
    return -math.fsum(value for row in logprobs for value in row) / sum(map(len, logprobs))


def seconds_to(curve: Curve, loss: float) -> float | None:
    """When the curve first comes down to ``loss``, on straight lines between its points; None where it never does."""
    for before, after in itertools.pairwise(curve):
        if before["loss"] <= loss:
            return before["seconds"]
        if after["loss"] <= loss:
            share = (before["loss"] - loss) / (before["loss"] - after["loss"])
            return before["seconds"] + share * (after["seconds"] - before["seconds"])
    return curve[-1]["seconds"] if curve and curve[-1]["loss"] <= loss else None


def compare(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the curves say: {"target_of", "target_loss", "variants": {name: figures}}; {} where no run has a curve.

    The target is where the slowest peer ends, the one with the highest loss (of all variants where only ours ran).
    Each figure is the median of the variant's runs; ``seconds_to_target`` is None where half of them never came there.
    """
    curves: dict[str, list[Curve]] = {}
    for run in runs:
        if run.get("curve"):
            curves.setdefault(run["variant"], []).append(run["curve"])
    if not curves:
        return {}
    ends = {name: statistics.median(curve[-1]["loss"] for curve in many) for name, many in curves.items()}
    peers = {name: end for name, end in ends.items() if not name.startswith("ours")} or ends
    slowest = max(peers, key=peers.__getitem__)
    figures = {}
    for name, many in curves.items():
        figures[name] = {
            "seconds": statistics.median(curve[-1]["seconds"] for curve in many),
            "steps": statistics.median(curve[-1]["step"] for curve in many),
            "first_loss": many[0][0]["loss"],
            "best_loss": statistics.median(min(point["loss"] for point in curve) for curve in many),
            "end_loss": ends[name],
            "seconds_to_target": _median_or_never([seconds_to(curve, peers[slowest]) for curve in many]),
            # And each peer by itself: when this variant has what the peer ends with.
            "seconds_to_end_of": {
                peer: _median_or_never([seconds_to(curve, end) for curve in many]) for peer, end in peers.items()
            },
        }
    return {"target_of": slowest, "target_loss": peers[slowest], "variants": figures}


def _median_or_never(values: Sequence[float | None]) -> float | None:
    reached = sorted(value for value in values if value is not None)
    never = [float("inf")] * (len(values) - len(reached))
    median = statistics.median_low([*reached, *never])
    return None if median == float("inf") else median


def plot(path: Path, runs: Sequence[dict[str, Any]], comparison: dict[str, Any], title: str) -> None:
    """Loss against seconds, one colour a variant, one line a run, the target dotted."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = {name: f"C{number}" for number, name in enumerate(comparison["variants"])}
    seen = set()
    for run in runs:
        if not run.get("curve"):
            continue
        name = run["variant"]
        label = None if name in seen else name
        seen.add(name)
        points = [(point["seconds"], point["loss"]) for point in run["curve"]]
        axes.plot(*zip(*points), color=colours[name], label=label, marker=".", linewidth=1.5)
    axes.axhline(comparison["target_loss"], linestyle=":", color="grey", linewidth=1)
    axes.set_xlabel("seconds of training (evaluations not counted)")
    axes.set_ylabel("validation loss of the completions, nats a token")
    axes.set_title(title)
    axes.legend()
    figure.savefig(path, dpi=150)
