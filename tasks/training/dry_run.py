"""``--dry_run``: what a run understood of its data and what training would take, before anything is trained or written."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import IterableDataset
from transformers import TrainerCallback

from tasks.base import Example, Task
from tasks.distributed import is_first
from tasks.labels import LABEL
from tasks.preparing.encoding import IGNORE, Encoder
from tasks.preparing.notices import lengths_of, texts_of
from tasks.run_folder import RunConfig, own
from tasks.training.callbacks import Console, StopOnSignal
from tasks.training.collator import CompletionCollator
from tasks.training.trainer import CompletionTrainer

if TYPE_CHECKING:
    from datasets import Dataset

    from tasks.arguments.command_line import RunArguments
    from tasks.preparing.run_data import RunData

#: Updates of ``--dry_run step``; the first one warms up and is not timed.
STEPS = 3

#: Bytes a trained parameter: float32 weight and gradient, and AdamW's two moments (ZeRO, arXiv:1910.02054, section 3.1).
TRAINED = 16

#: Tokens of a row that are shown at its beginning and at its end.
SHOWN = 60


class StepTimer(TrainerCallback):
    """Seconds of each update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)


def dry_run(
    task: Task,
    args: RunArguments,
    data: RunData,
    encoder: Encoder,
    model: Any,
    datasets: Mapping[str, Dataset],
    examples: Mapping[str, Sequence[Example]],
) -> None:
    """Print what was read and three rows, steps and memory; with ``--dry_run step`` also the time of some updates.

    Nothing is written but the cache of prepared rows, which the run itself reads again. Every process takes part; the first
    one prints.
    """
    lines = [f"dry run of {task.name}: nothing is trained, nothing is written"]
    for part, of_part in zip(data.parts, encoder.of_parts):
        prefix = part.task.prefix
        lines += [f"\n== {part.task.name}"] if prefix else []
        lines += data_lines(part, of_part, own(datasets, prefix), own(examples, prefix))
    if args.training.do_train:
        lines += training_lines(task, args, encoder, model, datasets)
    if is_first():
        print("\n".join(lines))


def data_lines(
    data: RunData,
    encoder: Encoder,
    datasets: Mapping[str, Dataset],
    examples: Mapping[str, Sequence[Example]],
) -> Iterator[str]:
    """Rows of each split, labels, lengths in tokens, characters without a token, and three rows."""
    source = data.source.describe()
    files = ", ".join(file["name"] for file in source.get("files", ()))
    yield f"rows from {source.get('name') or files}"
    yield from (f"  {choice}" for choice in data.source.choices)
    for split, rows in datasets.items():
        counts = data.counts[split]
        yield f"\n{split}: " + ", ".join(f"{counts[name]:,} {name}" for name in counts if not name.startswith(LABEL))
        if isinstance(rows, IterableDataset):
            yield "  (streamed: counted while training reads)"
            continue
        for name, share in (
            ("lose their end", counts.get("cut", 0)),
            ("are too long to predict", counts.get("longer_than_max_new_tokens", 0)),
        ):
            if share:
                yield f"  {100 * share / counts['rows']:.1f} % {name}"
        labels = [(counts[name], name.removeprefix(LABEL)) for name in counts if name.startswith(LABEL)]
        if labels:
            yield "  labels: " + ", ".join(f"{count:,} {label}" for count, label in sorted(labels, reverse=True))
        for name, lengths in zip(("sequence", "learnt part"), lengths_of(rows)):
            median, most = np.percentile(lengths, [50, 95])
            yield f"  tokens, {name}: median {median:.0f}, 95 % {most:.0f}, longest {lengths.max()}"
    room = f", {encoder.max_new_tokens} of them for what the model writes" if encoder.classes is None else ""
    yield f"\na sequence may have {encoder.max_length} tokens{room}"
    texts = [text for part in examples.values() for text in texts_of(part)]
    unknown = " ".join(encoder.unknown_characters(texts))
    yield f"characters without a token in the rows to measure on: {unknown or 'none'}"
    for number, row in zip(range(1, 4), datasets.get("train", datasets["validation"])):
        yield f"\nrow {number}, the learnt part in [[ ]]:\n{marked(row, encoder)}"


