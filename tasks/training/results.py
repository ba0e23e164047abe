"""What a run found out: all_results.json, the loss curve, and a line for the terminal."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import Example, Task
from tasks.distributed import is_first
from tasks.run_folder import PREDICTIONS_FILE, RESULTS_FILE, write_json, write_jsonl
from tasks.training.overlap import SHARED

if TYPE_CHECKING:
    from tasks.inference.predicting import Predictor
    from tasks.training.trainer import CompletionTrainer


def format_results(task: Task, results: Mapping[str, Any]) -> str:
    """The figures of ``all_results.json`` that a person looks at first, beside their baseline."""
    lines = []
    intervals = {name: f"[{low:.3f}, {high:.3f}]" for name, (low, high) in results.get("intervals", {}).items()}
    if "rows" in results:
        note = " and in brackets the 95 % interval over the rows" if intervals else ""
        shared = results["counts"].get("validation", {}).get(SHARED)
        seen = f", {shared} of which training read too," if shared else ","
        lines.append(
            f"{task.name} on {results['rows']} validation rows{seen} beside the baseline ({results['baseline']}){note}:"
        )
    figures = {}
    for name, value in results.items():
        baseline = results.get(f"baseline_{name}")
        alone = name in ("eval_loss", "perplexity", "train_runtime") or name.startswith("free_")
        if isinstance(value, float) and (baseline is not None or alone):
            figures[name] = value, baseline
    width = max((len(intervals[name]) + 2 for name in figures if name in intervals), default=0)
    for name, (value, baseline) in figures.items():
        beside = f"{baseline:14.4f}" if baseline is not None else " " * 14
        interval = f"  {intervals[name]}".ljust(width) if name in intervals else " " * width
        mark = "  <- main" * (name == task.main_metric)
        lines.append(f"  {name:24} {value:10.4f}{interval} {beside}{mark}")
    for split, counts in results["counts"].items():
        lines.append(f"  {split}: " + ", ".join(f"{count:,} {key}" for key, count in counts.items()))
    return "\n".join(lines)


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


def finish(
    trainer: CompletionTrainer,
    predictor: Predictor,
    examples: Mapping[str, Sequence[Example]],
    counts: Mapping[str, Mapping[str, int]],
    train_metrics: Mapping[str, Any],
) -> None:
    """Measure the rows of validation and test, write predictions, all_results.json and loss.png, and print the figures.

    Every process takes part; the first one writes and prints.
    """
    args, task = trainer.args, predictor.task
    results: dict[str, Any] = {"task": task.name, "base_model": trainer.run_config.base_model, "seed": args.seed}
    if args.do_eval:
        results["eval_loss"] = trainer.evaluate_loss()
    folder = Path(args.output_dir)
    with trainer.whole_model():
        for split, prefix in (("validation", ""), ("test", "test_")):
            if split in examples and (args.do_eval or args.do_predict):
                results |= measure(predictor, examples[split], folder, prefix)
    if not is_first():
        return
    results |= train_metrics
    if train_metrics and not args.resume_from_checkpoint:  # a resumed run has the seconds of its last part alone
        seen = counts["train"]["tokens"] * train_metrics["epoch"]
        results["train_tokens_per_second"] = seen / train_metrics["train_runtime"]
    results["counts"] = {split: dict(values) for split, values in counts.items()}
    write_json(folder / RESULTS_FILE, results)
    plot_loss(trainer.state.log_history, folder / "loss.png")
    print(format_results(task, results))
    print(f"everything is in {folder}")


def measure(predictor: Predictor, examples: Sequence[Example], folder: Path, prefix: str = "") -> dict[str, Any]:
    """Predict, write ``<prefix>predictions.jsonl`` into ``folder``, and return the metrics beside their baseline.

    Where answers were taken from their context (``extractive``), the same rows are answered freely too: what the metrics
    are then is ``<prefix>free_<metric>``.

    ``<prefix>intervals`` are {metric: [low, high]}, the 95 % interval over the rows of each metric that is pooled.

    Of several processes each predicts a share of the rows; the first one writes and scores them, the others return nothing.
    """
    from tasks.metrics import bootstrap

    task = predictor.task
    started = time.perf_counter()
    predictions = predictor.predict(examples)
    seconds = time.perf_counter() - started
    free = None
    if predictor.settings["extractive"]:
        freely = dataclasses.replace(predictor, settings=predictor.settings | {"extractive": False})
        free = freely.predict(examples)
    if not is_first():
        return {}
    write_jsonl(folder / f"{prefix}{PREDICTIONS_FILE}", (prediction.as_row() for prediction in predictions))
    metrics = {"rows": len(examples), **task.score(predictions)}
    if free is not None:
        metrics |= {f"free_{name}": value for name, value in task.score(free).items()}
    metrics["intervals"] = bootstrap.intervals(task.row_statistics(predictions), task.pooled, predictor.seed)
    metrics |= task.baseline(examples)
    metrics |= {"predict_runtime": seconds, "predict_rows_per_second": len(examples) / seconds}
    return {f"{prefix}{name}": value for name, value in metrics.items()}
