"""The folder that the runs of one benchmark share: the model that each starts from, and the rows."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import GPT2LMHeadModel, PreTrainedModel

from tasks import get_task
from tasks.arguments.data import DataArguments
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.benchmarking.arguments import BenchmarkArguments
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.loading import open_encoder, open_model
from tasks.model.model_files import make_portable
from tasks.model.new_model import gpt2_config
from tasks.preparing.encoding import Encoder
from tasks.preparing.splits import load_examples
from tasks.preparing.tables import encode

MODEL = "model"
ROWS = "examples.pickle"  # written and read by this program alone, within one benchmark

#: The model arguments that every run needs; the rest is settled when the folder is written.
MODEL_SETTINGS = ("dtype", "attn_implementation", "dropout", "trust_remote_code")


def make_workspace(
    folder: Path, command: str, args: BenchmarkArguments, data_args: DataArguments, model_args: ModelArguments
) -> dict[str, Any]:
    """Write model, tokenizer and rows into ``folder``; returns what all jobs have in common.

    Raises:
        UserError: the model, the tokenizer or the data cannot be used.
    """
    if model_args.load_in_4bit:
        raise UserError("--load_in_4bit: the benchmark trains and runs whole weights; leave it out")
    task = get_task(args.task)
    if task.learns_labels:
        raise UserError(
            f"--task {task.name}: its labels come from its data; measure a task whose labels are known, such as nli"
        )
    if args.random_model:
        model_args.model = args.tokenizer
    opened = open_encoder(task, model_args, GenerationArguments(max_new_tokens=1), data_args.max_length)
    new_tokens = args.max_new_tokens or task.max_new_tokens
    if command == "infer" and not args.max_new_tokens:
        words = opened.tokenize(list(task.label_words.values()))[0]
        new_tokens = max(map(len, words)) + 1 if words else 64
    encoder = Encoder(opened.tokenizer, opened.max_length, new_tokens)
    splits = ("validation",) if command == "infer" else ("train", "validation") if args.time_to_quality else ("train",)
    examples = load_examples(task, data_args, seed=args.seed, splits=splits)[0]
    if command == "infer":
        encoder.prompts(examples["validation"])  # a prompt that does not fit is found here
    else:  # every variant leaves out the rows that have nothing to learn
        examples = {split: [row for row in rows if encoder.training_rows([row])] for split, rows in examples.items()}
        for split, rows in examples.items():
            if not rows:
                raise UserError(f"no {split} row has anything to learn in {encoder.max_length} tokens; raise --max_length")
    (folder / ROWS).write_bytes(pickle.dumps(examples))
    torch.manual_seed(args.seed)
    if command == "prepare":
        start = load_config(model_args)
    elif args.random_model:
        start = GPT2LMHeadModel(gpt2_config(args.random_model, opened.tokenizer))
    else:  # in float32: what each run loads has the type and the dropout that it asks for
        plain = dataclasses.replace(model_args, dtype="float32", attn_implementation=None, dropout=None)
        start = open_model(task, plain, opened)
    for part in (start, opened.tokenizer):
        part.save_pretrained(folder / MODEL)
    make_portable(folder / MODEL)
    return {name: getattr(model_args, name) for name in MODEL_SETTINGS} | {
        "command": command,
        "folder": str(folder),
        "task": task.name,
        "processes": data_args.preprocessing_num_workers or 1,
        "max_length": encoder.max_length,
        "max_new_tokens": new_tokens,
    }


class Workspace:
    """The same folder as a run sees it: task, tokenizer, encoder, and the examples of each split."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.task = get_task(job["task"])
        settings = {name: job[name] for name in MODEL_SETTINGS}
        self.model_args = ModelArguments(model=str(Path(job["folder"]) / MODEL), **settings)
        generation_args = GenerationArguments(max_new_tokens=job["max_new_tokens"])
        self.encoder = open_encoder(self.task, self.model_args, generation_args, job["max_length"])
        self.tokenizer = self.encoder.tokenizer
        self.examples = pickle.loads((Path(job["folder"]) / ROWS).read_bytes())

    def rows(self, split: str) -> Dataset:
        """The encoded examples of a split."""
        return encode(self.encoder, self.examples[split], split).rows

    def model(self) -> PreTrainedModel:
        """The model with its first weights and the attention that transformers chooses, the same for every variant."""
        return open_model(self.task, self.model_args, self.encoder)
