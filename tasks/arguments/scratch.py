"""The command line of a model from nothing: its size, and the defaults of its training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tasks.arguments.training import TrainingArguments
from tasks.errors import UserError


@dataclass
class ScratchArguments:
    """How large a tokenizer and model to begin with."""

    vocab_size: int = field(default=52_000, metadata={"help": "Tokens of the tokenizer; a small corpus gives fewer."})
    model_size: Literal["mini", "small", "medium", "large", "xl"] = field(
        default="small", metadata={"help": "GPT-2's published sizes (124 M, 355 M, 774 M, 1.5 B), or a mini for two cores."}
    )
    n_positions: int = field(default=1024, metadata={"help": "Longest sequence that the model can read, in tokens."})
    # GPT-2's own. A corpus that is seen many times needs it; a small model that has to learn to copy is better without.
    dropout: float = field(default=0.1, metadata={"help": "Dropout of the new model; its fine-tunes inherit it."})

    def __post_init__(self) -> None:
        """Raises UserError on a model that could read nothing."""
        if self.n_positions < 16:
            raise UserError(f"--n_positions is {self.n_positions}; it must be 16 or more")
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout is {self.dropout}; it must be from 0 to below 1")

    @property
    def base_model(self) -> str:
        """What a run says that its model was made from."""
        return f"GPT-2 {self.model_size} from scratch"

    @property
    def short_name(self) -> str:
        """The model's part of a folder's name."""
        return self.model_size


@dataclass
class ScratchTrainingArguments(TrainingArguments):
    """The same, with the defaults of training from nothing (GPT-3 paper, table 2.1, small; nanoGPT uses the same)."""

    learning_rate: float = field(default=6e-4, metadata={"help": "Peak learning rate; go down to 2e-4 for large, xl."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Shape of the learning rate after warm-up."})
    weight_decay: float = field(default=0.1, metadata={"help": "Weight decay of AdamW."})
    adam_beta2: float = field(default=0.95, metadata={"help": "Shorter memory than 0.999: early gradients change fast."})

    def __post_init__(self) -> None:
        """Raises UserError where nothing would be trained: there is no model that could be measured."""
        if not self.do_train:
            raise UserError("--no_do_train: there is no model yet that could be measured; leave it out")
        super().__post_init__()
