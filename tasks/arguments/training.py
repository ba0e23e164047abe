"""Flags of training: transformers' TrainingArguments with other defaults, and flags of this project."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments as HfTrainingArguments
from transformers.hf_argparser import HfArg

from tasks.arguments.checks import at_least, trains
from tasks.arguments.sharding import check_engine, load_whole_models
from tasks.distributed import processes, world_size
from tasks.errors import UserError


@dataclass
class TrainingArguments(HfTrainingArguments):
    """transformers' TrainingArguments with defaults for fine-tuning KoGPT2; all of its flags work."""

    do_train: bool = HfArg(default=True, help="Train; --no_do_train only measures.")
    do_eval: bool = HfArg(default=True, help="Measure the task's metric on the validation rows at the end.")
    do_predict: bool = HfArg(default=True, help="Write predictions.jsonl, and measure --test_file if given.")
    learning_rate: float = HfArg(default=3e-5, help="Peak learning rate of AdamW.")
    warmup_steps: float = HfArg(default=0.1, help="Steps of warm-up; below 1 a share of all steps.")
    num_train_epochs: float = HfArg(default=3.0, help="Passes over the training rows.")
    per_device_train_batch_size: int = HfArg(default=16, help="Rows a device and step.")
    per_device_eval_batch_size: int = HfArg(default=16, help="Rows a device when measuring the loss.")
    generation_batch_size: int | None = HfArg(default=None, help="Rows a device when predicting; by default as many as fit.")
    # Once an epoch is enough for the two or three epochs of fine-tuning.
    eval_strategy: str = HfArg(default="epoch", help="When to measure: no, steps, epoch.")
    save_strategy: str = HfArg(default="epoch", help="When to save a checkpoint: no, steps, epoch, best.")
    load_best_model_at_end: bool = HfArg(default=True, help="Keep the best checkpoint, not the last one.")
    metric_for_best_model: str | None = HfArg(default="loss", help="loss, or a metric of the task (rougeL, accuracy, f1).")
    greater_is_better: bool | None = HfArg(default=None, help="Set by the metric.")
    save_total_limit: int | None = HfArg(default=2, help="Checkpoints kept: the best and the last.")
    # The same number of steps and labels an epoch as with fixed batches, and almost no padding: 1.3 to 1.5 times as fast,
    # see docs/benchmark.md.
    tokens_per_batch: int | None = HfArg(
        default=None,
        help=(
            "Batches of as many rows as fit into N tokens; as many as --per_device_train_batch_size rows have on "
            "average by default. 0: batches of that many rows, whatever their length."
        ),
    )
    padding_free: bool | None = HfArg(
        default=None,
        help="The rows of a batch one behind the other, without padding; by default with FlashAttention.",
        metadata={"nargs": "?", "const": True},
    )
    labelled_head: bool = HfArg(default=True, help="Compute logits only where there is a label; the loss stays the same.")
    fused_gelu: bool = HfArg(default=True, help="GPT-2's GELU in one operation; equal up to rounding.")
    # Without dropout sdpa is faster on CPU, too, because it has a fused kernel.
    eager_on_cpu: bool = HfArg(default=True, help="On CPU, train a model that has dropout with eager attention.")
    keep_freed_memory: bool = HfArg(
        default=True, help="On CPU: keep freed memory for the next step instead of returning it."
    )
    logging_steps: float = HfArg(default=10, help="Steps between lines of the training log.")
    early_stopping_patience: int | None = HfArg(default=None, help="Stop after N evaluations without a better one.")
    overwrite_output_dir: bool = HfArg(default=False, help="Delete an earlier run of this task in --output_dir and restart.")
    resume_from_checkpoint: str | None = HfArg(
        default=None, help="`last` or a checkpoint; an unfinished run resumes by itself."
    )
    # A resumed run keeps the patience that early stopping has used up.
    restore_callback_states_from_checkpoint: bool = HfArg(default=True, help="Restore the state of callbacks on resuming.")
    # All weights of a causal LM are used, so no step has to search for others.
    ddp_find_unused_parameters: bool | None = HfArg(default=False, help="Under torchrun: search for unused parameters.")
    # What --push_to_hub asks for. transformers' own flag is reset, because its Trainer would push checkpoints.
    publish: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Set what follows from other flags or the machine. Raises UserError on flags that conflict."""
        if "no" in (str(self.eval_strategy), str(self.save_strategy)):
            self.load_best_model_at_end = False
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise UserError(
                "--early_stopping_patience needs evaluations and checkpoints; leave --eval_strategy, --save_strategy and "
                "--load_best_model_at_end as they are"
            )
        at_least(self, 1, "generation_batch_size")
        trains(self)
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
        # Explicit, because processes of torchrun without a GPU would otherwise each train a model of their own.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        check_engine(self)
        if self.use_cpu and world_size() > 1:
            processes(self.ddp_timeout)  # transformers ignores the time-out on CPU
        super().__post_init__()
        load_whole_models(self)


@dataclass
class ScratchTrainingArguments(TrainingArguments):
    """The same with defaults for training from scratch (GPT-3 paper, table 2.1, small; nanoGPT uses the same)."""

    learning_rate: float = HfArg(default=6e-4, help="Peak learning rate; go down to 2e-4 for large, xl.")
    lr_scheduler_type: str = HfArg(default="cosine", help="Shape of the learning rate after warm-up.")
    weight_decay: float = HfArg(default=0.1, help="Weight decay of AdamW.")
    adam_beta2: float = HfArg(default=0.95, help="Shorter memory than 0.999: early gradients change fast.")

    def __post_init__(self) -> None:
        if not self.do_train:
            raise UserError("--no_do_train: there is no model yet that could be measured; leave it out")
        super().__post_init__()
