"""What a run found out: all_results.json, the loss curve, and a line for the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.distributed import is_first
from tasks.errors import when_ended
from tasks.inference.measuring import format_results, measure
from tasks.run_folder import RESULTS_FILE, weight_hashes, write_json

#: The picture of the confusion matrix, the most labels with numbers in it, and fonts with Hangul: matplotlib brings none.
CONFUSION = "confusion.png"
NUMBERED = 30
KOREAN_FONTS = ("NanumGothic", "Noto Sans CJK KR", "Noto Sans KR", "Malgun Gothic", "AppleGothic", "Baekmuk Gulim")

if TYPE_CHECKING:
    from tasks.training.trainer import CompletionTrainer


def plot_loss(log_history: list[dict[str, Any]], path: str | Path) -> None:
    """Draw training and validation loss against the step into a PNG. Writes nothing where nothing was logged."""
    import matplotlib

    matplotlib.use("Agg")  # no screen needed
    import matplotlib.pyplot as plt

    training = [(entry["step"], entry["loss"]) for entry in log_history if "loss" in entry]
    validation = [(entry["step"], entry["eval_loss"]) for entry in log_history if "eval_loss" in entry]
    if not training and not validation:
        return
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    if training:
        axes.plot(*zip(*training), label="training", linewidth=1)
    if validation:
        axes.plot(*zip(*validation), label="validation", marker="o")
    axes.set(xlabel="step", ylabel="loss (nats per labelled token)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_confusion(matrix: Mapping[str, Mapping[str, int]], path: str | Path) -> None:
    """Draw {label of the reference: {label of the prediction: rows}} into a PNG, shaded by the share of a line's rows.

    Numbers stand where at most ``NUMBERED`` labels do. Labels are numbered where the font has no Hangul.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib import font_manager

    korean = next((font.name for font in font_manager.fontManager.ttflist if font.name in KOREAN_FONTS), None)
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
        figure.savefig(path, dpi=120)
        plt.close(figure)


@when_ended("the weights are saved, and the same command measures them")
def finish(trainer: CompletionTrainer, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Measure the rows of validation and test; write predictions, all_results.json and pictures, print and return figures.

    For labels, task.json gets the temperature that calibrates their probabilities.

    ``counts`` are those of ``RunData``. Every process takes part; the first one writes and prints.
    """
    args, evaluator = trainer.args, trainer.evaluator
    task = evaluator.predictor.task
    results: dict[str, Any] = {"task": task.name, "base_model": trainer.run_config.base_model, "seed": args.seed}
    if args.do_eval:
        results["eval_loss"] = trainer.evaluate()["eval_loss"]
    if args.do_train:
        trainer.save_state()
    folder, examples = Path(args.output_dir), evaluator.examples
    if args.do_train and is_first():  # what has just been saved gives the figures
        results["weights_sha256"] = weight_hashes(folder)
    with trainer.whole_model():
        for split, prefix in (("validation", ""), ("test", "test_")):
            if split in examples and (args.do_eval or args.do_predict):
                results |= measure(evaluator.predictor, examples[split], folder, prefix, examples.get("train"))
    if not is_first():
        return results
    results |= trainer.train_metrics
    if trainer.train_metrics and not trainer.resumed_from:  # not every checkpoint says how long it took
        seen = counts["train"]["tokens"] * trainer.train_metrics["epoch"]
        results["train_tokens_per_second"] = seen / trainer.train_metrics["train_runtime"]
    results["counts"] = {split: dict(values) for split, values in counts.items()}
    if args.do_train and (calibration := results.get("calibration")):
        trainer.run_config = dataclasses.replace(trainer.run_config, temperature=calibration["temperature"])
        trainer.run_config.save(folder)
    if matrix := results.get("confusion_matrix"):
        plot_confusion(matrix, folder / CONFUSION)
    write_json(folder / RESULTS_FILE, results)
    plot_loss(trainer.state.log_history, folder / "loss.png")
    print(format_results(task, results))
    print(f"everything is in {folder}")
    return results
