"""Flags of the model: which one, how it is loaded, whether all of it or an adapter is trained, or a new one's size."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import above_zero, at_least, share
from tasks.errors import UserError

#: PEFT's name for every linear layer except the head.
ALL_LINEAR = "all-linear"


@dataclass
class ModelArguments:
    """Which model, and how it is loaded."""

    model: str = HfArg(
        default="skt/kogpt2-base-v2",
        aliases=["--model_name_or_path"],
        help="Hub id or folder of a causal language model.",
    )
    model_revision: str | None = HfArg(default=None, help="Branch, tag or commit of the model on the Hub.")
    # Half-precision weights cannot be trained as they are: small updates are rounded away. --bf16 and --fp16 compute in half
    # precision and keep the weights in float32.
    dtype: Literal["float32", "bfloat16", "float16"] = HfArg(
        default="float32", help="Type of the weights; for mixed precision use --bf16."
    )
    attn_implementation: str | None = HfArg(
        default=None, help="eager, sdpa or flash_attention_2; transformers' choice by default."
    )
    dropout: float | None = HfArg(default=None, help="Dropout while training; what the model's config says by default.")
    trust_remote_code: bool = HfArg(default=False, help="Run the Python code that the model's repository ships.")
    load_in_4bit: bool = HfArg(default=False, help="Linear layers in 4 bits (NF4); to train, with --lora_r (QLoRA).")

    def __post_init__(self) -> None:
        """Raises UserError on an impossible dropout, or if bitsandbytes is missing, too old or of no use on this machine."""
        share(self, "dropout")
        flash = (self.attn_implementation or "").startswith("flash_attention")
        if flash and not any(map(find_spec, ("flash_attn", "flash_attn_interface", "kernels"))):
            raise UserError(
                f"--attn_implementation {self.attn_implementation}: pip install flash-attn first, or leave it out"
            )
        if not self.load_in_4bit:
            return
        import torch
        from transformers.utils.import_utils import BITSANDBYTES_MIN_VERSION, is_bitsandbytes_available

        if not is_bitsandbytes_available():
            raise UserError(
                f"--load_in_4bit needs bitsandbytes {BITSANDBYTES_MIN_VERSION} or newer; install it with: "
                "pip install -e '.[quantization]', or leave the flag out"
            )
        if torch.backends.mps.is_available():
            raise UserError("--load_in_4bit: bitsandbytes cannot compute on this machine's GPU (mps); leave the flag out")

    @property
    def base_model(self) -> str:
        """The base model as reports and cards name it."""
        return self.model

    @property
    def short_name(self) -> str:
        """The model in the name of an output folder."""
        return Path(self.model).name


@dataclass
class FineTuningArguments(ModelArguments):
    """The model to fine-tune, either all of its weights or a LoRA adapter (Hu et al. 2021)."""

    lora_r: int | None = HfArg(
        default=None, help="Train a LoRA adapter of rank N (8 or 16) instead of all weights; with --learning_rate 2e-4."
    )
    # Updates are scaled by alpha / r: with a fixed ratio the learning rate stays right for any r. TRL and alpaca-lora use 2.
    lora_alpha: int | None = HfArg(default=None, help="Scale of the adapter, divided by r; 2 * r.")
    lora_dropout: float = HfArg(default=0.05, help="Dropout in front of the adapter's layers.")
    # QLoRA (Dettmers et al. 2023, section 4): only adapters on all linear layers match full fine-tuning.
    lora_target_modules: str = HfArg(default=ALL_LINEAR, help="Layers that get an adapter: c_attn, or q_proj,v_proj.")
    merge_adapter: bool = HfArg(default=False, help="Leave a whole model with the adapter added into its weights.")

    def __post_init__(self) -> None:
        """Set the default alpha. Raises UserError on flags that conflict, or if PEFT is not installed."""
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
        at_least(self, 1, "lora_r", "lora_alpha")
        share(self, "lora_dropout")
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


#: The sizes of a new model; their layers and width stand in tasks/model/new_model.py.
ModelSize = Literal["mini", "compact", "small", "medium", "large", "xl"]


@dataclass
class ScratchArguments:
    """The sizes of a new tokenizer and a new model."""

    vocab_size: int = HfArg(default=52_000, help="Tokens of the tokenizer; a small corpus gives fewer.")
    model_size: ModelSize = HfArg(
        default="small",
        help="A mini for two cores, compact (25 M + embedding), or GPT-2's 124 M, 355 M, 774 M, 1.5 B.",
    )
    architecture: Literal["gpt2", "qwen3"] = HfArg(
        default="gpt2", help="The layers: GPT-2's of 2019, or Qwen3's (RoPE, RMSNorm, SwiGLU) with as many weights."
    )
    budget_hours: float | None = HfArg(
        default=None, help="Train for about H hours: proposes size, batch, learning rate and steps, and says why."
    )
    tokens: int | None = HfArg(default=None, help="The same for training on N tokens.")
    n_positions: int = HfArg(default=1024, help="Longest sequence that the model can read, in tokens.")
    # GPT-2's own. Many epochs over a corpus need dropout; a small model that has to learn to copy is better without.
    dropout: float = HfArg(default=0.1, help="Dropout of the new model; its fine-tunes inherit it.")

    def __post_init__(self) -> None:
        at_least(self, 16, "n_positions")
        share(self, "dropout")
        above_zero(self, "budget_hours", "tokens")
        if self.budget_hours and self.tokens:
            raise UserError("--budget_hours and --tokens both say how long to train; give one of them")

    @property
    def budget(self) -> str | None:
        """The flag that says how long to train, with its value; None where epochs or steps do."""
        given = ((name, getattr(self, name)) for name in ("budget_hours", "tokens"))
        return next((f"--{name} {value:.12g}" for name, value in given if value), None)

    @property
    def base_model(self) -> str:
        """The base model as reports and cards name it."""
        name = {"gpt2": "GPT-2", "qwen3": "Qwen3"}[self.architecture]
        return f"{name} {self.model_size} from scratch"

    @property
    def short_name(self) -> str:
        """The model in the name of an output folder, or the budget, by which a run finds its folder again."""
        name = self.budget[2:].replace(" ", "-") if self.budget else self.model_size
        return name if self.architecture == "gpt2" else f"{self.architecture}-{name}"
