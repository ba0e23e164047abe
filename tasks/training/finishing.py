"""What a run found out: all_results.json, the loss curve, and a line for the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import MEAN
from tasks.distributed import is_first
from tasks.errors import when_ended
from tasks.inference.measuring import format_results, measure, overall
from tasks.run_folder import RESULTS_FILE, RunConfigs, own, weight_hashes, write_json
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
    predictors, runs = evaluator.predictors, trainer.run_config
    tasks = [predictor.task for predictor in predictors]
    name = "-".join(task.name for task in tasks)
    results: dict[str, Any] = {"task": name, "base_model": runs.base_model, "seed": args.seed}
    if args.do_eval:
        losses = trainer.evaluate()
        results["eval_loss"] = losses["eval_loss"]
        results |= {f"{task.prefix}eval_loss": losses[f"eval_{task.prefix}loss"] for task in tasks}
    if args.do_train:
        trainer.save_state()
    folder = Path(args.output_dir)
    if args.do_train and is_first():  # what has just been saved gives the figures
        results["weights_sha256"] = weight_hashes(folder)
    with trainer.whole_model():
        for predictor in predictors:
            rows = own(evaluator.examples, predictor.task.prefix)
            for split, prefix in (("validation", ""), ("test", "test_")):
                if split in rows and (args.do_eval or args.do_predict):
                    of_split = f"{predictor.task.prefix}{prefix}"
                    results |= measure(predictor, rows[split], folder, of_split, rows.get("train"))
    if not is_first():
        return results
    results |= trainer.train_metrics
    if trainer.train_metrics and not trainer.resumed_from:  # not every checkpoint says how long it took
        seen = counts["train"]["tokens"] * trainer.train_metrics["epoch"]
        results["train_tokens_per_second"] = seen / trainer.train_metrics["train_runtime"]
    results |= overall(tasks, results)
    for number, task in enumerate(tasks):
        results[f"{task.prefix}counts"] = {split: dict(values) for split, values in own(counts, task.prefix).items()}
        if args.do_train and (calibration := results.get(f"{task.prefix}calibration")):
            calibrated = dataclasses.replace(runs.parts[number], temperature=calibration["temperature"])
            trainer.run_config = runs = RunConfigs.of([*runs.parts[:number], calibrated, *runs.parts[number + 1 :]])
            runs.save(folder)
        if matrix := results.get(f"{task.prefix}confusion_matrix"):
            plot_confusion(matrix, folder / f"{task.prefix}{CONFUSION}")
    write_json(folder / RESULTS_FILE, results)
    plot_loss(trainer.state.log_history, folder / "loss.png")
    trainer.trackers.finish(results, folder)
    print("\n".join(format_results(task, own(results, task.prefix)) for task in tasks))
    if MEAN in results:
        print(f"{MEAN} {results[MEAN]:.4f} (0: the baselines, 1: the best possible values)")
    print(f"everything is in {folder}")
    return results
