"""``--budget_hours`` and ``--tokens``: the size, batch, learning rate and steps that follow from runs that were measured."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset
from transformers import set_seed

from tasks.arguments.command_line import RunArguments
from tasks.arguments.training import MUON
from tasks.distributed import gather_lists, is_first
from tasks.errors import UserError
from tasks.model.advice import TRAINED, total_memory
from tasks.model.new_model import GPT2_SIZES, new_model
from tasks.preparing.encoding import Encoder
from tasks.preparing.run_data import RunData
from tasks.training.batches import token_batches
from tasks.training.dry_run import trial
from tasks.training.output_folder import read_run

#: What is known of training each size, the smallest first.
MEASURED_RUNS = yaml.safe_load(Path(__file__).with_name("measured_runs.yaml").read_text("utf-8"))

#: Of training for each parameter outside the embedding. The nanochat project measured 10.5 where compute is spent best.
TOKENS_A_PARAMETER = 10

#: Passes over a corpus that teach almost as much as new text would (Muennighoff et al. 2023, arXiv:2305.16264).
PASSES = 4

#: Rows that are tried to measure the speed. On a CPU an update of so many tokens takes a second or two.
TRIAL_ROWS, TRIAL_TOKENS = 10_000, 2048


def plan(args: RunArguments, data: RunData, encoder: Encoder, rows: Dataset, checkpoint: str | None) -> None:
    """With a budget, set what the command line leaves open of size, batch, learning rate and steps, and print why.

    A run that resumes from ``checkpoint`` takes what was decided when it began. ``rows`` are those of training.

    Raises UserError where the checkpoint's run had another budget, or no size fits into memory.
    """
    if (budget := args.model.budget) is None:
        return
    if checkpoint:
        run, reasons = read_run(Path(checkpoint).parent), ["as decided when the run began"]
        if any(run.get("settings", {}).get(name) != getattr(args.model, name) for name in ("budget_hours", "tokens")):
            raise UserError(f"{budget}: {checkpoint} had another budget or none; give --max_steps and the flags of its card")
        args.plan = run["plan"]
    else:
        args.plan, reasons = propose(args, data, encoder, rows)
    for name, value in args.plan.items():
        setattr(args.model if name == "model_size" else args.training, name, value)
    if is_first():
        print("\n  ".join([f"{budget}: {', '.join(f'{name} {value}' for name, value in args.plan.items())}", *reasons]))


def propose(args: RunArguments, data: RunData, encoder: Encoder, rows: Dataset) -> tuple[dict[str, Any], list[str]]:
    """The flags that were not given and follow from the budget, and why.

    The size is the largest that fits into memory and sees ``TOKENS_A_PARAMETER``, else the smallest, or the one given. None
    is timed that is slower than one that was too slow. Processes and accumulated batches share the measured run's batch.
    """
    training, hours, chosen, tokens, reasons = args.training, args.model.budget_hours, {}, 0, []
    optimizer, corpus = MUON if training.optim == MUON else "adamw", data.counts["train"]["tokens"]
    for size in [args.model.model_size] if "model_size" in args.given else MEASURED_RUNS:
        run, batch = MEASURED_RUNS[size], training.tokens_per_batch
        parameters = run["parameters"]
        if chosen and tokens < TOKENS_A_PARAMETER * parameters:
            break
        if batch is None and "per_device_train_batch_size" not in args.given:
            batch = math.ceil(run["tokens_per_batch"] / training.world_size / training.gradient_accumulation_steps)
        state = TRAINED * (parameters + len(encoder.tokenizer) * GPT2_SIZES[size][1])
        too_large = chosen and any(gather_lists([state > 0.8 * total_memory(training.device)]))
        speed = 0.0 if too_large else tokens_per_second(args, data, encoder, rows, size, batch) if hours else math.inf
        if hours or not speed:
            reasons.append(f"{size}: {speed:,.0f} tokens a second here" if speed else f"{size} does not fit into memory")
        seen = max(1, round(hours * 3600 * speed)) if hours else args.model.tokens
        if not speed or (chosen and seen < TOKENS_A_PARAMETER * parameters):
            break
        tokens, chosen = seen, {"model_size": size, "tokens_per_batch": batch}
    if not chosen:
        raise UserError(f"{args.model.budget}: {reasons[0]}; give fewer --tokens_per_batch, or a smaller --model_size")
    size, training.tokens_per_batch = chosen["model_size"], chosen["tokens_per_batch"]
    batches = token_batches(rows, training.train_batch_size, training, bool(training.padding_free))
    steps = max(1, round(tokens / corpus * math.ceil(len(batches) / training.gradient_accumulation_steps)))
    run = MEASURED_RUNS[size]
    measured = [each for each in run["measured"] if each["optim"] == optimizer]
    measured.sort(key=lambda each: each["architecture"] != args.model.architecture)  # else the other architecture's
    best, why = (measured or [run])[0], "the usual one for this size, of which no run was measured"
    if measured:
        why = "the best with {architecture} and {optim} in runs of {tokens:,} tokens on {card}".format_map(best)
    rate = "learning rate: as given" if "learning_rate" in args.given else f"learning rate {best['learning_rate']:g}: {why}"
    reasons += [
        f"{size}: {tokens:,} tokens are {tokens / run['parameters']:,.2f} a parameter outside the embedding "
        f"({run['parameters']:,}); a larger size needs {TOKENS_A_PARAMETER} or more",
        rate,
        f"the corpus of {corpus:,} tokens is read {tokens / corpus:,.1f} times, {tokens / steps:,.0f} tokens a step"
        + (f"; after {PASSES} times new text teaches more" if tokens > PASSES * corpus else ""),
    ]
    chosen |= {"learning_rate": best["learning_rate"], "max_steps": steps}
    return {name: value for name, value in chosen.items() if name not in args.given and value is not None}, reasons


def tokens_per_second(
    args: RunArguments, data: RunData, encoder: Encoder, rows: Dataset, size: str, batch: int | None
) -> float:
    """Tokens a second of all processes in some updates of an untrained model; 0 where it does not fit into memory."""
    model = new_model(replace(args.model, model_size=size), encoder)
    some = rows.select(range(0, len(rows), math.ceil(len(rows) / TRIAL_ROWS)))
    steps, batch, speed = (3, batch and min(batch, TRIAL_TOKENS), 0.0) if args.training.use_cpu else (10, batch, 0.0)
    with trial(data.task, args, encoder, model, some, steps, tokens_per_batch=batch) as trainer:
        try:
            trainer.train()
            speed = median(entry["tokens_per_second"] for entry in trainer.state.log_history[1:] if "loss" in entry)
        except UserError as error:
            if not str(error).startswith("out of memory"):
                raise
    del model, trainer
    clear_device_cache(garbage_collection=True)
    set_seed(args.training.seed)  # the model of the run begins as it would without this one
    return min(gather_lists([speed]))
