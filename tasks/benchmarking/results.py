"""What the runs of a benchmark say: medians with their spread, seconds to a loss, tables in Markdown and a plot."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Curve = Sequence[dict[str, float]]

ROWS_COLUMNS = (("rows", "rows", ",.0f"), ("peak memory, MB", "peak_memory_mb", ",.0f"))

#: Columns of each command: heading, figure, format. The first is the rate, which is shown with its spread.
COLUMNS = {
    "train": (
        ("useful tokens/s (min-max)", "useful_tokens_per_second", ",.0f"),
        ("completion tokens/s", "completion_tokens_per_second", ",.1f"),
        ("steps/s", "steps_per_second", ".3f"),
        ("padding", "padding", ".0%"),
        ("peak memory, MB", "peak_memory_mb", ",.0f"),
        ("last loss", "final_loss", ".3f"),
    ),
    "infer": (("rows/s (min-max)", "rows_per_second", ",.3g"), *ROWS_COLUMNS),
    "prepare": (("rows/s (min-max)", "rows_per_second", ",.0f"), *ROWS_COLUMNS),
}


def summarize(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{variant: {figure: {"median", "min", "max"}, "runs": how many}}; a variant that failed has ``failed`` as well."""
    summary: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(run["variant"] for run in runs):
        own = [run for run in runs if run["variant"] == name]
        good = [run for run in own if "failed" not in run]
        figures: dict[str, Any] = {"runs": len(good)}
        for key, value in (good[0] if good else {}).items():
            if isinstance(value, (int, float)) and key != "repeat":
                values = [run[key] for run in good]
                figures[key] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
        if len(good) < len(own):
            figures["failed"] = own[-1]["failed"]
        summary[name] = figures
    return summary


def table(command: str, summary: dict[str, dict[str, Any]], notes: dict[str, str]) -> str:
    """One line per variant, with our rate divided by its rate and the floor's share of its time; below, notes and failures.

    Ours is the first variant of that name.
    """
    (_, rate, form), *others = COLUMNS[command]
    ours = next((figures[rate] for name, figures in summary.items() if name.startswith("ours") and rate in figures), None)
    floor = summary.get("floor", {}) if rate in summary.get("floor", {}) else None
    extra = (["ours / this"] if ours else []) + (["of the floor"] if floor else [])
    rows = [["variant", *(heading for heading, *_ in COLUMNS[command]), *extra]]
    for name, figures in summary.items():
        if not figures["runs"]:
            rows.append([name, "failed", *[""] * (len(rows[0]) - 2)])
            continue
        low, middle, high = (figures[rate][key] for key in ("min", "median", "max"))
        cells = [name, f"{middle:{form}} ({low:{form}}-{high:{form}})"]
        cells += [format(figures[key]["median"], form) if key in figures else "" for _, key, form in others]
        cells += [f"{ours['median'] / middle:.2f}"] if ours else []
        cells += [f"{floor_share(figures, floor) if name != 'floor' else 1:.0%}"] if floor else []
        rows.append(cells)
    lines = [f"- {name}: {note}" for name, note in notes.items()]
    for name, figures in summary.items():
        if "failed" in figures:
            lines.append(f"- {name}: failed (good runs: {figures['runs']}): {figures['failed']}")
    return "\n".join([markdown(rows), "", *lines])


def floor_share(figures: dict[str, Any], floor: dict[str, Any]) -> float:
    """The share of a variant's time that the products take which its own batches need, 0 to 1.

    The layers run over every token but the last of a row, from which nothing is predicted; the head over the labels.
    """
    tokens, labels, rows, seconds = (
        figures[key]["median"] for key in ("useful_tokens", "completion_tokens", "rows", "seconds")
    )
    a_token, a_label = (floor[f"{kind}_tokens_per_second"]["median"] for kind in ("useful", "completion"))
    return ((tokens - rows) / a_token + labels / a_label) / seconds


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its heading."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def seconds_to(curve: Curve, loss: float) -> float | None:
    """When the curve first falls to ``loss``, linear between its points; None if it never does."""
    if curve[0]["loss"] <= loss:
        return curve[0]["seconds"]
    for before, after in itertools.pairwise(curve):
        if after["loss"] <= loss:
            fraction = (before["loss"] - loss) / (before["loss"] - after["loss"])
            return before["seconds"] + fraction * (after["seconds"] - before["seconds"])
    return None


def compare(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the curves say: {"target_of", "target_loss", "variants": {name: figures}}; {} if no run has a curve.

    The target is the highest final loss of a peer (of any variant if only ours ran). Each figure is the median of the
    variant's runs; ``seconds_to_target`` is None if half of them never reached it.
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
        found = [seconds_to(curve, ends[slowest]) for curve in many]
        reached = statistics.median_low(math.inf if seconds is None else seconds for seconds in found)
        figures[name] = {
            "seconds": statistics.median(curve[-1]["seconds"] for curve in many),
            "steps": statistics.median(curve[-1]["step"] for curve in many),
            "first_loss": many[0][0]["loss"],
            "best_loss": statistics.median(min(point["loss"] for point in curve) for curve in many),
            "end_loss": ends[name],
            "seconds_to_target": None if reached == math.inf else reached,
        }
    return {"target_of": slowest, "target_loss": ends[slowest], "variants": figures}


def quality_table(comparison: dict[str, Any]) -> str:
    """The seconds that each variant takes to the final loss of the slowest peer."""
    rows = [["variant", "seconds trained", "steps", "loss at the start", "at the end", "best", "seconds to the target"]]
    for name, figures in comparison["variants"].items():
        reached = figures["seconds_to_target"]
        losses = [f"{figures[key]:.4f}" for key in ("first_loss", "end_loss", "best_loss")]
        seconds = "never" if reached is None else f"{reached:,.1f}"
        rows.append([name, f"{figures['seconds']:,.1f}", f"{figures['steps']:,.0f}", *losses, seconds])
    return f"{markdown(rows)}\n\ntarget: {comparison['target_loss']:.4f}, where {comparison['target_of']} ends"


def plot(path: Path, runs: Sequence[dict[str, Any]], comparison: dict[str, Any], title: str) -> None:
    """Loss against seconds, one colour per variant, one line per run, the target dotted."""
    from matplotlib.figure import Figure  # not pyplot: no screen is needed

    figure = Figure(figsize=(8, 5), layout="tight")
    axes = figure.subplots()
    colours = {name: f"C{number}" for number, name in enumerate(comparison["variants"])}
    for run in runs:
        if run.get("curve"):
            points = [(point["seconds"], point["loss"]) for point in run["curve"]]
            label = run["variant"] if run["repeat"] == 0 else None  # named once
            axes.plot(*zip(*points), color=colours[run["variant"]], label=label, marker=".", linewidth=1.5)
    axes.axhline(comparison["target_loss"], linestyle=":", color="grey", linewidth=1)
    axes.set(xlabel="seconds of training (evaluations not counted)", title=title)
    axes.set(ylabel="validation loss of the completions, nats a token")
    axes.legend()
    figure.savefig(path, dpi=150, metadata={"Software": None})
