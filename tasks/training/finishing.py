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
from tasks.training.plots import CONFUSION, plot_confusion, plot_loss

if TYPE_CHECKING:
    from tasks.training.trainer import CompletionTrainer


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
    trainer.trackers.finish(results, folder)
    print(format_results(task, results))
    print(f"everything is in {folder}")
    return results
