"""The pictures of a run: loss against the step, and the confusion matrix of labels."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The picture of the confusion matrix and the most labels with numbers in it.
CONFUSION = "confusion.png"
NUMBERED = 30

#: Colours of runs (Okabe & Ito), which people who see few colours tell apart, too, on light and on dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK = "#010203"  # text and axes of an SVG, which then take the colour of the page's text

#: The words of the plot: training, validation, the axes.
WORDS = {
    "en": ("training", "validation", "step", "loss (nats per labelled token)"),
    "ko": ("학습", "검증", "스텝", "손실 (레이블 토큰당 nat)"),
}


def plot_loss(log_history: list[dict[str, Any]], path: str | Path, language: str = "en") -> None:
    """Draw training and validation loss against the step into a PNG. Writes nothing where nothing was logged.

    In Korean where a font with Hangul is installed, and else in English.
    """
    import matplotlib

    matplotlib.use("Agg")  # no screen needed
    import matplotlib.pyplot as plt

    training = [(entry["step"], entry["loss"]) for entry in log_history if "loss" in entry]
    validation = [(entry["step"], entry["eval_loss"]) for entry in log_history if "eval_loss" in entry]
    # A run that is shorter than --logging_steps has its mean alone.
    training = training or [(entry["step"], entry["train_loss"]) for entry in log_history if "train_loss" in entry]
    if not training and not validation:
        return
    font = hangul_font() if language == "ko" else None
    names = WORDS[language if font else "en"]
    with plt.rc_context({"font.family": [font, "DejaVu Sans"]} if font else {}):
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        if training:
            few = len(training) <= 20  # one point makes no line
            axes.plot(*zip(*training), label=names[0], linewidth=1, marker="." if few else None)
        if validation:
            axes.plot(*zip(*validation), label=names[1], marker="o")
        axes.set(xlabel=names[2], ylabel=names[3])
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def loss_curves(logs: Mapping[str, tuple[int, list[dict[str, Any]]]]) -> str:
    """An SVG for a page, in the colour of its text: {name: (number, log)} -> training (dotted) and validation against the
    epoch, in the colour of the number, from 1. Nothing where nothing was logged.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "legend.labelcolor")
    styles = {"loss": ("training", {"linestyle": ":"}), "eval_loss": ("validation", {"marker": "o"})}
    file = io.StringIO()
    with plt.rc_context({**dict.fromkeys(inked, INK), "svg.fonttype": "none", "svg.hashsalt": "loss"}):
        figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
        for name, (number, log) in logs.items():
            colour = COLOURS[(number - 1) % len(COLOURS)]
            for key, (what, style) in styles.items():
                # Once training has ended, the best checkpoint is measured again: the last epoch keeps its own point.
                points = {entry["epoch"]: entry[key] for entry in reversed(log) if {key, "epoch"} <= entry.keys()}
                if points:
                    axes.plot(*zip(*sorted(points.items())), color=colour, label=f"{name}, {what}", **style)
        axes.set(xlabel="epoch", ylabel=WORDS["en"][3])
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(framealpha=0)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        svg = file.getvalue() if axes.lines else ""
        plt.close(figure)
    return svg[svg.find("<svg") :].replace(INK, "currentColor")


def hangul_font() -> str | None:
    """The name of an installed font that has Hangul."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    for font in fontManager.ttflist:
        with contextlib.suppress(OSError, RuntimeError):  # moved, or none that can be read
            if FT2Font(font.fname).get_char_index(ord("손")):
                return font.name
    return None


def plot_confusion(matrix: Mapping[str, Mapping[str, int]], path: str | Path) -> None:
    """Draw {label of the reference: {label of the prediction: rows}} into a PNG, shaded by the share of a line's rows.

    Numbers stand where at most ``NUMBERED`` labels do. Labels are numbered where the font has no Hangul.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    korean = hangul_font()
    names = [name if korean or name.isascii() else f"{n}" for n, name in enumerate(matrix, 1)]
    rows = np.array([list(row.values()) for row in matrix.values()])
    shares = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    size = max(4.0, min(12.0, 0.5 * len(names) + 2))
    with plt.rc_context({"font.family": [korean] if korean else ["sans-serif"]}):
        figure, axes = plt.subplots(figsize=(size + 1, size), layout="constrained")
        figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the reference's rows")
        axes.set(xlabel="prediction", ylabel="reference")
        if len(names) <= NUMBERED:
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
            for (y, x), count in np.ndenumerate(rows):
                axes.text(x, y, f"{count}", ha="center", va="center", color="white" if shares[y, x] > 0.5 else "black")
        figure.savefig(path, dpi=120, metadata={"Software": None})
        plt.close(figure)
