"""The command line of scripts/benchmark.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tasks.errors import UserError

#: Rows of one run where no number is given: enough for a few of our batches, and short.
DEFAULT_ROWS = {
    "train": {"nli": 384, "qa": 64, "summarize": 36},
    "infer": {"nli": 256, "summarize": 32},
}


@dataclass
class BenchmarkArguments:
    """What is measured, how often, and where the figures go."""

    task: Literal["nli", "qa", "summarize"] = field(default="nli", metadata={"help": "Whose rows and prompts."})
    variants: str | None = field(
        default=None,
        metadata={"help": "Names with commas, such as ours,trl; in train with a learning rate of their own: ours@5e-4."},
    )
    repeats: int | None = field(
        default=None, metadata={"help": "Runs of each variant, in turn; 5, with --time_to_quality 1."}
    )
    output_file: str | None = field(
        default=None, metadata={"help": "JSON; outputs/benchmark-<command>-<task>.json by default."}
    )
    random_model: Literal["mini", "small", "medium", "large", "xl"] | None = field(
        default=None, metadata={"help": "An empty GPT-2 of this size with the tokenizer of --tokenizer, instead of --model."}
    )
    tokenizer: str | None = field(default=None, metadata={"help": "Folder or Hub id of the tokenizer of --random_model."})
    bf16: bool = field(default=False, metadata={"help": "bfloat16 autocast, on all sides."})
    max_new_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Room for a completion: in train the task's default, in infer 64, for nli the longest word and eos."
        },
    )
    tokens_per_batch: int = field(default=4096, metadata={"help": "train: tokens of one of our batches."})
    rows_per_batch: int | None = field(
        default=None, metadata={"help": "train: rows a batch of the others; 16 for nli, 8 for qa and summarize."}
    )
    learning_rate: float = field(default=3e-5, metadata={"help": "train: of all sides, where no name has its own."})
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "train: passes over the rows; 1, with --time_to_quality until the time is over."}
    )
    max_steps: int | None = field(default=None, metadata={"help": "train: at most so many steps a run."})
    warmup_steps: int = field(default=1, metadata={"help": "train: first steps of a run that are left out of the time."})
    max_seconds: float | None = field(
        default=None,
        metadata={"help": "A run ends after so many seconds, its rates are over what it did; infer: only row by row."},
    )
    time_to_quality: bool = field(
        default=False,
        metadata={"help": "train: validation loss of the completions against seconds of training, and a plot."},
    )
    eval_seconds: float = field(
        default=30.0, metadata={"help": "--time_to_quality: seconds of training between two losses; less at first."}
    )
    rows: int = field(
        default=50_000, metadata={"help": "prepare: rows; the file's are repeated. scale: rows of the starts."}
    )
    corpus_mb: str = field(
        default="20,200,2000", metadata={"help": "scale: sizes of the corpora that are made and streamed, in MB."}
    )
    max_memory_gb: float | None = field(
        default=None, metadata={"help": "A run that needs more fails; 90 %% of what is free at the start by default."}
    )
    seed: int = field(default=42, metadata={"help": "Seed of batches and dropout; each repeat adds one to it."})

    def __post_init__(self) -> None:
        """Raises UserError on numbers that measure nothing."""
        lowest = {"repeats": 1, "max_new_tokens": 1, "tokens_per_batch": 1, "rows_per_batch": 1, "max_steps": 1, "rows": 1}
        for name, low in (lowest | {"warmup_steps": 0}).items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UserError(f"--{name} is {value}; it must be {low} or more")
        for name in ("learning_rate", "num_train_epochs", "max_seconds", "eval_seconds", "max_memory_gb"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"--{name} is {value}; it must be over 0")
        if self.max_steps is not None and self.max_steps <= self.warmup_steps and not self.time_to_quality:
            raise UserError(
                f"--max_steps {self.max_steps} is all warm-up (--warmup_steps {self.warmup_steps}); give more steps"
            )
        if self.random_model and not self.tokenizer:
            raise UserError("--random_model needs --tokenizer: a folder or Hub id whose tokenizer it is to have")
        if self.tokenizer and not self.random_model:
            raise UserError("--tokenizer is for --random_model; a model of --model has its own")
        if self.time_to_quality and not (self.max_seconds or self.num_train_epochs or self.max_steps):
            raise UserError("--time_to_quality needs an end: --max_seconds 300 of training, or --num_train_epochs")
