"""What the Trainer of all tasks measures: losses by tokens, and the figures of the tasks while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from tasks.distributed import gather_lists
from tasks.errors import Interrupted
from tasks.inference.measuring import Evaluator
from tasks.preparing.encoding import IGNORE
from tasks.training import callbacks
from tasks.training.batches import SharedBatchSampler, load_batches, process_share
from tasks.training.checkpoints import Checkpoints
from tasks.training.trackers import Trackers


class Evaluation(Trainer):
    """The evaluations of CompletionTrainer, which sets what is declared here.

    ``eval_loss`` is the mean over labelled tokens, whatever the batch size. The plain Trainer averages means of batches.
    """

    evaluator: Evaluator | None
    trackers: Trackers
    _signals: callbacks.StopOnSignal
    _checkpoints: Checkpoints
    whole_model: Callable[[], AbstractContextManager[None]]
    _explained: Callable[[str], AbstractContextManager[None]]

    def get_eval_dataloader(self, eval_dataset: Dataset | str | None = None) -> DataLoader:
        """Batches of rows in their order, shared by the processes; of several tasks those of the one that is named."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        rows = self.eval_dataset[rows] if isinstance(rows, str) else rows
        batches = SharedBatchSampler(SequentialSampler(rows), self.args.eval_batch_size, **process_share(self.args))
        return load_batches(rows, self.data_collator, self.args, batch_sampler=batches)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """One that a SIGTERM ends leaves a checkpoint, whose resume begins with it: the best checkpoint stays the same.

        Not where a schedule follows what was measured, nor with several processes, which would stop at different places.
        Of several tasks each has a loss (``eval_nli_loss``), and after them comes what one task has, over all.
        """
        if isinstance(eval_dataset, str):  # one of them
            return super().evaluate(eval_dataset, *args, **kwargs)
        checkpoints = self._checkpoints
        try:
            with self._explained("measuring the loss"):
                self._losses: list[tuple[float, int]] = []
                metrics = super().evaluate(eval_dataset, *args, **kwargs)
                if isinstance(self.eval_dataset, dict):
                    metrics |= self._evaluate_together()
        except Interrupted:
            follows = self.args.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy")
            stepped = self.state.global_step > checkpoints.first_step
            if stepped and not follows and self.accelerator.num_processes == 1:
                checkpoints.evaluated = False
                self._save_checkpoint(self.model_wrapped, None)
                self.callback_handler.on_save(self.args, self.state, self.control)  # ends training
            raise
        finally:
            self._signals.evaluating = False
        if not checkpoints.evaluated:
            checkpoints.evaluated = True
            self._determine_best_metric(metrics, None)
            checkpoints.on_train_begin(self.args, self.state, self.control)
        return metrics

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """With a loss in nats per labelled token, and while training the task's metrics if they choose the checkpoint or
        are tracked.
        """
        self._eval_losses: list[tuple[float, int]] = []
        self._signals.evaluating = True
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        losses = gather_lists(self._eval_losses)
        output.metrics[f"{metric_key_prefix}_loss"] = nats_per_token(losses)
        if isinstance(self.eval_dataset, dict):
            self._losses += losses
        else:
            output.metrics.update(self._scores())
        self._signals.evaluating = False
        return output

    def _evaluate_together(self) -> dict[str, float]:
        """Log what follows from the evaluations of all tasks."""
        self._signals.evaluating = True
        metrics = {"eval_loss": nats_per_token(self._losses), **self._scores()}
        self._signals.evaluating = False
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _scores(self) -> dict[str, float]:
        """While training, the figures of the evaluator, if one of them chooses the checkpoint or a tracker shows them."""
        wanted = (self.args.metric_for_best_model or "loss").removeprefix("eval_")
        if (wanted == "loss" and not self.trackers) or not self.is_in_train:
            return {}
        # The processes share the rows and decide by the same figures: those of the first.
        with self.whole_model():
            (scores,) = broadcast_object_list([self.evaluator.score()])
        if self.trackers:
            scores |= self.evaluator.baseline
            self.trackers.send_table("eval/predictions", [each.as_row() for each in self.evaluator.predictions])
        return {f"eval_{name}": value for name, value in scores.items() if isinstance(value, float)}

    @torch.no_grad()
    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[Any, None, None]:
        """The mean loss over the labels of this process's batch, added up by tokens on the way; logits are never kept."""
        tokens = (inputs["labels"][:, 1:] != IGNORE).sum().item()
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs).mean()
        if tokens:
            self._eval_losses.append((loss.item() * tokens, tokens))
        return loss, None, None


def nats_per_token(losses: Sequence[tuple[float, int]]) -> float:
    """Of batches (nats, tokens) the mean over tokens; NaN without one."""
    tokens = sum(count for _, count in losses)
    return math.fsum(nll for nll, _ in losses) / tokens if tokens else math.nan
