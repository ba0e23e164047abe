"""The folder that the runs of one benchmark share: the model that each starts from, and the rows."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import get_task
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.base import Task
from tasks.benchmarking.running import has_bf16
from tasks.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from tasks.arguments.data import DataArguments
    from tasks.benchmarking.arguments import BenchmarkArguments
    from tasks.preparing.encoding import Encoder

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
    from tasks.model.loading import load_config
    from tasks.model.model_files import make_portable
    from tasks.model.opening import open_encoder
    from tasks.preparing.encoding import Encoder
    from tasks.preparing.splits import load_examples

    if model_args.load_in_4bit:
        raise UserError("--load_in_4bit: the benchmark trains and runs whole weights; leave it out")
    if args.bf16 and not has_bf16():
        raise UserError("--bf16: this CPU has no bfloat16 instructions, and emulating them is slow; leave it out")
    task = get_task(args.task)
    if args.random_model:
        model_args.model = args.tokenizer
    opened = open_encoder(task, model_args, GenerationArguments(max_new_tokens=1), data_args.max_length)
    length = min(opened.max_length, 256) if command == "scale" else opened.max_length
    new_tokens = _max_new_tokens(task, args, command, opened.tokenizer)  # may need the tokenizer
    encoder = Encoder(opened.tokenizer, length, new_tokens)
    splits = {"infer": ("validation",), "scale": ()}.get(command, ("train",))
    if args.time_to_quality:
        splits = ("train", "validation")
    examples = load_examples(task, data_args, seed=args.seed, splits=splits)[0] if splits else {}
    if command == "infer":
        encoder.prompts(examples["validation"])  # a prompt that does not fit is found here
    else:  # every variant leaves out the rows that have nothing to learn
        examples = {split: [row for row in rows if encoder.training_rows([row])] for split, rows in examples.items()}
        empty = [split for split, rows in examples.items() if not rows]
        if empty:
            raise UserError(f"no {empty[0]} row has anything to learn within {length} tokens; raise --max_length")
    (folder / ROWS).write_bytes(pickle.dumps(examples))
    start = load_config(model_args) if command == "prepare" else _first_model(task, args, model_args, opened)
    for part in (start, opened.tokenizer):
        part.save_pretrained(folder / MODEL)
    make_portable(folder / MODEL)
    return {name: getattr(model_args, name) for name in MODEL_SETTINGS} | {
        "command": command,
        "folder": str(folder),
        "task": task.name,
        "processes": data_args.preprocessing_num_workers or 1,
        "max_length": length,
        "max_new_tokens": new_tokens,
    }


def _max_new_tokens(task: Task, args: BenchmarkArguments, command: str, tokenizer: PreTrainedTokenizerFast) -> int:
    """The script's default; in ``infer`` as many as this benchmark generates."""
    if args.max_new_tokens or command != "infer":
        return args.max_new_tokens or task.max_new_tokens
    words = [tokenizer(word, add_special_tokens=False).input_ids for word in task.label_words.values()]
    return max(map(len, words)) + 1 if words else 64


def _first_model(task: Task, args: BenchmarkArguments, model_args: ModelArguments, encoder: Encoder) -> PreTrainedModel:
    """The weights that every run starts from, in float32."""
    import torch
    from transformers import GPT2LMHeadModel

    from tasks.model.new_model import gpt2_config
    from tasks.model.opening import open_model

    torch.manual_seed(args.seed)
    if args.random_model:
        return GPT2LMHeadModel(gpt2_config(args.random_model, encoder.tokenizer))
    plain = dataclasses.replace(model_args, dtype="float32", attn_implementation=None, dropout=None)
    return open_model(task, plain, encoder)


class Workspace:
    """The same folder as a run sees it: task, tokenizer, encoder, and the examples of each split."""

    def __init__(self, job: dict[str, Any]) -> None:
        from tasks.model.opening import open_encoder

        self.job = job
        self.task = get_task(job["task"])
        settings = {name: job[name] for name in MODEL_SETTINGS}
        self.model_args = ModelArguments(model=str(Path(job["folder"]) / MODEL), **settings)
        generation_args = GenerationArguments(max_new_tokens=job["max_new_tokens"])
        self.encoder = open_encoder(self.task, self.model_args, generation_args, job["max_length"])
        self.tokenizer = self.encoder.tokenizer
        self.examples = pickle.loads((Path(job["folder"]) / ROWS).read_bytes())

    def model(self) -> PreTrainedModel:
        """The model with its first weights and the attention that transformers chooses, the same for every variant."""
        from tasks.model.opening import open_model

        return open_model(self.task, self.model_args, self.encoder)
