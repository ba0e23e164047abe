"""Cheaper training steps with the same loss and gradients as the plain Trainer's."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.activations import FastGELUActivation, NewGELUActivation
from transformers.modeling_outputs import CausalLMOutput

from tasks.preparing.encoding import IGNORE


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory instead of returning it to the kernel (``mallopt``, man page 3).

    Otherwise each step maps the same hundreds of megabytes again, and the kernel zeroes every page. Returns False with
    another C library.
    """
    if platform.system() != "Linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h
    return bool(mallopt(m_mmap_threshold, 1 << 30) and mallopt(m_trim_threshold, (1 << 31) - 1))


def avoid_cudnn_attention() -> None:
    """Leave cuDNN out of the kernels that sdpa attention chooses from on CUDA; a CPU is not concerned.

    On Hopper and Blackwell torch prefers it, and it builds a plan for every new shape of a batch, which takes longer than
    the step. Rows of differing length have a new shape in nearly every batch (pytorch/pytorch#155958,
    modelscope/FunASR#3704).
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def has_attention_dropout(model: PreTrainedModel) -> bool:
    """Whether training has attention dropout, for which sdpa on CPU is about four times as slow as eager attention."""
    return any(getattr(model.config, name, 0) for name in ("attn_pdrop", "attention_dropout"))


@contextlib.contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """Use eager attention inside the context."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def fuse_gelu(model: PreTrainedModel) -> int:
    """Replace GELUs of seven operations by torch's fused one; returns how many were replaced.

    ``gelu_new`` (GPT-2) and ``gelu_fast`` are the same tanh formula, so only rounding differs.
    """
    replaced = 0
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, (NewGELUActivation, FastGELUActivation)):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
                replaced += 1
    return replaced


def head_on_labels_only(model: PreTrainedModel) -> bool:
    """Make ``model(labels=...)`` apply its head only to positions with a label, and return the loss without logits.

    The loss is the same: the sum over labelled tokens, divided by ``num_items_in_batch`` (the labels of the whole optimizer
    step) or else by their number here. The forward itself is replaced, so that autocast, DDP and FSDP still wrap it.

    A classification head is the head of a model that has one: its class stands where a language model's next token does.

    Returns False and changes nothing if the logits are not the head over the base model's hidden states (Gemma 2 caps them,
    Cohere scales them).
    """
    if not _head_is_separate(model):
        return False
    plain, base, head = model.forward, model.base_model, _head(model)

    @functools.wraps(plain)  # keeps the signature, from which the Trainer reads what the model accepts
    def forward(*args: Any, labels: Any = None, num_items_in_batch: Any = None, **kwargs: Any) -> Any:
        if labels is None:
            return plain(*args, **kwargs)
        hidden = base(*args, **kwargs)[0]  # [rows, length, width]
        targets = labels[:, 1:]
        labelled = targets != IGNORE
        logits = head(hidden[:, :-1][labelled])  # [labels, vocabulary]
        total = cross_entropy(logits.float(), targets[labelled], reduction="sum")
        count = labelled.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        if torch.is_tensor(count):
            count = count.to(total.device)
        return CausalLMOutput(loss=total / count)

    model.forward = forward
    return True


def _head(model: PreTrainedModel) -> torch.nn.Module | None:
    return model.get_output_embeddings() or getattr(model, "score", None)


@torch.no_grad()
def _head_is_separate(model: PreTrainedModel) -> bool:
    """Whether the logits are the head over the last hidden state, tested on three tokens; those of a classifier are of the
    last one.
    """
    base, head = model.base_model, _head(model)
    if base is model or head is None:
        return False
    training = model.training
    model.eval()
    try:
        ids = [token for token in range(4) if token != model.config.pad_token_id][:3]
        ids = torch.tensor([ids], device=model.device)
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}  # without a mask transformers warns of padding
        logits, own = model(**given).logits, head(base(**given)[0])
        return torch.allclose(logits, own if logits.dim() == own.dim() else own[:, -1], atol=1e-5)
    finally:
        model.train(training)