def marked(row: Mapping[str, Any], encoder: Encoder) -> str:
    """A sequence as text with its learnt part, or its class, in double brackets, long parts without their middle."""
    tokenizer = encoder.tokenizer

    def text(ids: Sequence[int]) -> str:
        if len(ids) <= 2 * SHOWN:
            return tokenizer.decode(ids)
        return f"{tokenizer.decode(ids[:SHOWN])} ... {tokenizer.decode(ids[-SHOWN:])}"

    if encoder.classes:
        name = next((name for name, number in encoder.classes.items() if number == row["labels"][-1]), "")
        return f"{text(row['input_ids'][:-1])}[[{name}]]"
    runs = groupby(zip(row["input_ids"], row["labels"]), lambda pair: pair[1] != IGNORE)
    shown = ((learnt, text([index for index, _ in pairs])) for learnt, pairs in runs)
    return "".join(f"[[{part}]]" if learnt else part for learnt, part in shown)


def training_lines(
    task: Task, args: RunArguments, encoder: Encoder, model: Any, datasets: Mapping[str, Dataset]
) -> Iterator[str]:
    """Steps and memory; with ``--dry_run step`` the time and the peak memory of some updates."""
    timed = args.data.dry_run == "step"
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    frozen = sum(each.numel() * each.element_size() for each in model.parameters() if not each.requires_grad)
    with trial(task, args, encoder, model, datasets["train"], STEPS if timed else args.training.max_steps) as trainer:
        total = args.training.max_steps
        if total <= 0:
            batches = len(trainer.get_train_dataloader())
            updates = -(-batches // args.training.gradient_accumulation_steps)
            total = math.ceil(updates * args.training.num_train_epochs)
            yield f"\nupdates: {total:,} ({args.training.num_train_epochs:g} epochs of {updates:,})"
        else:
            yield f"\nupdates: {total:,} (--max_steps)"
        state = (TRAINED * trained + frozen) / 2**30
        yield f"memory: {state:.1f} GiB for weights, gradients and AdamW; what a batch needs comes on top"
        if not timed:
            yield "time: --dry_run step takes some updates and tells how long training will take"
            return
        timer, device = StepTimer(), args.training.device
        trainer.add_callback(timer)
        trainer.train()
        step = float(np.median(timer.seconds[1:] or timer.seconds))
        yield f"time: {step:.2f} s an update on {device}, {step * total / 60:,.0f} minutes of training"
        yield f"peak memory of {len(timer.seconds)} updates: {peak_memory(device) / 2**30:.1f} GiB"


@contextmanager
def trial(
    task: Task, args: RunArguments, encoder: Encoder, model: Any, rows: Any, steps: int, **changes: Any
) -> Iterator[CompletionTrainer]:
    """A trainer of ``model`` for some ``steps``, which prints, evaluates and saves nothing; ``changes`` are other arguments.

    A signal ends it at once: there is nothing to keep.
    """
    quiet = {
        "save_strategy": "no", "eval_strategy": "no", "eval_on_start": False, "load_best_model_at_end": False,
        "early_stopping_patience": None, "report_to": "none", "logging_strategy": "steps", "logging_steps": 1,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trainer = CompletionTrainer(
            model=model,
            args=dataclasses.replace(args.training, output_dir=folder, max_steps=steps, **quiet, **changes),
            data_collator=CompletionCollator(encoder.tokenizer),
            train_dataset=rows,
            processing_class=encoder.tokenizer,
            evaluator=None,
            run_config=RunConfig.of(task.parts[0], "", None, encoder.of_parts[0]),
        )
        for callback in (StopOnSignal, Console):
            trainer.remove_callback(callback)
        yield trainer


def peak_memory(device: torch.device) -> int:
    """Bytes: of the accelerator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import psutil

    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", 0) or memory.rss
