"""Checks of what FSDP, DeepSpeed and half precision do not support, from the flags and the environment."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError

if TYPE_CHECKING:
    from transformers import TrainingArguments

FSDP_COMMAND = "accelerate launch --config_file configs/accelerate/fsdp.yaml"


def check_engine(args: TrainingArguments) -> None:
    """Refuse what accelerate, FSDP or DeepSpeed would ignore, or fail at only after the data is prepared.

    Options come from the flags, or from ``accelerate launch`` in environment variables. Raises UserError.
    """
    if args.fp16 and args.use_cpu:  # accelerate would silently train in float32
        raise UserError("--fp16 needs a GPU; on a CPU take --bf16, or neither of them for float32")
    if args.auto_find_batch_size and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # A process that runs out of memory would restart alone while the others wait for it in the middle of a step.
        raise UserError("--auto_find_batch_size looks for what fits one process; find the size with one, then start several")
    deepspeed = args.deepspeed or launched_with("DEEPSPEED")
    fsdp = args.fsdp or launched_with("FSDP")
    if deepspeed and fsdp:
        raise UserError("--fsdp and --deepspeed both shard the model: leave one out")
    if deepspeed:
        _read_json("--deepspeed", args.deepspeed)
        if importlib.util.find_spec("deepspeed") is None:
            raise UserError(
                "--deepspeed: the package deepspeed is not installed; pip install deepspeed, or shard the model without it "
                f"by FSDP: {FSDP_COMMAND} scripts/..."
            )
    if not fsdp:
        return
    given = {name.lower(): value for name, value in os.environ.items() if name.startswith("FSDP_")}
    given = {"version": 2} | _read_json("--fsdp_config", args.fsdp_config) if args.fsdp else {"version": 1} | given
    options = {name.removeprefix("fsdp_"): str(value).lower() for name, value in given.items()}
    if "LOCAL_RANK" not in os.environ:
        raise UserError(
            f"--fsdp shards a model over several processes, and this is one; start it by {FSDP_COMMAND} scripts/..."
        )
    if int(options["version"]) != 2:
        raise UserError("FSDP version 1 is not supported; set fsdp_version: 2, as configs/accelerate/fsdp.yaml does")
    if options.get("cpu_ram_efficient_loading") == "true":
        # The other processes would have weights without values, and the rows of separators are computed from them.
        raise UserError("fsdp_cpu_ram_efficient_loading is not supported; set it to false")
    if options.get("activation_checkpointing") == "true":
        # accelerate recomputes with `preserve_rng_state=False`, so with other dropout masks than the forward pass.
        raise UserError("fsdp_activation_checkpointing forgets the dropout; use --gradient_checkpointing instead")
    if not args.do_train:
        raise UserError("--no_do_train: FSDP shards what is trained; leave it out to measure, each process holds the model")


def check_adapter(args: TrainingArguments, lora_r: int | None) -> None:
    """Raises UserError where an adapter is to be trained under FSDP, which nobody has shown to resume."""
    if lora_r is not None and (args.fsdp or launched_with("FSDP")):
        raise UserError(
            "--lora_r under FSDP is not supported; train the adapter by torchrun, with the whole base on each GPU "
            "(--load_in_4bit makes it small), or all weights without --lora_r"
        )


def is_sharded(args: TrainingArguments) -> bool:
    """Whether FSDP or DeepSpeed, by a flag or by ``accelerate launch``, cuts the model to pieces."""
    return bool(args.fsdp or args.deepspeed or launched_with("FSDP") or launched_with("DEEPSPEED"))


def launched_with(engine: str) -> bool:
    """Whether ``accelerate launch`` was configured to use ``engine``."""
    return os.environ.get(f"ACCELERATE_USE_{engine}", "false").lower() == "true"


def _read_json(flag: str, value: Any) -> dict[str, Any]:
    """The value of a flag that takes JSON or a file of it. Raises UserError if it cannot be read."""
    if not isinstance(value, str):
        return value or {}
    try:
        return json.loads(value if value.startswith("{") else Path(value).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{flag} {value}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{flag} {value}: not valid JSON ({error})") from None


def load_whole_models(args: TrainingArguments) -> None:
    """Make ``from_pretrained`` load whole weights under DeepSpeed ZeRO-3 too, from which new rows are computed."""
    if args.deepspeed or launched_with("DEEPSPEED"):
        from transformers.integrations import unset_hf_deepspeed_config

        unset_hf_deepspeed_config()
