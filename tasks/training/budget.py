"""``--budget_hours`` and ``--tokens``: the size, batch, learning rate and steps that follow from runs that were measured."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from accelerate.utils.memory import clear_device_cache
from transformers import set_seed

from tasks.arguments.training import MUON
from tasks.distributed import gather_lists, is_first
from tasks.errors import UserError
from tasks.model.advice import TRAINED, total_memory
from tasks.model.new_model import GPT2_SIZES, MEASURED_RUNS, new_model
from tasks.training.batches import token_batches
from tasks.training.dry_run import trial
from tasks.training.output_folder import read_run

if TYPE_CHECKING:
    from datasets import Dataset

    from tasks.arguments.command_line import RunArguments
    from tasks.preparing.encoding import Encoder
    from tasks.preparing.run_data import RunData

#: Of training for each parameter outside the embedding. The nanochat project measured 10.5 where compute is spent best.
TOKENS_A_PARAMETER = 10

#: Passes over a corpus that teach almost as much as new text would (Muennighoff et al. 2023, arXiv:2305.16264).
PASSES = 4

#: Rows that are tried to measure the speed. On a CPU an update of so many tokens takes a second or two.
TRIAL_ROWS, TRIAL_TOKENS = 10_000, 2048


def plan(args: RunArguments, data: RunData, encoder: Encoder, rows: Dataset, checkpoint: str | None) -> None:
    """With a budget, set what the command line leaves open of size, batch, learning rate and steps, and print why.

    A run that resumes from ``checkpoint`` takes what was decided when it began. ``rows`` are those of training.

    Raises UserError where the checkpoint's run had another budget, or the only size does not fit into memory.
    """
    if (budget := args.model.budget) is None:
        return
    if checkpoint:
        run = read_run(Path(checkpoint).parent)
        if any(run.get("settings", {}).get(name) != getattr(args.model, name) for name in ("budget_hours", "tokens")):
            raise UserError(
                f"{budget}: the run of {checkpoint} had another budget or none; give --max_steps instead, with the size, "
                "batch and learning rate that its card names"
            )
        args.plan = run["plan"]
        lines = [", ".join(f"{name} {value}" for name, value in args.plan.items()) + ", as decided when the run began"]
    else:
        size, tokens, lines = choose_size(args, data, encoder, rows)
        lines += propose(args, rows, data.counts["train"]["tokens"], size, tokens)
    for name, value in args.plan.items():
        setattr(args.model if name == "model_size" else args.training, name, value)
    if is_first():
        print("\n".join([f"{budget}: {lines[0]}", *lines[1:]]))


def choose_size(args: RunArguments, data: RunData, encoder: Encoder, rows: Dataset) -> tuple[str, int, list[str]]:
    """The largest size that fits into memory and is trained on ``TOKENS_A_PARAMETER``, else the smallest, or the given one;
    its tokens in the budget; a line on the sizes that were tried. None is tried that is slower than one too slow.
    """
    hours, size, tokens, tried = args.model.budget_hours, None, 0, []
    for name in [args.model.model_size] if "model_size" in args.given else MEASURED_RUNS:
        parameters = MEASURED_RUNS[name]["parameters"]
        weights = parameters + len(encoder.tokenizer) * GPT2_SIZES[name][1]
        if size and tokens < TOKENS_A_PARAMETER * parameters:
            break
        too_large = size and any(gather_lists([TRAINED * weights > 0.8 * total_memory(args.training.device)]))
        speed = 0.0 if too_large else tokens_per_second(args, data, encoder, rows, name) if hours else math.inf
        if not speed:
            tried.append(f"{name} does not fit into memory")
            break
        if hours:
            tried.append(f"{speed:,.0f} tokens a second with {name}")
        seen = round(hours * 3600 * speed) if hours else args.model.tokens
        if size and seen < TOKENS_A_PARAMETER * parameters:
            break
        size, tokens = name, max(1, seen)
    if size is None:
        raise UserError(f"{args.model.budget}: {tried[0]}; give a smaller --tokens_per_batch or --model_size")
    return size, tokens, [f"{', '.join(tried)} on this machine"] if tried else []


def tokens_per_second(args: RunArguments, data: RunData, encoder: Encoder, rows: Dataset, size: str) -> float:
    """Tokens a second of all processes in some updates of an untrained model; 0 where it does not fit into memory."""
    training, speed = args.training, 0.0
    model = new_model(dataclasses.replace(args.model, model_size=size), encoder)
    some = rows.select(range(0, len(rows), math.ceil(len(rows) / TRIAL_ROWS)))
    steps, batch = 10, tokens_per_batch(args, size)
    if training.use_cpu:
        steps, batch = 3, batch and min(batch, TRIAL_TOKENS)
    with trial(data.task, args, encoder, model, some, steps, tokens_per_batch=batch) as trainer:
        try:
            trainer.train()
            speed = median(entry["tokens_per_second"] for entry in trainer.state.log_history[1:] if "loss" in entry)
        except UserError as error:
            if not str(error).startswith("out of memory"):
                raise
    del model, trainer
    clear_device_cache(garbage_collection=True)
    set_seed(training.seed)  # so that the model of the run begins as it would without this one
    return min(gather_lists([speed]))


def tokens_per_batch(args: RunArguments, size: str) -> int | None:
    """As given, or those of the measured run, shared by the batches that make up an update."""
    training = args.training
    if training.tokens_per_batch is not None or "per_device_train_batch_size" in args.given:
        return training.tokens_per_batch
    return math.ceil(MEASURED_RUNS[size]["tokens_per_batch"] / training.world_size / training.gradient_accumulation_steps)


def propose(args: RunArguments, rows: Dataset, corpus: int, size: str, tokens: int) -> list[str]:
    """Fill ``args.plan``, which trains ``size`` on ``tokens`` of a ``corpus`` of so many; returns why, in three lines."""
    training, given, run = args.training, args.given, MEASURED_RUNS[size]
    optimizer, each = MUON if training.optim == MUON else "adamw", tokens / run["parameters"]
    batch = training.tokens_per_batch = tokens_per_batch(args, size)
    flags = {"model_size": size, "tokens_per_batch": batch, "learning_rate": run["learning_rate"][optimizer]}
    args.plan = {name: value for name, value in flags.items() if name not in given and value is not None}
    if batch == 0:
        batches = math.ceil(len(rows) / training.train_batch_size / training.world_size)
    else:
        batches = len(token_batches(rows, training.train_batch_size, training, bool(training.padding_free)))
    passes = tokens / corpus
    args.plan["max_steps"] = max(1, round(passes * math.ceil(batches / training.gradient_accumulation_steps)))
    why = f"the largest with {TOKENS_A_PARAMETER} tokens or more a parameter"
    if each < TOKENS_A_PARAMETER:
        why = f"the smallest, although {TOKENS_A_PARAMETER} tokens a parameter would be better"
    rates = "usual for this size, not measured here"
    if run["measured"]:
        rates = f"the best that was measured with {optimizer}, on an {run['measured']['card']}"
    more = f"; beyond {PASSES} passes new text teaches more than these do" if passes > PASSES else ""
    return [
        f"model_size {size}: {'as given' if 'model_size' in given else why}; {tokens:,} tokens are {each:,.2f} for each of "
        f"its {run['parameters'] / 1e6:,.1f} M outside the embedding",
        f"learning_rate {args.plan.get('learning_rate', training.learning_rate):g}: "
        f"{rates if 'learning_rate' in args.plan else 'as given'}",
        f"max_steps {args.plan['max_steps']:,}: {tokens / args.plan['max_steps']:,.0f} tokens a step, {passes:,.1f} passes "
        f"over the corpus of {corpus:,} tokens{more}",
    ]
