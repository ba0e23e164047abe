"""Too little memory: which three flags most likely help, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.arguments.training import TrainingArguments

#: Bytes a trained parameter takes with its gradient and AdamW's two moments, all in float32 (tasks/benchmarking/memory.py).
TRAINED = 16


def training_advice(
    args: TrainingArguments, model: PreTrainedModel, max_length: int, *, processes: int = 1, lora: bool = True
) -> list[str]:
    """Flags that make training fit; smaller batches come last where the weights alone fill the memory.

    ``processes`` share the model by FSDP; ``lora`` says whether the script has ``--lora_r``.
    """
    weights = ["--lora_r 8"] if lora and not hasattr(model, "peft_config") else []
    if processes == 1:
        weights.append("several GPUs by accelerate launch --config_file configs/accelerate/fsdp.yaml")
    batch = []
    if args.tokens_per_batch:
        if args.tokens_per_batch > max_length:
            batch.append(f"--tokens_per_batch {max(max_length, args.tokens_per_batch // 2)}")
    elif args.per_device_train_batch_size > 1:
        half = args.per_device_train_batch_size // 2
        batch.append(
            f"--per_device_train_batch_size {half} --gradient_accumulation_steps {2 * args.gradient_accumulation_steps}"
        )
    if not args.gradient_checkpointing:
        batch.append("--gradient_checkpointing")
    if not (args.bf16 or args.fp16 or args.use_cpu):
        batch.append("--bf16")
    batch.append(f"--max_length {max(1, max_length // 2)}")
    states = sum(p.numel() * (TRAINED if p.requires_grad else p.element_size()) for p in model.parameters())
    return weights + batch if states / processes > 0.8 * total_memory(args.device) else batch + weights


def evaluation_advice(args: TrainingArguments, max_length: int) -> list[str]:
    """Flags that make the loss over the validation rows fit, where training did."""
    batch = args.per_device_eval_batch_size
    return [
        *([f"--per_device_eval_batch_size {batch // 2}"] if batch > 1 else []),
        f"--max_length {max(1, max_length // 2)}",
        "--no_do_eval",
    ]


def total_memory(device: torch.device) -> int:
    """Bytes of memory of a device, or of the machine for a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total
