"""The command line of scripts/benchmark.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psutil
from transformers.hf_argparser import HfArg

from tasks.arguments.data import DataArguments
from tasks.arguments.model import ModelSize
from tasks.errors import UserError

#: Rows of one run where no number is given: enough for a few of our batches, and short.
DEFAULT_ROWS = {"train": {"nli": 384, "qa": 64, "summarize": 36}, "infer": {"nli": 256, "summarize": 32}}

#: Rows a batch of the variants that count rows: what is usual for short and for long rows.
ROWS_PER_BATCH = {"nli": 16, "qa": 8, "summarize": 8}

COMMANDS = ("train", "infer", "prepare")


@dataclass
class BenchmarkArguments:
    """What is measured, how often, and where the figures go."""

    task: Literal["nli", "qa", "summarize"] = HfArg(default="nli", help="Whose rows and prompts.")
    variants: str | None = HfArg(
        default=None, help="Names with commas, such as ours,trl; in train with a learning rate of their own: ours@5e-4."
    )
    repeats: int | None = HfArg(default=None, help="Runs of each variant, in turn; 5, with --time_to_quality 1.")
    output_file: str | None = HfArg(default=None, help="JSON; outputs/benchmark-<command>-<task>.json by default.")
    random_model: ModelSize | None = HfArg(
        default=None, help="An empty GPT-2 of this size with the tokenizer of --tokenizer, instead of --model."
    )
    tokenizer: str | None = HfArg(default=None, help="Folder or Hub id of the tokenizer of --random_model.")
    bf16: bool = HfArg(default=False, help="bfloat16 autocast, in all variants.")
    max_new_tokens: int | None = HfArg(
        default=None, help="Room for a completion: the task's default; infer 64, or a label word and eos."
    )
    tokens_per_batch: int = HfArg(default=4096, help="train: tokens of one of our batches.")
    rows_per_batch: int | None = HfArg(default=None, help="train: rows a batch of the others; 16 for nli, else 8.")
    learning_rate: float = HfArg(default=3e-5, help="train: of all variants whose name has none.")
    num_train_epochs: float | None = HfArg(
        default=None, help="train: passes over the rows; 1, or enough for --time_to_quality."
    )
    max_steps: int | None = HfArg(default=None, help="train: at most so many steps a run.")
    warmup_steps: int = HfArg(default=1, help="train: first steps of a run that are left out of the time.")
    max_seconds: float | None = HfArg(
        default=None, help="A run ends after so many seconds, its rates are over what it did; infer: only row by row."
    )
    time_to_quality: bool = HfArg(
        default=False, help="train: validation loss of the completions against seconds of training, and a plot."
    )
    eval_seconds: float = HfArg(default=30.0, help="--time_to_quality: seconds between two losses; less at first.")
    rows: int = HfArg(default=50_000, help="prepare: rows; the file's are repeated.")
    max_memory_gb: float | None = HfArg(
        default=None, help="A run that needs more fails; 90 %% of the free memory by default."
    )
    seed: int = HfArg(default=42, help="Seed of batches and dropout; each repeat adds one to it.")

    def __post_init__(self) -> None:
        """Raises UserError on numbers that measure nothing."""
        for name, value in vars(self).items():
            if name in ("warmup_steps", "seed") or isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if value <= 0:
                raise UserError(f"--{name} is {value}; it must be over 0")
        if self.warmup_steps < 0:
            raise UserError(f"--warmup_steps is {self.warmup_steps}; it must be 0 or more")
        if self.max_steps is not None and self.max_steps <= self.warmup_steps and not self.time_to_quality:
            raise UserError(
                f"--max_steps {self.max_steps} is all warm-up (--warmup_steps {self.warmup_steps}); give more steps"
            )
        if bool(self.random_model) != bool(self.tokenizer):
            raise UserError("--random_model needs --tokenizer (a folder or Hub id), and --tokenizer is for it alone")
        if self.time_to_quality and not (self.max_seconds or self.num_train_epochs or self.max_steps):
            raise UserError("--time_to_quality needs an end: --max_seconds 300 of training, or --num_train_epochs")


def set_defaults(command: str, args: BenchmarkArguments, data_args: DataArguments) -> None:
    """Fill in the defaults that depend on the command. Raises UserError on a command that does not exist or fit."""
    if command not in COMMANDS:
        raise UserError(f"{command}: no such command; take one of {', '.join(COMMANDS)}")
    if args.time_to_quality and command != "train":
        raise UserError(f"--time_to_quality is for train, not for {command}")
    rows = DEFAULT_ROWS.get(command, {}).get(args.task)
    if command == "train" and not args.time_to_quality and args.max_steps is None:
        data_args.max_train_samples = data_args.max_train_samples or rows
    if command == "infer":
        data_args.max_eval_samples = data_args.max_eval_samples or rows
    args.rows_per_batch = args.rows_per_batch or ROWS_PER_BATCH[args.task]
    args.repeats = args.repeats or (1 if args.time_to_quality else 5)
    args.max_memory_gb = args.max_memory_gb or 0.9 * psutil.virtual_memory().available / 2**30
    # Time to quality: until --max_seconds are over, however many passes that takes.
    args.num_train_epochs = args.num_train_epochs or (50 if args.time_to_quality else 1)
