"""The command line: its dataclasses, their defaults and the reason of each default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainingArguments as HfTrainingArguments
from transformers.hf_argparser import HfArg

from tasks.base import Task
from tasks.distributed import processes, world_size
from tasks.errors import UserError
from tasks.training.command_line import parse_dataclasses
from tasks.training.data_arguments import DataArguments
from tasks.training.output_folder import settings_of
from tasks.training.quantization import check_four_bit
from tasks.training.sharding import check_engine, load_whole_models


@dataclass
class ModelArguments:
    """Which model, and how it is loaded."""

    # KoGPT2: the home model of these scripts.
    model: str = HfArg(
        default="skt/kogpt2-base-v2",
        aliases=["--model_name_or_path"],
        help="Hub id or folder of a causal language model.",
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the model on the Hub."})
    # Weights saved in half precision cannot be trained as they are: small updates are rounded away. --bf16 and --fp16
    # compute in half precision while the weights stay in float32.
    dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "Type of the weights; use --bf16 for fast mixed precision."}
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "eager, sdpa or flash_attention_2; transformers chooses by default (see --eager_on_cpu)."},
    )
    dropout: float | None = field(
        default=None, metadata={"help": "Dropout while training; what the model's config says by default."}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run the Python code that the model's repository ships."}
    )
    load_in_4bit: bool = field(
        default=False, metadata={"help": "Keep the linear layers in 4 bits (NF4); to train, with --lora_r (QLoRA)."}
    )

    def __post_init__(self) -> None:
        """Raises UserError on a dropout that is no probability, and on 4 bits where there is no engine for them."""
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise UserError(f"--dropout is {self.dropout}; it must be from 0 to below 1")
        if self.load_in_4bit:
            check_four_bit()


@dataclass
class GenerationArguments:
    """How text is written. What is not given is what the model was measured with, or the task's default."""

    max_new_tokens: int | None = field(default=None, metadata={"help": "Longest completion in tokens, eos included."})
    num_beams: int | None = field(default=None, metadata={"help": "Beam search over N beams; 1, the default, is greedy."})
    do_sample: bool | None = field(
        default=None, metadata={"help": "Sample instead of taking the best token.", "nargs": "?", "const": True}
    )
    top_k: int | None = field(default=None, metadata={"help": "Sample from the K best tokens (50); 0 is off."})
    top_p: float | None = field(
        default=None, metadata={"help": "Sample from the best tokens that hold this probability (0.95)."}
    )
    temperature: float | None = field(default=None, metadata={"help": "Below 1 sharper, above 1 wilder, when sampling."})
    repetition_penalty: float | None = field(
        default=None, metadata={"help": "Above 1: avoid tokens written before. The prompt does not count."}
    )
    no_repeat_ngram_size: int | None = field(
        default=None, metadata={"help": "Never write N tokens in a row twice; 0 is off. The prompt does not count."}
    )
    extractive: bool | None = field(
        default=None,
        metadata={
            "help": "qa: answers that stand in the context; measured beside free ones as free_f1, free_exact_match.",
            "nargs": "?",
            "const": True,
        },
    )
    num_samples: int | None = field(
        default=None, metadata={"help": "generate, scratch: validation rows that are continued by a sample (64)."}
    )

    def __post_init__(self) -> None:
        """Raises UserError on values that no decoder takes."""
        lowest = {"max_new_tokens": 1, "num_beams": 1, "top_k": 0, "no_repeat_ngram_size": 0, "num_samples": 0}
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UserError(f"--{name} is {value}; it must be {low} or more")
        for name, high in {"top_p": 1.0, "temperature": float("inf"), "repetition_penalty": float("inf")}.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= high:
                raise UserError(f"--{name} is {value}; it must be over 0" + (" and at most 1" if high == 1.0 else ""))


