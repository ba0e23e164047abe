"""Weights in 4 bits, as QLoRA has them: NF4 with double quantization, by bitsandbytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel


def four_bit_config() -> BitsAndBytesConfig:
    """The linear layers in 4-bit NormalFloat, computed in bfloat16 (Dettmers et al. 2023, section 3).

    Embedding and head keep the type of ``--dtype``. A GPU without bfloat16 computes in float16, a CPU in float32.
    """
    import torch
    from transformers import BitsAndBytesConfig

    compute = torch.float32
    if torch.cuda.is_available():
        compute = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def stay_trainable(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from packing the weights for inference on a CPU at the first evaluation.

    On CPUs with AVX512-BF16 it (0.50) packs them for a kernel that passes no gradient on, and does not unpack them: the
    first training step after an evaluation fails.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
