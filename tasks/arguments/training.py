"""Flags of training: transformers' TrainingArguments with other defaults, and flags of this project."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from transformers import TrainingArguments as HfTrainingArguments

from tasks.arguments.checks import above_zero, at_least, share
from tasks.arguments.sharding import check_engine, is_sharded, load_whole_models
from tasks.arguments.training_flags import MixtureFlags, ScratchFlags, TrainingFlags
from tasks.distributed import processes, world_size
from tasks.errors import UserError

#: The optimizer of tasks/training/muon.py, which transformers does not know.
MUON = "muon"


@dataclass
class TrainingArguments(TrainingFlags, HfTrainingArguments):
    """transformers' TrainingArguments with defaults for fine-tuning KoGPT2; all of its flags work."""

    def __post_init__(self) -> None:
        """Set what follows from other flags or the machine. Raises UserError on flags that conflict."""
        if self.optim == MUON:
            raise UserError("--optim muon is for new models, in run_scratch.py; leave it out, and AdamW trains")
        if "no" in (str(self.eval_strategy), str(self.save_strategy)):
            self.load_best_model_at_end = False
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise UserError(
                "--early_stopping_patience needs evaluations and checkpoints; leave --eval_strategy, --save_strategy and "
                "--load_best_model_at_end as they are"
            )
        at_least(
            self, 1, "generation_batch_size", "per_device_train_batch_size", "per_device_eval_batch_size", "ddp_timeout",
            "gradient_accumulation_steps", "eval_accumulation_steps", "dataloader_prefetch_factor",
            "early_stopping_patience",
        )  # fmt: skip
        at_least(self, 0, "tokens_per_batch", or_else=" (0: batches of rows)")
        at_least(
            self, 0, "learning_rate", "warmup_steps", "weight_decay", "adam_epsilon", "max_grad_norm", "neftune_noise_alpha",
            "logging_steps", "eval_steps", "save_steps", "eval_delay", "save_total_limit", "dataloader_num_workers", "seed",
            "data_seed",
        )  # fmt: skip
        above_zero(self, "num_train_epochs")
        above_zero(self, "decay_share")
        share(self, "decay_share", "adam_beta1", "adam_beta2", "label_smoothing_factor")
        if self.max_steps < 1 and self.max_steps != -1:
            raise UserError(f"--max_steps is {self.max_steps}; it must be 1 or more, or left out for --num_train_epochs")
        if max(self.seed, self.data_seed or 0) >= 2**32:
            raise UserError("--seed, --data_seed: numpy takes numbers below 4294967296")
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
        trackers = [self.report_to] if isinstance(self.report_to, str) else self.report_to or ()
        self.report_to = [name for each in trackers for name in each.split(",") if name]
        self.publish, self.push_to_hub = self.push_to_hub, False
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.cuda.is_available()
        # Explicit, because processes of torchrun without a GPU would otherwise each train a model of their own.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        check_engine(self)
        if self.use_cpu and world_size() > 1:
            processes(self.ddp_timeout)  # transformers ignores the time-out on CPU
        super().__post_init__()
        load_whole_models(self)
        self._check_extras()

    def schedule(self, steps: int) -> dict[str, Any]:
        """``--lr_scheduler_kwargs`` of a run of ``steps``, with those of ``--decay_share`` where none are given."""
        decays = self.lr_scheduler_type == "warmup_stable_decay"
        decay = {"num_decay_steps": math.ceil(steps * self.decay_share)} if decays else {}
        return decay | (self.lr_scheduler_kwargs or {})

    def _check_extras(self) -> None:
        """Raises UserError on a tracker, optimizer or schedule that is not installed, or refuses its settings."""
        from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

        for name in self.report_to:
            if name not in INTEGRATION_TO_CALLBACK:
                raise UserError(f"--report_to {name}: no such tracker; known are {', '.join(INTEGRATION_TO_CALLBACK)}")
            if name not in (*get_available_reporting_integrations(), "flyte"):
                raise UserError(f"--report_to {name}: pip install {name.replace('_', '-')} first, or leave the flag out")
        extras = {"use_liger_kernel": "liger_kernel", "enable_jit_checkpoint": "kubeflow"}
        for flag, package in extras.items():
            if getattr(self, flag) and find_spec(package) is None:
                raise UserError(f"--{flag}: pip install {package.replace('_', '-')} first, or leave the flag out")
        plain = self.lr_scheduler_type == "linear" and not self.lr_scheduler_kwargs
        if plain and self.optim in ("adamw_torch", "adamw_torch_fused") and not self.optim_args:
            return
        from transformers import Trainer, get_scheduler

        flag = f"--optim {self.optim.value}"
        try:
            Trainer.get_optimizer_cls_and_kwargs(self)
            flag = f"--lr_scheduler_type {self.lr_scheduler_type.value}"
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=self.learning_rate)
            get_scheduler(self.lr_scheduler_type, optimizer, 1, 2, self.schedule(2))
        except (ImportError, TypeError, ValueError, ArithmeticError) as error:
            if "need to pass a" not in str(error):  # a model, for layer-wise optimizers
                raise UserError(f"{flag}: {error}") from None


@dataclass
class MixtureTrainingArguments(MixtureFlags, TrainingArguments):
    """The same with defaults for several tasks."""


@dataclass
class ScratchTrainingArguments(ScratchFlags, TrainingArguments):
    """The same with defaults for training from scratch."""

    def __post_init__(self) -> None:
        if not self.do_train:
            raise UserError("--no_do_train: there is no model yet that could be measured; leave it out")
        muon = self.optim == MUON
        if muon:
            if is_sharded(self):
                raise UserError(
                    "--optim muon needs whole matrices; FSDP and DeepSpeed cut them to pieces, torchrun does not"
                )
            self.optim = "adamw_torch"  # what transformers is told, which would refuse the name
        super().__post_init__()
        if muon:
            self.optim = MUON
