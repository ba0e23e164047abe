"""The flags of training that have a default or a meaning of their own here. No torch: --help answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers.hf_argparser import HfArg

from tasks.base import MEAN


@dataclass
class TrainingFlags:
    """These fields take the place of those of transformers' TrainingArguments."""

    output_dir: str | None = HfArg(default=None, help="Where model and results go; outputs/<task>-<model> by default.")
    do_train: bool = HfArg(default=True, help="Train; --no_do_train only measures.")
    do_eval: bool = HfArg(default=True, help="Measure the task's metric on the validation rows at the end.")
    do_predict: bool = HfArg(default=True, help="Write predictions.jsonl, and measure --test_file if given.")
    learning_rate: float = HfArg(default=3e-5, help="Peak learning rate of AdamW.")
    optim: str = HfArg(default="adamw_torch_fused", help="One of transformers' optimizers; in run_scratch.py also muon.")
    warmup_steps: float = HfArg(default=0.1, help="Steps of warm-up; below 1 a share of all steps.")
    decay_share: float = HfArg(
        default=0.2, help="Of --lr_scheduler_type warmup_stable_decay: the last share of the steps, in which the rate falls."
    )
    num_train_epochs: float = HfArg(default=3.0, help="Passes over the training rows.")
    per_device_train_batch_size: int = HfArg(default=16, help="Rows a device and step.")
    bf16: bool = HfArg(default=False, help="Compute in bfloat16 and keep float32 weights: faster where the device has it.")
    seed: int = HfArg(default=42, help="Seed of rows, dropout and new weights.")
    per_device_eval_batch_size: int = HfArg(default=16, help="Rows a device when measuring the loss.")
    generation_batch_size: int | None = HfArg(
        default=None, help="Rows a device when predicting; by default as many as are fast and fit."
    )
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
    report_to: list[str] | None = field(
        default=None, metadata={"help": "Trackers: trackio, tensorboard, wandb, mlflow; several with commas."}
    )
    early_stopping_patience: int | None = HfArg(default=None, help="Stop after N evaluations without a better one.")
    overwrite_output_dir: bool = HfArg(default=False, help="Delete an earlier run of this task in --output_dir and restart.")
    resume_from_checkpoint: str | None = HfArg(
        default=None, help="`last` or a checkpoint; an unfinished run resumes by itself."
    )
    # A resumed run keeps the patience that early stopping has used up.
    restore_callback_states_from_checkpoint: bool = HfArg(default=True, help="Restore the state of callbacks on resuming.")
    # All weights of a causal LM are used, so no step has to search for others.
    ddp_find_unused_parameters: bool | None = HfArg(default=False, help="Under torchrun: search for unused parameters.")
    push_to_hub: bool = HfArg(default=False, help="Publish the model at the end, with its card.")
    hub_model_id: str | None = HfArg(default=None, help="NAME/MODEL on the Hub; yours, and the folder's name, by default.")
    # What --push_to_hub asks for. transformers' own flag is reset, because its Trainer would push checkpoints.
    publish: bool = field(default=False, init=False)


@dataclass
class MixtureFlags(TrainingFlags):
    """Defaults for several tasks."""

    metric_for_best_model: str | None = HfArg(
        default=MEAN, help=f"{MEAN}, loss, or a task's main metric (nli_accuracy, qa_f1)."
    )


@dataclass
class ScratchFlags(TrainingFlags):
    """Defaults for training from scratch (GPT-3 paper, table 2.1, small; nanoGPT uses the same)."""

    learning_rate: float = HfArg(default=6e-4, help="Peak learning rate; go down to 2e-4 for large, xl.")
    lr_scheduler_type: str = HfArg(default="cosine", help="Shape of the learning rate after warm-up.")
    weight_decay: float = HfArg(default=0.1, help="Weight decay.")
    adam_beta2: float = HfArg(default=0.95, help="Shorter memory than 0.999: early gradients change fast.")
