"""``--dry_run``: what a run understood of its data and what training would take, before anything is trained or written."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback

from tasks.base import Task
from tasks.distributed import is_first
from tasks.preparing.encoding import IGNORE, Encoder
from tasks.preparing.notices import texts_of
from tasks.run_folder import RunConfig
from tasks.training.collator import CompletionCollator
from tasks.training.trainer import CompletionTrainer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

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
    task: Task, args: RunArguments, data: RunData, model: Any, encoder: Encoder, datasets: Mapping[str, Dataset]
) -> None:
    """Print what was read, how it is split, labels, lengths, three rows, steps and memory; with ``step`` the time, too.

    Nothing is written but the cache of prepared rows, which the run itself reads. Every process takes part; the first
    one prints.
    """
    lines = list(of_data(task, data, encoder, datasets)) + list(of_training(args, model, encoder, datasets))
    if is_first():
        print(f"--dry_run: {task.name}; nothing is trained, nothing is written\n")
        print("\n".join(lines))


def of_data(task: Task, data: RunData, encoder: Encoder, datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Lines about the rows."""
    tokenizer = encoder.tokenizer
    for split, counts in data.counts.items():
        yield f"{split}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())
    for split, rows in datasets.items():
        if task.label_words:
            words = {tuple(encoder.tokenize([word])[0][0]): label for label, word in task.label_words.items()}
            found = Counter(words[tuple(completion_of(row)[:-1])] for row in rows)
            yield f"{split} labels: " + ", ".join(f"{count:,} {label}" for label, count in found.most_common())
        lengths = np.array([len(row["input_ids"]) for row in rows])
        median, most, longest = np.median(lengths), np.percentile(lengths, 95), lengths.max()
        yield f"{split} tokens a sequence: median {median:.0f}, 95 % {most:.0f}, longest {longest} of {encoder.max_length}"
    unknown = encoder.unknown_characters(texts_of([each for part in data.examples.values() for each in part]))
    if unknown:
        yield f"characters without a token: {' '.join(unknown)}"
    for number, row in zip(range(3), datasets.get("train", datasets["validation"])):
        yield f"\nrow {number + 1}, the learnt part in [[ ]]:\n{marked(row, tokenizer)}"


def completion_of(row: Mapping[str, Any]) -> list[int]:
    """The tokens that count in the loss, eos included."""
    return [label for label in row["labels"] if label != IGNORE]


def marked(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> str:
    """A sequence as text, its learnt part in double brackets; long ones without their middle."""

    def text(ids: list[int]) -> str:
        if len(ids) <= 2 * SHOWN:
            return tokenizer.decode(ids)
        return f"{tokenizer.decode(ids[:SHOWN])} ... {tokenizer.decode(ids[-SHOWN:])}"

    start = next((i for i, label in enumerate(row["labels"]) if label != IGNORE), len(row["labels"]))
    return f"{text(row['input_ids'][:start])}[[{text(row['input_ids'][start:])}]]"


def of_training(args: RunArguments, model: Any, encoder: Encoder, datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Lines about steps and memory, and with ``--dry_run step`` about the time, from some updates of the real training."""
    if not args.training.do_train:
        return
    timed = args.data.dry_run == "step"
    with tempfile.TemporaryDirectory() as folder:
        settings = dataclasses.replace(
            args.training, output_dir=folder, save_strategy="no", eval_strategy="no", report_to="none", push_to_hub=False,
            load_best_model_at_end=False, early_stopping_patience=None, max_steps=STEPS if timed else args.training.max_steps,
        )  # fmt: skip
        timer = StepTimer()
        trainer = CompletionTrainer(
            model=model,
            args=settings,
            data_collator=CompletionCollator(encoder.tokenizer),
            train_dataset=datasets["train"],
            eval_dataset=datasets["validation"],
            processing_class=encoder.tokenizer,
            evaluator=None,
            run_config=RunConfig.of(get_task(args), args.model.model, None, encoder),
            callbacks=[timer],
        )
        batches = len(trainer.get_train_dataloader())
        updates = -(-batches // args.training.gradient_accumulation_steps)
        total = args.training.max_steps if args.training.max_steps > 0 else round(updates * args.training.num_train_epochs)
        yield f"\nsteps: {total:,} updates, {updates:,} an epoch of {batches:,} batches"
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        frozen = sum(each.numel() * each.element_size() for each in model.parameters() if not each.requires_grad)
        state = (TRAINED * trained + frozen) / 2**30
        yield f"memory: {state:.1f} GiB for weights, gradients and AdamW, and activations besides"
        if timed:
            trainer.train()
            step = float(np.median(timer.seconds[1:] or timer.seconds))
            yield f"time: {step:.2f} s an update, {duration(step * total)} of training in all, without evaluations"
            yield f"peak memory of these updates: {peak_memory(settings.device) / 2**30:.1f} GiB on {settings.device}"
        else:
            yield "time and peak memory: --dry_run step takes some updates and tells them"
