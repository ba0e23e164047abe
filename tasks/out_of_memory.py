"""Too little memory: which three flags most likely help, in one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError, is_out_of_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tasks.inference.predicting import Predictor
    from tasks.training.arguments import TrainingArguments

#: Bytes a trained parameter takes with its gradient and AdamW's two moments, all in float32 (tasks/training/memory.py).
TRAINED = 16


@contextlib.contextmanager
def explained(doing: str, advice: Callable[[], Sequence[str]], kept: Callable[[], str] = str) -> Iterator[None]:
    """Turn an out-of-memory error inside into a UserError that names the first three of ``advice``.

    ``kept`` says what was saved. Both are asked when it happens; advice comes with what most likely helps first.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(describe(error, doing, advice()) + kept()) from None


def describe(error: BaseException, doing: str, advice: Sequence[str]) -> str:
    """One line: what ran out, and the first three of ``advice``."""
    reason = (str(error).splitlines() or [""])[0][:150] or type(error).__name__
    return f"out of memory while {doing} ({reason}); what helps most: {', or '.join(advice[:3])}"


def training_advice(
    args: TrainingArguments, model: PreTrainedModel, max_length: int, *, processes: int = 1, lora: bool = True
) -> list[str]:
    """Flags that make training fit. What the weights take cannot be helped by smaller batches, so it is asked first.

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


def prediction_advice(predictor: Predictor) -> list[str]:
    """Flags that make predictions fit."""
    beams, settings = predictor.settings["num_beams"], predictor.settings
    rows = 8 if predictor.batch_size is None else predictor.batch_size // 2  # without a number it fills what should be there
    advice = [f"{predictor.batch_flag} {rows}"] if rows else []
    if predictor.task.output_type != "multiple_choice":
        if beams > 1:
            advice.append(f"--num_beams {beams // 2}")
        if settings.get("num_return_sequences", 1) > 1:
            advice.append(f"--num_return_sequences {settings['num_return_sequences'] // 2}")
        advice.append(f"--max_new_tokens {max(1, settings['max_new_tokens'] // 2)}")
    advice.append(f"--max_length {max(1, predictor.encoder.max_length // 2)}")
    # A run trains in the same type, and needs float32 for it.
    return [*advice, "--dtype bfloat16" if predictor.batch_flag == "--batch_size" else "--no_do_predict --no_do_eval"]


def total_memory(device: torch.device) -> int:
    """Bytes of memory of a device, or of the machine for a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def kept_checkpoint(folder: Any) -> str:
    """The end of a message: where training can go on from, if anything was saved."""
    from transformers.trainer_utils import get_last_checkpoint

    last = get_last_checkpoint(str(folder)) if os.path.isdir(folder) else None
    return f"; {last} is kept: add --resume_from_checkpoint last" if last else ""
