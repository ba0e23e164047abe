"""The figures as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.benchmarking.variants import Variant

RATE = {"train": "useful_tokens_per_second", "infer": "rows_per_second", "prepare": "rows_per_second"}

#: Columns of each command: heading, figure, how it is written. The first one is printed with its spread.
COLUMNS = {
    "train": (
        ("useful tokens/s (min-max)", "useful_tokens_per_second", ",.0f"),
        ("completion tokens/s", "completion_tokens_per_second", ",.1f"),
        ("steps/s", "steps_per_second", ".3f"),
        ("padding", "padding", ".0%"),
        ("peak memory, MB", "peak_memory_mb", ",.0f"),
        ("last loss", "final_loss", ".3f"),
    ),
    "infer": (
        ("rows/s (min-max)", "rows_per_second", ",.3g"),
        ("rows", "rows", ",.0f"),
        ("peak memory, MB", "peak_memory_mb", ",.0f"),
    ),
    "prepare": (
        ("rows/s (min-max)", "rows_per_second", ",.0f"),
        ("rows", "rows", ",.0f"),
        ("peak memory, MB", "peak_memory_mb", ",.0f"),
    ),
}


def table(command: str, summary: dict[str, dict[str, Any]], chosen: dict[str, Variant]) -> str:
    """One line a variant, beside it how many times its rate ours has, and its share of the floor; below, what each is.

    Ours is the first variant of that name.
    """
    columns = [column for column in COLUMNS[command] if any(column[1] in figures for figures in summary.values())]
    rate = RATE[command]
    ours = next((figures[rate] for name, figures in summary.items() if name.startswith("ours") and rate in figures), None)
    floor = summary.get("floor", {}).get(rate)
    extra = (["ours / this"] if ours else []) + (["of the floor"] if floor else [])
    rows = [["variant", *(heading for heading, _, _ in columns), *extra]]
    for name, figures in summary.items():
        cells = [name]
        if rate not in figures:
            rows.append([name, "failed", *[""] * (len(columns) + len(extra) - 1)])
            continue
        for number, (_, key, form) in enumerate(columns):
            value = figures.get(key)
            text = "" if value is None else format(value["median"], form)
            if value and number == 0:
                text += f" ({value['min']:{form}}-{value['max']:{form}})"
            cells.append(text)
        median = figures[rate]["median"]
        cells += [f"{ours['median'] / median:.2f}"] if ours else []
        cells += [f"{median / floor['median']:.0%}"] if floor else []
        rows.append(cells)
    notes = [f"- {name}: {variant.about}" for name, variant in chosen.items()]
    notes += [
        f"- {name}: failed (good runs: {figures['runs']}): {figures['failed']}"
        for name, figures in summary.items()
        if "failed" in figures
    ]
    return "\n".join([markdown(rows), "", *notes])


def scale_table(summary: dict[str, dict[str, Any]], ratios: dict[str, float]) -> str:
    """One line a run with its medians, and the ratios below."""
    forms = {"peak_memory_mb": ",.0f", "seconds": ",.2f", "useful_tokens_per_second": ",.0f"}
    rows = [["run", "peak memory, MB", "seconds", "tokens/s"]]
    for name, figures in summary.items():
        if "failed" in figures:
            rows.append([name, "failed", "", ""])
            continue
        rows.append([name, *(f"{figures[key]['median']:{form}}" if key in figures else "" for key, form in forms.items())])
    return "\n".join([markdown(rows), "", *(f"- {name}: {ratio:.2f}" for name, ratio in ratios.items())])


def quality_table(comparison: dict[str, Any]) -> str:
    """The seconds that each variant takes to the loss that the slowest peer ends with."""
    rows = [["variant", "seconds trained", "steps", "loss at the start", "at the end", "best", "seconds to the target"]]
    for name, figures in comparison["variants"].items():
        reached = figures["seconds_to_target"]
        losses = [f"{figures[key]:.4f}" for key in ("first_loss", "end_loss", "best_loss")]
        seconds = "never" if reached is None else f"{reached:,.1f}"
        rows.append([name, f"{figures['seconds']:,.1f}", f"{figures['steps']:,.0f}", *losses, seconds])
    lines = [markdown(rows), "", f"target: {comparison['target_loss']:.4f}, where {comparison['target_of']} ends"]
    for name, figures in comparison["variants"].items():
        if name.startswith("ours"):
            lines += [_beside(name, peer, seconds, comparison) for peer, seconds in figures["seconds_to_end_of"].items()]
    return "\n".join(lines)


def _beside(name: str, peer: str, seconds: float | None, comparison: dict[str, Any]) -> str:
    """When a variant of ours has what a peer ends with, and when the peer had it itself."""
    end = comparison["variants"][peer]["end_loss"]
    if seconds is None:
        return f"{name} does not come to what {peer} ends with ({end:.4f})"
    own = comparison["variants"][peer]["seconds_to_end_of"][peer]
    times = f": {own / seconds:.2f} times as fast" if own and seconds else ""
    return f"{name} has what {peer} ends with ({end:.4f}) after {seconds:,.1f} s instead of {own:,.1f}{times}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
