"""The Trainer, right where the plain one is not: evaluation loss, best checkpoint by the task's metric, what is saved."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, SequentialSampler
from transformers import EarlyStoppingCallback
from transformers.trainer_utils import EvalLoopOutput, unwrap_peft_model
from transformers.utils.generic import is_flash_attention_requested

from tasks.distributed import gather_lists
from tasks.errors import UserError
from tasks.inference.measuring import Evaluator
from tasks.model.adapters import is_adapter, merge, remove_files, restore_adapter, save_adapter
from tasks.model.model_files import ADAPTER_FILES, WHOLE_FILES, make_portable
from tasks.model.speedups import fuse_gelu, has_attention_dropout, head_on_labels_only, keep_freed_memory
from tasks.preparing.encoding import IGNORE
from tasks.preparing.streaming import CountStreamed, TextStream
from tasks.run_folder import RunConfig
from tasks.training.batches import SharedBatchSampler, TokenBudgetSampler
from tasks.training.checkpoints import damage
from tasks.training.collator import PaddingFreeCollator
from tasks.training.divergence import FiniteTrainer
from tasks.training.fitting import FittingTrainer
from tasks.training.resumable import ResumableTrainer
from tasks.training.sharding import check_checkpoint


class CompletionTrainer(FittingTrainer, ResumableTrainer, FiniteTrainer):
    """``Trainer`` for sequences whose labels are built in encoding.

    - ``eval_loss`` is the mean over labelled tokens. The plain Trainer averages the means of batches, so its figure moves
      with the batch size and a row with one label token weighs as much as one with a hundred.
    - Several processes learn and report what one process with their batches together would: no row counts twice.
    - ``evaluator`` gives the task's own metrics where ``metric_for_best_model`` asks for one.
    - A resumed and a best model have all of their weights back; whole checkpoints and exact resume: ``ResumableTrainer``.
    - A loss that is no number ends training: ``FiniteTrainer``.
    - What is saved loads elsewhere: ``use_cache`` on (the plain Trainer saves it as False, which makes generation crawl), a
      tokenizer class that other programs know, task.json beside the weights, and no pickled arguments.
    - An adapter (``add_adapter``) is saved without its base, and added into it when training ends.
    """

    def __init__(
        self,
        *args: Any,
        run_config: RunConfig,
        evaluator: Evaluator,
        merge_adapter: bool = False,
        **kwargs: Any,
    ) -> None:
        """``run_config`` is written beside each checkpoint; ``evaluator`` is asked at evaluations that need it.

        With ``merge_adapter`` a plain model is left in place of an adapter.
        """
        model, engine = kwargs["model"], kwargs["args"]
        if engine.use_cpu and engine.keep_freed_memory:
            keep_freed_memory()
        if engine.fused_gelu:
            fuse_gelu(model)
        if engine.labelled_head:
            head_on_labels_only(unwrap_peft_model(model))
        super().__init__(*args, **kwargs)
        self.run_config = run_config
        self.evaluator = evaluator
        self.train_metrics: dict[str, float] = {}
        self.merge_adapter = merge_adapter
        if merge_adapter and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise UserError(
                "--merge_adapter: under FSDP and DeepSpeed the weights lie on several devices; leave it out, and the folder "
                "holds the adapter"
            )
        self._loss_only = False
        if isinstance(self.train_dataset, TextStream):
            self.add_callback(CountStreamed(self.train_dataset))
        if self.args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(self.args.early_stopping_patience))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As the parent's; on CPU with eager attention where the model has dropout, as it was again afterwards.

        An adapter is then added into its base, as it is where it is loaded again: what is measured is what others get.
        """
        eager = self.args.use_cpu and self.args.eager_on_cpu and has_attention_dropout(self.model)
        before = self.model.config._attn_implementation
        if eager:
            self.model.set_attn_implementation("eager")
        try:
            output = super().train(*args, **kwargs)
        finally:
            if eager:
                self.model.set_attn_implementation(before)
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):  # their weights lie on several devices
            self.model = merge(self.model, unload=self.merge_adapter)
        self.train_metrics = output.metrics
        return output

    def get_train_dataloader(self) -> DataLoader:
        """Batches by tokens; those of a stream; where ``tokens_per_batch`` is 0 of rows, the parent's in one process."""
        args = self.args
        if isinstance(self.train_dataset, TextStream):
            return self.train_dataset.loader(args, self._train_batch_size, self.data_collator)
        seed = args.seed if args.data_seed is None else args.data_seed
        ranks = {"seed": seed, "rank": args.process_index, "world_size": args.world_size}
        if args.tokens_per_batch != 0:
            lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
            given = args.tokens_per_batch
            tokens_a_row = given / args.train_batch_size if given else sum(lengths) / len(lengths)
            padding_free = self._padding_free()
            batches: Sampler[list[int]] = TokenBudgetSampler(
                lengths,
                # The batch size of the moment: --auto_find_batch_size lowers it.
                math.ceil(self._train_batch_size * tokens_a_row),
                epochs=math.ceil(args.num_train_epochs),
                accumulation=args.gradient_accumulation_steps,
                padding_free=padding_free,
                **ranks,
            )
            collator = PaddingFreeCollator(self.processing_class) if padding_free else self.data_collator
            return self._dataloader(self.train_dataset, batches, collator, "training")
        if self._is_shared(self.train_dataset) and args.train_sampling_strategy != "batch_rebalance":  # shares by itself
            size, drop_last = self._train_batch_size, args.dataloader_drop_last
            batches = SharedBatchSampler(self._get_train_sampler(), size, drop_last=drop_last, **ranks)
            return self._dataloader(self.train_dataset, batches, self.data_collator, "training")
        return super().get_train_dataloader()

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader:
        """Shared out among several processes, else the parent's."""
        args, dataset = self.args, self.eval_dataset if eval_dataset is None else eval_dataset
        if not self._is_shared(dataset):
            return super().get_eval_dataloader(eval_dataset)
        rows = self._get_eval_sampler(dataset) or SequentialSampler(dataset)
        batches = SharedBatchSampler(rows, args.eval_batch_size, rank=args.process_index, world_size=args.world_size)
        return self._dataloader(dataset, batches, self.data_collator, "evaluation")

    def _is_shared(self, dataset: Dataset) -> bool:
        """Whether several processes share a data set whose rows can be named."""
        return self.args.world_size > 1 and not isinstance(dataset, IterableDataset)

    def _dataloader(
        self, dataset: Dataset, batches: Sampler[list[int]], collator: Callable[..., Any], description: str
    ) -> DataLoader:
        """A loader of ``batches`` that are this process's own.

        Not through accelerate's ``prepare``: its sharding repeats rows to even out batches, and after a resume in a later
        epoch its wrapper hides the sampler from ``set_epoch``.
        """
        args = self.args
        return DataLoaderShard(
            self._remove_unused_columns(dataset, description=description),
            device=args.device,
            batch_sampler=batches,
            collate_fn=collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )

    def _padding_free(self) -> bool:
        """Whether batches are without padding: where asked for, else where FlashAttention reads such rows at no cost.

        Other attention makes a mask of tokens x tokens of them.
        """
        model = unwrap_peft_model(self.model)
        takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        if self.args.padding_free is None:
            return takes_positions and is_flash_attention_requested(model.config)
        if self.args.padding_free and not takes_positions:
            raise UserError(f"--padding_free: {type(model).__name__} takes no positions to tell the rows apart by")
        return self.args.padding_free

    def _finalize_training(self, *args: Any) -> Any:
        # What was lost since the last line of the log is this process's own loss. The plain Trainer adds it to the total of
        # all, so that train_loss of a run shorter than logging_steps is that of the first process's rows.
        self._tr_loss = self.accelerator.reduce(self._tr_loss, reduction="mean")
        return super()._finalize_training(*args)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """As the parent's, with a token-weighted loss, and the task's metrics where they choose the best checkpoint."""
        self._eval_losses: list[tuple[float, int]] = []
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        losses = gather_lists(self._eval_losses)
        tokens = sum(count for _, count in losses)
        output.metrics[f"{metric_key_prefix}_loss"] = math.fsum(nll for nll, _ in losses) / tokens if tokens else math.nan
        wanted = (self.args.metric_for_best_model or "loss").removeprefix("eval_")
        if wanted != "loss" and not self._loss_only:
            # The processes share the rows and decide by the same figures: those of the first.
            with self.whole_model():
                (scores,) = broadcast_object_list([self.evaluator.score()])
            output.metrics.update(
                {f"{metric_key_prefix}_{name}": value for name, value in scores.items() if isinstance(value, float)}
            )
        return output

    def evaluate_loss(self) -> float:
        """Nats per labelled token over the validation rows, without the task's metrics."""
        self._loss_only = True
        try:
            return self.evaluate()["eval_loss"]
        finally:
            self._loss_only = False

    @torch.no_grad()
    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[Any, None, None]:
        """The loss of a batch, added up by tokens on the way; logits are never kept.

        The parent would divide by the labels of all processes' batches together; this is the mean over this one's.
        """
        inputs = self._prepare_inputs(inputs)
        tokens = (inputs["labels"][:, 1:] != IGNORE).sum().item()
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs).mean()
        if tokens:
            self._eval_losses.append((loss.item() * tokens, tokens))
        return loss, None, None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        check_checkpoint(resume_from_checkpoint, self.is_fsdp_enabled)
        if not self._restore(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        self.accelerator.wait_for_everyone()  # the first process may still be writing it
        if problem := damage(Path(self.state.best_model_checkpoint)):
            raise UserError(f"{self.state.best_model_checkpoint}: the best checkpoint cannot be loaded: {problem}")
        if not self._restore(self.state.best_model_checkpoint):
            super()._load_best_model()

    def _restore(self, checkpoint: str) -> bool:
        """Load a checkpoint's weights by ``from_pretrained``, which knows under which names a model saves them.

        The plain Trainer feeds the file to ``load_state_dict(strict=False)``: GPT-NeoX saves its head as ``embed_out``, so a
        resumed or best model quietly keeps the head of the last step. Sharded engines have loaders of their own: False
        leaves it to them.
        """
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return False
        try:
            if is_adapter(self.model):
                restore_adapter(self.model, checkpoint)
                return True
            saved = type(self.model).from_pretrained(checkpoint, dtype=self.model.dtype, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise UserError(f"{checkpoint}: the checkpoint cannot be read ({error}); resume from an earlier one") from None
        self.model.load_state_dict(saved.state_dict())
        return True

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
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
