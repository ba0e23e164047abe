"""What FSDP, DeepSpeed and half precision cannot do together, found in the flags and the environment."""

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
    """Refuse what accelerate, FSDP or DeepSpeed would do otherwise than asked, or fail at when the data is read.

    Looks at the flags, and at what ``accelerate launch`` puts into the environment.

    Raises:
        UserError: a missing package or file, a process on its own, or flags that do not go together.
    """
    if args.fp16 and args.use_cpu:  # accelerate would train in float32 without a word
        raise UserError("--fp16 needs a GPU; on a CPU take --bf16, or neither of them for float32")
    if args.auto_find_batch_size and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # One process would start anew and the others wait for it in the middle of a step.
        raise UserError("--auto_find_batch_size looks for what fits one process; find the size with one, then start several")
    deepspeed = args.deepspeed or _launched_with("DEEPSPEED")
    fsdp = args.fsdp or _launched_with("FSDP")
    if deepspeed and fsdp:
        raise UserError("--fsdp and --deepspeed both shard the model: leave one out")
    if deepspeed:
        _check_file("--deepspeed", args.deepspeed)
        if importlib.util.find_spec("deepspeed") is None:
            raise UserError(
                "--deepspeed: the package deepspeed is not installed; pip install deepspeed, or shard the model without it "
                f"by FSDP: {FSDP_COMMAND} scripts/..."
            )
    if not fsdp:
        return
    options = _fsdp_options(args)
    if "LOCAL_RANK" not in os.environ:
        raise UserError(
            f"--fsdp shards a model over several processes, and this is one; start it by {FSDP_COMMAND} scripts/..."
        )
    if int(options["version"]) != 2:
        raise UserError("FSDP version 1 is not supported; set fsdp_version: 2, as configs/accelerate/fsdp.yaml does")
    if options["cpu_ram_efficient_loading"]:
        # The other processes would have weights without values, which the separators' rows are computed from.
        raise UserError("fsdp_cpu_ram_efficient_loading is not supported; set it to false")
    if options["activation_checkpointing"]:
        # accelerate recomputes with `preserve_rng_state=False`, so under another dropout than the one whose loss it was.
        raise UserError("fsdp_activation_checkpointing forgets the dropout; use --gradient_checkpointing instead")
    if not args.do_train:
        raise UserError("--no_do_train: FSDP shards what is trained; leave it out to measure, each process holds the model")


def _launched_with(engine: str) -> bool:
    """Whether ``accelerate launch`` was told to use ``engine``."""
    return os.environ.get(f"ACCELERATE_USE_{engine}", "false").lower() == "true"


def _check_file(flag: str, value: Any) -> dict[str, Any]:
    """What a flag that takes a JSON file, or JSON itself, holds. Raises UserError where it cannot be read."""
    if not isinstance(value, str):
        return value or {}
    try:
        text = value if value.startswith("{") else Path(value).read_text("utf-8")
        return json.loads(text)
    except OSError as error:
        raise UserError(f"{flag} {value}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{flag} {value}: not valid JSON ({error})") from None


def _fsdp_options(args: TrainingArguments) -> dict[str, Any]:
    """The options that are checked, from ``--fsdp_config`` or else from the file of ``accelerate launch``."""
    names = ("cpu_ram_efficient_loading", "activation_checkpointing")
    if args.fsdp:
        given = {name.removeprefix("fsdp_"): value for name, value in _check_file("--fsdp_config", args.fsdp_config).items()}
        values = {"version": given.get("version", 2)} | {name: given.get(name, False) for name in names}
    else:
        values = {"version": os.environ.get("FSDP_VERSION", "1")}
        values |= {name: os.environ.get(f"FSDP_{name.upper()}", "false") for name in names}
    return values | {name: str(values[name]).lower() == "true" for name in names}


def load_whole_models(args: TrainingArguments) -> None:
    """Let ``from_pretrained`` load whole weights under DeepSpeed ZeRO-3, too; they are shared out when training begins.

    transformers would share them out while loading, and every matrix would look empty to what computes new rows.
    """
    if args.deepspeed or _launched_with("DEEPSPEED"):
        from transformers.integrations import unset_hf_deepspeed_config

        unset_hf_deepspeed_config()
