"""The variants that are compared, by name. No heavy imports, so that --help and wrong names answer at once."""

from __future__ import annotations

import difflib
import importlib.util
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import UserError


@dataclass(frozen=True)
class Variant:
    """A function of the command's module (``method``), the settings it gets, and ``about``, a line for the reader."""

    method: str
    about: str
    settings: dict[str, Any] = field(default_factory=dict)


#: The notebook variant pads and truncates every row to this many tokens.
NOTEBOOK_LENGTH = 256

TRAIN = {
    "ours": Variant(
        "ours", "batches by tokens, head on labelled positions, fused GELU, eager attention on CPU, the model's own dropout"
    ),
    "ours_dropout0": Variant("ours", "ours without dropout", {"dropout": 0.0}),
    "ours_default": Variant(
        "ours", "ours as the scripts do it: as many tokens a batch as 16 rows have on average", {"tokens_per_batch": None}
    ),
    "ours_rows": Variant("ours", "ours with 16 rows a batch", {"tokens_per_batch": 0}),
    "ours_padding_free": Variant("ours", "ours with the rows of a batch one behind the other", {"padding_free": True}),
    "ours_no_head": Variant("ours", "ours with the head on every position", {"labelled_head": False}),
    "ours_no_gelu": Variant("ours", "ours with the model's own GELU", {"fused_gelu": False}),
    "ours_sdpa": Variant("ours", "ours with sdpa attention", {"eager_on_cpu": False}),
    "trl": Variant("trl", "TRL's SFTTrainer on prompt and completion columns, its defaults"),
    "trl_no_checkpointing": Variant("trl", "the same, gradient checkpointing off", {"gradient_checkpointing": False}),
    "notebook": Variant(
        "notebook", f"torch loop: rows padded to and truncated at {NOTEBOOK_LENGTH} tokens, eos as pad, loss on everything"
    ),
    "group_by_length": Variant(
        "group_by_length", 'transformers\' Trainer, train_sampling_strategy="group_by_length", padding'
    ),
    "floor": Variant(
        "floor",
        "no run: the matrix products that a variant's batches need, the head's at labels alone, timed on this machine",
    ),
}

INFER = {
    "nli": {
        "ours": Variant("ours", "one forward pass, the label words' probabilities"),
        "batched_generate": Variant("generate", "generate, sorted by length, 64 rows a batch", {"batch_size": 64}),
        "notebook": Variant("generate", "generate row by row", {"batch_size": 1}),
    },
    "summarize": {
        "ours": Variant("ours", "greedy decoding of this project"),
        "generate_batch_1": Variant("generate", "generate row by row", {"batch_size": 1}),
        "generate_batch_16": Variant("generate", "generate, sorted by length, 16 rows a batch", {"batch_size": 16}),
        "notebook": Variant(
            "generate", "generate row by row, each prompt padded to the longest allowed", {"batch_size": 1, "padded": True}
        ),
    },
}

PREPARE = {
    "ours": Variant("ours", "encode: prompts truncated to fit, labels, counts, a Dataset"),
    "bare": Variant("bare", "transformers' tokenizer alone over the same texts, 1,000 rows a call"),
}

#: What is compared where --variants is not given: our best, the same without dropout, and what others use.
DEFAULT_TRAIN = ("ours", "ours_dropout0", "trl", "trl_no_checkpointing", "notebook", "group_by_length", "floor")
DEFAULT_QUALITY = ("ours", "trl", "notebook", "group_by_length")


def choose(command: str, task: str, names: str | None, quality: bool = False) -> dict[str, Variant]:
    """{name as given: variant} of a comma-separated list. ``name@5e-4`` is a variant of train with a learning rate.

    Raises:
        UserError: a name is unknown or given twice, or its package is not installed.
    """
    known = {"train": TRAIN, "infer": INFER.get(task), "prepare": PREPARE}[command]
    if known is None:
        raise UserError(f"--task {task}: infer measures {', '.join(INFER)}")
    default = (DEFAULT_QUALITY if quality else DEFAULT_TRAIN) if command == "train" else known
    if quality:
        known = {name: variant for name, variant in known.items() if name != "floor"}
    chosen: dict[str, Variant] = {}
    for label in [name.strip() for name in names.split(",") if name.strip()] if names is not None else default:
        name, at, rate = label.partition("@")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UserError(
                f"--variants {name}: known are {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else "")
            )
        if label in chosen:
            raise UserError(f"--variants {label}: named twice")
        if at and (command != "train" or name == "floor"):
            raise UserError(f"--variants {label}: only what is trained has a learning rate")
        variant = known[name]
        if at:
            try:
                settings = variant.settings | {"learning_rate": float(rate)}
            except ValueError:
                raise UserError(f"--variants {label}: {rate!r} is not a learning rate; write it as {name}@5e-4") from None
            variant = Variant(variant.method, f"{variant.about}, learning rate {rate}", settings)
        chosen[label] = variant
    if not chosen:
        raise UserError("--variants names nothing; leave it out, or name some of " + ", ".join(known))
    if any(variant.method == "trl" for variant in chosen.values()) and importlib.util.find_spec("trl") is None:
        raise UserError(
            "trl is not installed, which the variants trl and trl_no_checkpointing measure: pip install -c "
            "constraints.txt -e '.[benchmark]', or name the others with --variants"
        )
    return chosen
