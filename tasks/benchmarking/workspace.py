"""The folder that the runs of one benchmark share: the model that each begins with, and the rows."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import get_task
from tasks.base import Example, Task
from tasks.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from tasks.arguments.data import DataArguments
    from tasks.arguments.model import ModelArguments
    from tasks.benchmarking.arguments import BenchmarkArguments
    from tasks.preparing.encoding import Encoder

MODEL = "model"
ROWS = "examples.pickle"  # written and read by this program alone, within one benchmark


def make_workspace(
    folder: Path, command: str, args: BenchmarkArguments, data_args: DataArguments, model_args: ModelArguments
) -> dict[str, Any]:
    """Write model, tokenizer and rows into ``folder``; returns what every job is told.

    Raises:
        UserError: the model, the tokenizer or the data cannot be used.
    """
    from tasks.model.loading import load_config
    from tasks.model.model_files import make_portable
    from tasks.model.tokenizer import add_separators, load_tokenizer
    from tasks.preparing.encoding import Encoder, sequence_length
    from tasks.preparing.examples import load_examples

    if model_args.load_in_4bit:
        raise UserError("--load_in_4bit: the benchmark compares ways to train and run whole weights; leave it out")
    task = get_task(args.task)
    splits = {"infer": ("validation",), "prepare": ("train",)}.get(command, ("train", "validation"))
    if command == "train" and not args.time_to_quality:
        splits = ("train",)
    if args.random_model:
        model_args.model = args.tokenizer
    config = load_config(model_args)
    tokenizer, appended_ids = add_separators(load_tokenizer(model_args, config), task.separators)
    length = sequence_length(data_args.max_length, tokenizer)
    new_tokens = _max_new_tokens(task, args, command, tokenizer)
    encoder = Encoder(tokenizer, length, new_tokens)
    examples, _ = load_examples(task, data_args, seed=args.seed, splits=splits)
    if command == "infer":
        encoder.prompts(examples["validation"])  # what does not fit is found here
    else:  # rows with nothing to learn are left out on every side
        examples = {split: [row for row in rows if encoder.training_rows([row])] for split, rows in examples.items()}
        empty = [split for split, rows in examples.items() if not rows]
        if empty:
            raise UserError(f"no {empty[0]} row has anything to learn within {length} tokens; raise --max_length")
    with open(folder / ROWS, "wb") as file:
        pickle.dump(examples, file)
    if command != "prepare":
        save_model(folder / MODEL, args, model_args, tokenizer, appended_ids)
    else:
        config.save_pretrained(folder / MODEL)
    tokenizer.save_pretrained(folder / MODEL)
    make_portable(folder / MODEL)
    return {
        "command": command,
        "folder": str(folder),
        "task": task.name,
        "processes": data_args.preprocessing_num_workers or 1,
        "max_length": length,
        "max_new_tokens": new_tokens,
        "dtype": model_args.dtype,
        "attn_implementation": model_args.attn_implementation,
        "dropout": model_args.dropout,
        "trust_remote_code": model_args.trust_remote_code,
    }


def _max_new_tokens(task: Task, args: BenchmarkArguments, command: str, tokenizer: PreTrainedTokenizerFast) -> int:
    """What a script would leave free; to infer, what a completion of this benchmark has."""
    if args.max_new_tokens:
        return args.max_new_tokens
    if command != "infer":
        return task.max_new_tokens
    words = [tokenizer(word, add_special_tokens=False).input_ids for word in task.label_words.values()]
    return max(map(len, words)) + 1 if words else 64


def save_model(folder: Path, args: Any, model_args: ModelArguments, tokenizer: Any, appended_ids: list[int]) -> None:
    """The weights that every run begins with, in float32."""
    import torch
    from transformers import GPT2LMHeadModel

    from tasks.arguments.model import ModelArguments
    from tasks.model.loading import load_model
    from tasks.model.new_model import gpt2_config

    torch.manual_seed(args.seed)
    if args.random_model:
        model = GPT2LMHeadModel(gpt2_config(args.random_model, tokenizer))
    else:
        given = ModelArguments(
            model=model_args.model,
            model_revision=model_args.model_revision,
            trust_remote_code=model_args.trust_remote_code,
        )
        model = load_model(given, tokenizer, appended_ids)
    model.save_pretrained(folder)


@dataclass
class Workspace:
    """The same folder, as a run sees it."""

    job: dict[str, Any]
    task: Task
    tokenizer: PreTrainedTokenizerFast
    encoder: Encoder
    examples: dict[str, list[Example]]

    @classmethod
    def open(cls, job: dict[str, Any]) -> Workspace:
        """Read tokenizer and rows."""
        from tasks.model.loading import load_config
        from tasks.model.tokenizer import add_separators, load_tokenizer
        from tasks.preparing.encoding import Encoder

        task = get_task(job["task"])
        arguments = model_arguments(job)
        tokenizer, _ = add_separators(load_tokenizer(arguments, load_config(arguments)), task.separators)
        with open(Path(job["folder"]) / ROWS, "rb") as file:
            examples = pickle.load(file)
        return cls(job, task, tokenizer, Encoder(tokenizer, job["max_length"], job["max_new_tokens"]), examples)

    def model(self) -> PreTrainedModel:
        """The model with its first weights, as the scripts load it."""
        from tasks.model.loading import load_model

        return load_model(model_arguments(self.job), self.tokenizer)

    def plain_model(self) -> PreTrainedModel:
        """The same weights as a user loads them, with the attention that transformers chooses where none is given."""
        from transformers import AutoModelForCausalLM

        from tasks.model.loading import DROPOUTS, align_special_tokens, load_config

        arguments = model_arguments(self.job)
        config = load_config(arguments)
        if arguments.dropout is not None:
            for name in set(DROPOUTS) & set(config.to_dict()):
                setattr(config, name, arguments.dropout)
        model = AutoModelForCausalLM.from_pretrained(
            arguments.model,
            config=config,
            dtype=arguments.dtype,
            attn_implementation=arguments.attn_implementation,
            trust_remote_code=arguments.trust_remote_code,
        )
        align_special_tokens(model, self.tokenizer)
        return model


def model_arguments(job: dict[str, Any]) -> ModelArguments:
    """ModelArguments of the shared folder."""
    from tasks.arguments.model import ModelArguments

    given = {name: job[name] for name in ("dtype", "attn_implementation", "dropout", "trust_remote_code")}
    return ModelArguments(model=str(Path(job["folder"]) / MODEL), **given)
