"""The command line: its dataclasses, their defaults and the reason of each default."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments as HfTrainingArguments

from tasks.arguments.sharding import check_engine, load_whole_models
from tasks.distributed import processes, world_size
from tasks.errors import UserError


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
    # alone: measured 1.3 to 1.5 times as fast, see docs/benchmark.md.
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
    # transformers' own flag is switched off here: its Trainer is not to push by itself.
    publish: bool = field(default=False, init=False)

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
        self.publish, self.push_to_hub = self.push_to_hub, False
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
