"""The Trainer as far as it is about fitting into memory: sharded models, smaller batches, advice where it is full."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, Trainer

from tasks import get_task
from tasks.errors import explained
from tasks.run_folder import RunConfig
from tasks.training.advice import evaluation_advice, kept_checkpoint, training_advice
from tasks.training.sharding import set_up_fsdp, whole_model


@dataclass
class Start:
    """Weights that are trained, on the CPU, and the state of every random generator."""

    weights: dict[str, torch.Tensor]
    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: list[torch.Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> Start:
        """The state of ``model`` and of this process now."""
        weights = {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters() if p.requires_grad}
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(weights, random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self, model: nn.Module) -> None:
        """Put all of it back; what an optimizer has gathered is its owner's to throw away."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.weights:
                    parameter.copy_(self.weights[name])
                parameter.grad = None
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


class FittingTrainer(Trainer):
    """``Trainer`` that trains a model under FSDP as it does on one GPU, and ends out of memory with one line of advice.

    - Under FSDP gradients are added up in float32, the model that is left is whole, and each process can predict alone.
    - Each attempt of ``--auto_find_batch_size`` begins with the weights and random numbers that the first one began with.
    """

    run_config: RunConfig
    _start: Start | None = None

    def create_accelerator_and_postprocess(self) -> None:
        """As the parent's, with FSDP as it should be."""
        super().create_accelerator_and_postprocess()
        self.is_fsdp_enabled = set_up_fsdp(self.accelerator, self.args.fsdp_plugin_args)

    def whole_model(self) -> AbstractContextManager[None]:
        """Where ``self.model`` answers each process by itself, sharded or not. All processes enter together."""
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        return whole_model(self.model, reshard_after_forward=plugin is None or plugin.reshard_after_forward)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As the parent's.

        Raises:
            UserError: memory has run out; says what helps, and which checkpoint is kept.
        """
        with explained("training", self._training_advice, self._kept):
            return super().train(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As the parent's. Raises UserError as ``train`` does."""
        with explained("measuring the loss", self._evaluation_advice, self._kept):
            return super().evaluate(*args, **kwargs)

    def _training_advice(self) -> list[str]:
        run, lora = self.run_config, not get_task(self.run_config.task).from_scratch
        processes = self.args.world_size if self.is_fsdp_enabled else 1
        return training_advice(self.args, self.model, run.max_length, processes=processes, lora=lora)

    def _evaluation_advice(self) -> list[str]:
        return evaluation_advice(self.args, self.run_config.max_length)

    def _kept(self) -> str:
        return kept_checkpoint(self.args.output_dir)

    def _update_auto_batch_size(self, batch_size: int) -> None:
        """Called before each attempt. The plain Trainer goes on with what the failed one left of weights and optimizer."""
        super()._update_auto_batch_size(batch_size)
        if self._start is None:
            self._start = Start.of(self.model)
            return
        self._start.restore(self.model)
        self.optimizer = self.lr_scheduler = None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As the parent's, which writes no model where FSDP's checkpoints are sharded, not even the last one."""
        if self.is_fsdp_enabled and not _internal_call:
            self._save(output_dir, self.accelerator.get_state_dict(self.model))
        else:
            super().save_model(output_dir, _internal_call)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if state_dict and isinstance(self.model, PreTrainedModel):
            # Gathered one by one, tied weights are copies, which nobody would take for one matrix any more.
            state_dict = {name: w for name, w in state_dict.items() if name not in self.model.all_tied_weights_keys}
        super()._save(output_dir, state_dict)
