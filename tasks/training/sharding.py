"""Models too large for one GPU: what a run needs to know where FSDP or DeepSpeed shards it. Both come from accelerate."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from tasks.training.arguments import TrainingArguments

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


def check_checkpoint(checkpoint: str, fsdp: bool) -> None:
    """Refuse to go on in another way than a checkpoint was written in: its optimizer state would not be found.

    Raises:
        UserError: only one of run and checkpoint is under FSDP.
    """
    written = any(Path(checkpoint).glob("pytorch_model_fsdp*"))
    if written and not fsdp:
        raise UserError(f"{checkpoint} was written under FSDP; go on with it in the same way: {FSDP_COMMAND} scripts/...")
    if fsdp and not written:
        raise UserError(f"{checkpoint} was written without FSDP; go on with it without --fsdp, by python or torchrun")


def set_up_fsdp(accelerator: Accelerator, plugin_args: dict[str, Any] | None) -> bool:
    """Make FSDP, where it was asked for, sum gradients in float32 and run on CPU too; returns whether it was.

    accelerate's own policy under ``--bf16`` and ``--fp16`` adds up gradients and hands over the loss in half precision: two
    or three digits of either. Here only the weights that a layer computes with are halved, as in torchtitan.

    accelerate switches FSDP on for every kind of device but CPU, and falls back to whole copies there without a word
    (``AcceleratorState``), though torch's ``fully_shard`` runs on gloo.
    """
    import torch
    from accelerate import DistributedType, PartialState
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    state = accelerator.state
    if not (plugin_args or _launched_with("FSDP")):
        return False
    if state.distributed_type == DistributedType.MULTI_CPU:
        # Two objects hold the same settings, and the second one's win whenever the first is asked for anew.
        state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**plugin_args or {})
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    if half is not None:
        state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
    return True


@contextlib.contextmanager
def whole_model(model: nn.Module, reshard_after_forward: bool = True) -> Iterator[None]:
    """Let each process hold all weights of an FSDP model for a while; another model is whole already.

    Generation takes as many steps as its texts need, so processes with rows of their own would wait for each other's
    layers for ever. Inside no process needs another one. All of them have to enter together; a GPU needs room for the
    weights in the type they are computed with (2 bytes a parameter under ``--bf16``, else 4).
    """
    from torch.distributed.fsdp import FSDPModule

    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):  # ZeRO-3
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(model.parameters())):
            yield
        return
    if not isinstance(model, FSDPModule):
        yield
        return
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    model.set_reshard_after_forward(False)
    for unit in units:
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
        model.set_reshard_after_forward(reshard_after_forward)
        # The backward pass begins with these, so accelerate keeps them from the forward pass on.
        for last in (model, model.get_output_embeddings()):
            if isinstance(last, FSDPModule):
                last.set_reshard_after_forward(False, recurse=False)
