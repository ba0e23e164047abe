"""Which model, how it is loaded, and whether all of it is trained or an adapter."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from transformers.hf_argparser import HfArg

from tasks.errors import UserError

#: PEFT's word for every linear layer but the head.
ALL_LINEAR = "all-linear"


def check_four_bit() -> None:
    """Raises UserError where bitsandbytes is missing or too old, or has nothing for this machine."""
    import torch
    from transformers.utils.import_utils import BITSANDBYTES_MIN_VERSION, is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise UserError(
            f"--load_in_4bit needs bitsandbytes {BITSANDBYTES_MIN_VERSION} or newer; install it with: "
            "pip install -e '.[quantization]', or leave the flag out"
        )
    if torch.backends.mps.is_available():
        raise UserError("--load_in_4bit: bitsandbytes cannot compute on this machine's GPU (mps); leave the flag out")


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

    @property
    def base_model(self) -> str:
        """What a run says that its model was made from."""
        return self.model

    @property
    def short_name(self) -> str:
        """The model's part of a folder's name."""
        return Path(self.model).name


@dataclass
class FineTuningArguments(ModelArguments):
    """Which model, how it is loaded, and whether all of it is trained or an adapter (LoRA, Hu et al. 2021)."""

    lora_r: int | None = field(
        default=None,
        metadata={"help": "Train a LoRA adapter of rank N (8 or 16) instead of all weights; with --learning_rate 2e-4."},
    )
    # What an update counts is alpha / r: a fixed share keeps the learning rate right when r is changed. 2 is what TRL and
    # alpaca-lora have.
    lora_alpha: int | None = field(default=None, metadata={"help": "Scale of the adapter, divided by r; 2 * r."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout in front of the adapter's layers."})
    # QLoRA (Dettmers et al. 2023, section 4): adapters on all linear layers are what it takes to match full fine-tuning.
    lora_target_modules: str = field(
        default=ALL_LINEAR,
        metadata={"help": "Names of the layers that get an adapter, with commas: c_attn or q_proj,v_proj; all-linear."},
    )
    merge_adapter: bool = field(
        default=False, metadata={"help": "Leave a whole model with the adapter added into its weights."}
    )

    def __post_init__(self) -> None:
        """Fill in alpha. Raises UserError on flags that do not go together, and where PEFT is not installed."""
        super().__post_init__()
        if self.lora_r is None:
            if self.load_in_4bit:
                raise UserError("--load_in_4bit: weights of 4 bits cannot be trained; train an adapter on them: --lora_r 8")
            names = ("lora_alpha", "lora_dropout", "lora_target_modules", "merge_adapter")
            defaults = {f.name: f.default for f in dataclasses.fields(self)}
            given = next((name for name in names if getattr(self, name) != defaults[name]), None)
            if given:
                raise UserError(f"--{given} belongs to an adapter; give its rank too: --lora_r 8")
            return
        for name in ("lora_r", "lora_alpha"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} is {value}; it must be 1 or more")
        if not 0 <= self.lora_dropout < 1:
            raise UserError(f"--lora_dropout is {self.lora_dropout}; it must be from 0 to below 1")
        if not all(name.strip() for name in self.lora_target_modules.split(",")):
            raise UserError(f"--lora_target_modules {self.lora_target_modules!r}: an empty name; write q_proj,v_proj")
        if self.merge_adapter and self.load_in_4bit:
            raise UserError(
                "--merge_adapter with --load_in_4bit would round the merged weights to 4 bits; leave one of them out: the "
                "adapter alone is exact"
            )
        if find_spec("peft") is None:
            raise UserError("--lora_r needs PEFT; install it with: pip install -e '.[lora]'")
        if self.lora_alpha is None:
            self.lora_alpha = 2 * self.lora_r
