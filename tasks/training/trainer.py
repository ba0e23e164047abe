"""The Trainer of all tasks: loss by tokens, batches by tokens, exact resume, models that load elsewhere.

It overrides public methods of ``Trainer`` and four private ones; tests/tasks/training/test_trainer_contract.py pins their
signatures. What is measured is in evaluation.py, what is done between steps in callbacks.py.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PrinterCallback, set_seed
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import TrainOutput, unwrap_peft_model

from tasks import get_task
from tasks.arguments.training import MUON, TrainingArguments
from tasks.errors import UserError, explained
from tasks.inference.measuring import Evaluator
from tasks.model import speedups
from tasks.model.adapters import is_adapter, merge, remove_files, save_adapter
from tasks.model.advice import evaluation_advice, training_advice
from tasks.model.loading import restore
from tasks.model.model_files import ADAPTER_FILES, WHOLE_FILES, make_portable
from tasks.preparing.streaming import TextStream
from tasks.run_folder import RunConfig, RunConfigs
from tasks.training import callbacks
from tasks.training.batches import SharedBatchSampler, load_batches, process_share, token_batches
from tasks.training.checkpoints import Checkpoints, damage, find_checkpoints, fingerprint
from tasks.training.collator import PaddingFreeCollator, is_padding_free
from tasks.training.evaluation import Evaluation
from tasks.training.muon import muon
from tasks.training.sharding import check_checkpoint, set_up_fsdp, whole_model
from tasks.training.trackers import Trackers


class CompletionTrainer(Evaluation):
    """``Trainer`` for sequences whose labels are built in encoding.

    - Several processes learn and report what one process with their batches together would: no row counts twice.
    - Checkpoints are complete or not used; a resumed run ends with the weights of one that was never interrupted.
    - A loss that is not a finite number ends training, and so does full memory, with one line of advice.
    - What is saved loads elsewhere: ``use_cache`` on (False, as the plain Trainer saves it, makes generation crawl), a
      tokenizer class that other programs know, task.json beside the weights, and no pickled arguments.
    - An adapter is saved without its base, and added into it when training ends.
    - Under FSDP gradients are summed in float32, the saved model is whole, and each process can predict alone.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        run_config: RunConfig | RunConfigs | None,
        evaluator: Evaluator | None,
        merge_adapter: bool = False,
        **kwargs: Any,
    ) -> None:
        """``run_config`` is written beside each checkpoint; None for a run that saves nothing. ``evaluator`` is asked at
        evaluations where ``metric_for_best_model`` is a metric of the task. With ``merge_adapter`` a plain model replaces
        the adapter.
        """
        if args.use_cpu and args.keep_freed_memory:
            speedups.keep_freed_memory()
        speedups.avoid_cudnn_attention()
        if args.fused_gelu:
            speedups.fuse_gelu(model)
        head = run_config is not None and run_config.head
        if (args.labelled_head or head) and not speedups.head_on_labels_only(unwrap_peft_model(model)) and head:
            raise UserError(f"--head: {type(model).__name__} reads its last hidden state otherwise; leave it out")
        super().__init__(model=model, args=args, **kwargs)
        self.run_config = run_config
        self.evaluator = evaluator
        self.resumed_from: str | None = None
        self.train_metrics: dict[str, float] = {}
        self.merge_adapter = merge_adapter
        self._is_sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if merge_adapter and self._is_sharded:
            reason = "under FSDP and DeepSpeed the weights lie on several devices"
            raise UserError(f"--merge_adapter: {reason}; leave it out, and the folder holds the adapter")
        if head and self._is_sharded:
            raise UserError("--head: not with FSDP or DeepSpeed; leave one of them out")
        self._first_weights: dict[str, torch.Tensor] | None = None
        self.remove_callback(PrinterCallback if args.disable_tqdm else DEFAULT_PROGRESS_CALLBACK)
        self._console = callbacks.Console()
        self._throughput = callbacks.Throughput(self.accelerator)
        self._divergence = callbacks.StopOnDivergence(self.accelerator, self.train_dataset)
        self._checkpoints = Checkpoints(self.accelerator)
        self._signals = callbacks.StopOnSignal(self.accelerator)
        # In this order: a checkpoint is complete before a signal ends the process, and asked for before a step is logged.
        for callback in (self._console, self._throughput, self._divergence, self._checkpoints, self._signals):
            self.add_callback(callback)
        self.add_callback(callbacks.LogEvaluateSave())
        if args.early_stopping_patience is not None:
            self.add_callback(callbacks.EarlyStopping(args.early_stopping_patience))
        self.trackers = Trackers(self)

    # Training

    def train(self, resume_from_checkpoint: str | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """On CPU a model that has dropout trains with eager attention.

        An adapter is added into its base at the end, as it is where it is loaded again: what is measured is what others get.

        Raises:
            UserError: the checkpoint is of other rows or cannot be read, disk or memory is full, or the loss is not finite.
        """
        rows = fingerprint(self.train_dataset, self.eval_dataset)
        self._checkpoints.start(resume_from_checkpoint, rows, named=self.args.resume_from_checkpoint is not None)
        self.resumed_from = resume_from_checkpoint
        eager = self.args.use_cpu and self.args.eager_on_cpu and speedups.has_attention_dropout(self.model)
        self.args.eval_on_start |= not self._checkpoints.evaluated
        with speedups.eager_attention(self.model) if eager else nullcontext(), self._explained("training"):
            try:
                output = super().train(resume_from_checkpoint, *args, **kwargs)
            except Exception as error:
                if problem := self._checkpoints.failure(error, self.args):
                    raise problem from None
                raise
            finally:
                self._signals.restore_handlers()
                self._console.on_train_end()
        if isinstance(self.train_dataset, TextStream):
            self.train_dataset.fill_counts(self.state.num_input_tokens_seen)
        if not self._is_sharded:  # else the weights lie on several devices
            self.model = merge(self.model, unload=self.merge_adapter)
        used = {"train_steps": self.state.global_step, "train_learning_rate": self.args.learning_rate}
        self.train_metrics = output.metrics | used
        return output._replace(training_loss=output.metrics["train_loss"])

    def set_initial_training_values(self, args: Any, dataloader: DataLoader) -> Any:
        """Each attempt of ``--auto_find_batch_size`` starts from the first weights; a finished run has no epoch left."""
        if args.auto_find_batch_size:
            if self._first_weights is None:
                trained = ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)
                self._first_weights = {name: p.detach().to("cpu", copy=True) for name, p in trained}
            else:
                # The plain Trainer continues with what a failed attempt left of weights and optimizer.
                self.model.load_state_dict(self._first_weights, strict=False)
                self.model.zero_grad()
                set_seed(args.seed)  # as the first attempt began
                self.optimizer = self.lr_scheduler = None
        epochs, *others, max_steps = super().set_initial_training_values(args, dataloader)
        finished = self._checkpoints.is_finished(max_steps, args.early_stopping_patience)
        return (0 if finished else epochs, *others, max_steps)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Not where the evaluation that a resumed checkpoint had missed has just ended training."""
        if not self.control.should_training_stop:
            super()._run_epoch(*args, **kwargs)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None and self.args.optim == MUON:
            self.optimizer = muon(self.model, self.args, self.get_decay_parameter_names(self.model))
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        given, self.args.lr_scheduler_kwargs = self.args.lr_scheduler_kwargs, self.args.schedule(num_training_steps)
        try:
            return super().create_scheduler(num_training_steps, optimizer)
        finally:
            self.args.lr_scheduler_kwargs = given

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._throughput.count(inputs)
        self._divergence.note(model, loss, inputs)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds tokens per second to a step's line; loss and seconds of the last one are those of the parts before a resume,
        too, and no clock that is set back moves them.
        """
        if "loss" in logs:
            logs["tokens_per_second"] = self._throughput.per_second()
        if "train_runtime" in logs:
            seconds = round(self._checkpoints.seconds(), 4)
            logs |= {"train_loss": mean_loss(self.state.log_history), "train_runtime": seconds}
        super().log(logs, start_time)

    # Batches

    def get_train_dataloader(self) -> DataLoader:
        """Batches by tokens; those of a stream; batches of rows where ``tokens_per_batch`` is 0."""
        args, rows = self.args, self.train_dataset
        if isinstance(rows, TextStream):
            return load_batches(rows, self.data_collator, args, batch_size=self._train_batch_size)
        if args.train_sampling_strategy == "batch_rebalance":  # knows the processes itself
            return super().get_train_dataloader()
        if args.tokens_per_batch == 0:
            share, drop_last = process_share(args), args.dataloader_drop_last
            batches = SharedBatchSampler(self._get_train_sampler(), self._train_batch_size, drop_last=drop_last, **share)
            return load_batches(rows, self.data_collator, args, batch_sampler=batches)
        padding_free = is_padding_free(unwrap_peft_model(self.model), args.padding_free)
        batches = token_batches(rows, self._train_batch_size, args, padding_free)
        collator = PaddingFreeCollator(self.processing_class) if padding_free else self.data_collator
        return load_batches(rows, collator, args, batch_sampler=batches)

    # Sharded models and memory

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        self.is_fsdp_enabled = set_up_fsdp(self.accelerator, self.args.fsdp_plugin_args)

    def whole_model(self) -> AbstractContextManager[None]:
        """Where ``self.model`` answers each process by itself, sharded or not. All processes enter together."""
        return whole_model(self.model, self.accelerator)

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        """Out of memory becomes a UserError with advice, and the checkpoint that is kept."""
        args, run = self.args, self.run_config

        def advice() -> list[str]:
            if doing != "training":
                return evaluation_advice(args, run.max_length)
            processes, lora = args.world_size if self.is_fsdp_enabled else 1, not get_task(run.parts[0].task).from_scratch
            return training_advice(args, self.model, run.max_length, processes=processes, lora=lora)

        def kept() -> str:
            last = find_checkpoints(Path(args.output_dir))[-1:]
            return f"; {last[0]} is kept: add --resume_from_checkpoint last" if last else ""

        return explained(doing, advice, kept)

    # Saving and loading

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Called first where a checkpoint is written. Under FSDP with sharded checkpoints the last model is saved, too."""
        if output_dir and Path(output_dir).name == f"checkpoint-{self.state.global_step}":
            self._checkpoints.begin(Path(output_dir), self.args)
        if self.is_fsdp_enabled and not _internal_call:
            self._save(output_dir, self.accelerator.get_state_dict(self.model))
        else:
            super().save_model(output_dir, _internal_call)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        if state_dict and isinstance(self.model, PreTrainedModel):
            # Gathered one by one, tied weights are separate copies and would be saved twice.
            state_dict = {name: w for name, w in state_dict.items() if name not in self.model.all_tied_weights_keys}
        if is_adapter(self.model):
            if self.args.should_save:
                save_adapter(self.model, folder, state_dict)
                self.processing_class.save_pretrained(folder)
        else:
            use_cache, self.model.config.use_cache = self.model.config.use_cache, True
            try:
                super()._save(str(folder), state_dict)
            finally:
                self.model.config.use_cache = use_cache
        if self.args.should_save:
            remove_files(folder, WHOLE_FILES if is_adapter(self.model) else ADAPTER_FILES)
            make_portable(folder)
            self.run_config.save(folder)
            # A pickle of the arguments: no part of this project reads it, and a token can hide in it.
            (folder / "training_args.bin").unlink(missing_ok=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        check_checkpoint(resume_from_checkpoint, self.is_fsdp_enabled)
        if self._is_sharded:  # FSDP and DeepSpeed have loaders of their own
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            restore(self.model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self.accelerator.wait_for_everyone()  # the first process may still be writing it
        if problem := damage(Path(self.state.best_model_checkpoint)):
            raise UserError(f"{self.state.best_model_checkpoint}: the best checkpoint cannot be loaded: {problem}")
        if self._is_sharded:
            super()._load_best_model()
        else:
            restore(self.model, self.state.best_model_checkpoint)


def mean_loss(log_history: list[dict[str, Any]]) -> float:
    """The mean over all steps of a run, from its lines; each holds the mean of the steps since the line before."""
    total, previous = 0.0, 0
    for entry in log_history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - previous)
            previous = entry["step"]
    return total / max(previous, 1)
