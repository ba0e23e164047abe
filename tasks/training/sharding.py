"""Models too large for one GPU, sharded by accelerate's FSDP or DeepSpeed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.arguments.sharding import FSDP_COMMAND, launched_with
from tasks.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


def check_checkpoint(checkpoint: str, fsdp: bool) -> None:
    """Refuse to resume with FSDP what was written without, or the reverse: the optimizer state would not be found.

    Raises:
        UserError: only one of run and checkpoint is under FSDP.
    """
    written = any(Path(checkpoint).glob("pytorch_model_fsdp*"))
    if written and not fsdp:
        raise UserError(f"{checkpoint} was written under FSDP; resume it under FSDP: {FSDP_COMMAND} scripts/...")
    if fsdp and not written:
        raise UserError(f"{checkpoint} was written without FSDP; resume it without --fsdp, by python or torchrun")


def set_up_fsdp(accelerator: Accelerator, plugin_args: dict[str, Any] | None) -> bool:
    """Make FSDP, where it was asked for, sum gradients in float32 and run on CPU too; returns whether it was.

    accelerate's own policy under ``--bf16`` and ``--fp16`` adds up gradients and hands over the loss in half precision: two
    or three digits of either. Here only the weights that a layer computes with are halved, as in torchtitan. On CPU
    accelerate falls back to whole copies without a word, though torch's ``fully_shard`` runs on gloo.
    """
    import torch
    from accelerate import DistributedType, PartialState
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import MixedPrecisionPolicy

    state = accelerator.state
    if not (plugin_args or launched_with("FSDP")):
        return False
    if state.distributed_type == DistributedType.MULTI_CPU:
        # accelerate keeps the type in both states; set one, and the next AcceleratorState() restores it from the other.
        state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**plugin_args or {})
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    if half is not None:
        state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
    return True


@contextlib.contextmanager
def whole_model(model: nn.Module, accelerator: Accelerator) -> Iterator[None]:
    """Let each process hold all weights of a sharded model for a while. All processes have to enter together.

    Generation takes as many steps as its texts need, so processes with rows of their own would wait for each other's
    layers forever. A GPU needs room for the weights in the type they are computed with.
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
        model.set_reshard_after_forward(accelerator.state.fsdp_plugin.reshard_after_forward)
        # The backward pass begins with these, so accelerate keeps them from the forward pass on.
        for last in (model, model.get_output_embeddings()):
            if isinstance(last, FSDPModule):
                last.set_reshard_after_forward(False, recurse=False)