@dataclass
class PublishArguments:
    """The model card that every run gets, and who may see the model on the Hub."""

    card_language: Literal["en", "ko"] | None = field(default=None, metadata={"help": "Language of the model card; en."})
    card_template: str | None = field(
        default=None, metadata={"help": "Your own template of the card; model_cards/en.md shows what it can use."}
    )
    # The rows are the user's data: a card is no place for them unless asked for.
    card_examples: int | None = field(
        default=None, metadata={"help": "Show the first N validation rows and what the model made of them; 0."}
    )
    license: str | None = field(
        default=None, metadata={"help": "Hub id of the model's licence; the base model's by default."}
    )
    dataset_license: str | None = field(
        default=None, metadata={"help": "Hub id of the data's licence; the stricter of base and data wins."}
    )
    allow_nd_dataset: bool = field(
        default=False, metadata={"help": "Publish though the data is under a no-derivatives licence; the card says so."}
    )
    base_model: str | None = field(
        default=None, metadata={"help": "Hub id of the base model, where --model is a local copy of it."}
    )
    hub_public: bool = field(default=False, metadata={"help": "Let everyone see it; private by default."})
    # Taken over from transformers' flags of these names by parse_arguments: its Trainer is not to push by itself.
    push_to_hub: bool = field(default=False, init=False)
    repo_id: str | None = field(default=None, init=False)
    revision: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raises UserError on a template that is not there, and fewer than no examples."""
        if self.card_template and not Path(self.card_template).is_file():
            raise UserError(f"--card_template {self.card_template}: no such file")
        if self.card_examples is not None and self.card_examples < 0:
            raise UserError(f"--card_examples is {self.card_examples}; it must be 0 or more")

    def choices(self) -> dict[str, Any]:
        """What was chosen for the card and the licence, to be chosen again when the run is published later."""
        names = (
            "card_language",
            "card_template",
            "card_examples",
            "license",
            "dataset_license",
            "allow_nd_dataset",
            "base_model",
        )
        return {name: getattr(self, name) for name in names if getattr(self, name)}


@dataclass
class TrainingArguments(HfTrainingArguments):
    """transformers' TrainingArguments with the defaults of fine-tuning KoGPT2; every flag of theirs works."""

    do_train: bool = field(default=True, metadata={"help": "Train; --no_do_train only measures."})
    do_eval: bool = field(default=True, metadata={"help": "Measure the task's metric on the validation rows at the end."})
    do_predict: bool = field(default=True, metadata={"help": "Write predictions.jsonl, and measure --test_file if given."})
    learning_rate: float = field(default=3e-5, metadata={"help": "Peak learning rate of AdamW."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps of warm-up; below 1 a share of all steps."})
    num_train_epochs: float = field(default=3.0, metadata={"help": "Passes over the training rows."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Rows a device and step."})
    per_device_eval_batch_size: int = field(default=16, metadata={"help": "Rows a device when measuring the loss."})
    generation_batch_size: int | None = field(
        default=None, metadata={"help": "Rows a device when predicting; as many as memory allows by default."}
    )
    # Measured, saved and compared once an epoch: over two or three epochs more would cost more than it tells.
    eval_strategy: str = field(default="epoch", metadata={"help": "When to measure: no, steps, epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint: no, steps, epoch, best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best checkpoint, not the last one."})
    metric_for_best_model: str | None = field(
        default="loss",
        metadata={"help": "loss, or a metric of the task (rougeL, accuracy, f1), measured at each evaluation."},
    )
    greater_is_better: bool | None = field(default=None, metadata={"help": "Set by the metric."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept: the best and the last."})
    # As many steps an epoch as with batches of rows, on as many labels, with next to no padding and no batch of long rows
    # alone: measured 1.3 to 1.5 times as fast, see README.
    tokens_per_batch: int | None = field(
        default=None,
        metadata={
            "help": "Batches of as many rows as fit into N tokens; as many as --per_device_train_batch_size rows have on "
            "average by default. 0: batches of that many rows, whatever their length."
        },
    )
    padding_free: bool | None = field(
        default=None,
        metadata={
            "help": "The rows of a batch one behind the other, without padding; by default with FlashAttention.",
            "nargs": "?",
            "const": True,
        },
    )
    labelled_head: bool = field(
        default=True, metadata={"help": "Compute logits only where there is a label; the same loss, less work and memory."}
    )
    fused_gelu: bool = field(default=True, metadata={"help": "GPT-2's GELU in one operation; equal up to rounding."})
    # Without dropout sdpa is the faster one there, too: it then has a fused kernel.
    eager_on_cpu: bool = field(
        default=True, metadata={"help": "On CPU, train a model that has dropout with eager attention."}
    )
    keep_freed_memory: bool = field(
        default=True, metadata={"help": "On CPU: let the C library keep memory for the next step instead of giving it back."}
    )
    logging_steps: float = field(default=10, metadata={"help": "Steps between lines of the training log."})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after N evaluations without a better --metric_for_best_model."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete an earlier run of this task in --output_dir and start anew."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "`last`, or a checkpoint folder: go on from there. A run that was not finished does by itself."},
    )
    # Early stopping is to remember, after a resume, how long it has waited.
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "A resumed run goes on with what its callbacks knew, such as early stopping."}
    )
    # Filled in by parse_arguments and check_output_dir: what makes two starts the same run, and whether this one goes on.
    settings: dict[str, Any] = field(default_factory=dict, init=False)
    goes_on: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Without evaluations or checkpoints there is no best one to load; without a GPU there is no memory to pin."""
        if "no" in (str(self.eval_strategy), str(self.save_strategy)):
            self.load_best_model_at_end = False
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise UserError(
                "--early_stopping_patience needs evaluations and checkpoints; leave --eval_strategy, --save_strategy and "
                "--load_best_model_at_end as they are"
            )
        if self.generation_batch_size is not None and self.generation_batch_size < 1:
            raise UserError(f"--generation_batch_size is {self.generation_batch_size}; it must be 1 or more")
        if self.tokens_per_batch is not None and self.tokens_per_batch < 0:
            raise UserError(f"--tokens_per_batch is {self.tokens_per_batch}; it must be 0 (batches of rows) or more")
        if self.train_sampling_strategy != "random":
            if self.tokens_per_batch:
                raise UserError(
                    f"--train_sampling_strategy {self.train_sampling_strategy} makes batches of rows, --tokens_per_batch "
                    "batches of tokens, in which rows of like length meet already: give one of them"
                )
            self.tokens_per_batch = 0
        if self.padding_free and self.tokens_per_batch == 0:
            raise UserError("--padding_free fills batches by tokens; leave out --tokens_per_batch 0")
        if self.hub_token is not None:
            raise UserError(
                "--hub_token: a token on the command line ends up in shell histories, process lists and logs; set HF_TOKEN "
                "in the environment, or log in once with `hf auth login`"
            )
        if self.hub_private_repo is False:
            raise UserError("--hub_private_repo false: a model is private unless --hub_public is given")
        if self.hub_always_push or self.hub_strategy not in ("every_save", "end"):
            raise UserError("--hub_strategy, --hub_always_push: a run is published once, at its end, when it is measured")
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.cuda.is_available()
        # Said aloud, since torchrun without a GPU otherwise gives processes that train side by side, each for itself.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        check_engine(self)
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False  # every weight of a causal LM takes part: no need to search each step
        if self.use_cpu and world_size() > 1:
            processes(self.ddp_timeout)  # on CPU transformers leaves the time-out at gloo's own
        super().__post_init__()
        load_whole_models(self)


def parse_arguments(
    task: Task,
    description: str,
    argv: Sequence[str] | None = None,
    model_type: type | None = None,
    training_type: type = TrainingArguments,
) -> tuple[Any, ...]:
    """Read the command line into (FineTuning-, Data-, Generation-, Training-, PublishArguments).

    ``--config FILE`` (yaml, json, or a text file of flags) holds the same arguments; the command line wins.

    Raises:
        UserError: an unknown flag (the nearest known one is named), a value of the wrong type, a broken config file.
    """
    from tasks.training.adapter_arguments import FineTuningArguments  # made from ModelArguments

    types = (model_type or FineTuningArguments, DataArguments, GenerationArguments, training_type, PublishArguments)
    model_args, data_args, generation_args, training_args, publish_args = parse_dataclasses(types, description, argv)
    wanted = (training_args.metric_for_best_model or "loss").removeprefix("eval_")
    if wanted != "loss":
        if wanted not in task.metrics:
            raise UserError(f"--metric_for_best_model {wanted}: {task.name} measures loss, {', '.join(task.metrics)}")
        training_args.greater_is_better = task.metrics[wanted]  # transformers takes all but a loss for better when greater
    if training_args.output_dir in (None, "trainer_output"):  # what transformers has for "not given"
        name = Path(model_args.model).name if isinstance(model_args, ModelArguments) else model_args.model_size
        training_args.output_dir = str(Path("outputs") / f"{task.name}-{name}")
    training_args.settings = settings_of(model_args, data_args, generation_args, training_args)
    publish_args.push_to_hub, training_args.push_to_hub = training_args.push_to_hub, False
    publish_args.repo_id, publish_args.revision = training_args.hub_model_id, training_args.hub_revision
    return model_args, data_args, generation_args, training_args, publish_args
