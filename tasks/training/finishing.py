"""What a run found out: all_results.json, the loss curve, and a line for the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.distributed import is_first
from tasks.inference.measuring import format_results, measure
from tasks.run_folder import RESULTS_FILE, write_json

if TYPE_CHECKING:
    from tasks.training.trainer import CompletionTrainer


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


def hangul_font() -> str | None:
    """The name of an installed font that has Hangul."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    for font in fontManager.ttflist:
        with contextlib.suppress(OSError, RuntimeError):  # moved, or none that can be read
            if FT2Font(font.fname).get_char_index(ord("손")):
                return font.name
    return None


def finish(trainer: CompletionTrainer, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Measure the rows of validation and test; write predictions, all_results.json and loss.png, print and return figures.

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
    write_json(folder / RESULTS_FILE, results)
    plot_loss(trainer.state.log_history, folder / "loss.png")
    print(format_results(task, results))
    print(f"everything is in {folder}")
    return results
