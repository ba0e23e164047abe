"""How fast this machine multiplies the matrices of a model."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from tasks.benchmarking.machine import device, memory_figures, synchronize
from tasks.benchmarking.workspace import Workspace

#: Rows of the other matrix: more, and the logits of a large vocabulary no longer fit into small memories.
TOKENS = 2048


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Tokens/second of a training step that did nothing but 6 x parameters multiplications and additions a token.

    2 forward, 4 backward (Kaplan et al. 2020, section 2.1): every weight counted, the embedding too, once where it is tied.
    """
    model = Workspace.open(job).model()
    shapes: Counter[tuple[int, int]] = Counter()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            shapes[module.in_features, module.out_features] += 1
        elif isinstance(module, Conv1D):
            shapes[tuple(module.weight.shape)] += 1
    parameters = sum(weight.numel() for weight in model.parameters())
    del model
    dtype = torch.bfloat16 if job["bf16"] else torch.float32
    operations = sum(count * 2 * TOKENS * n * m for (n, m), count in shapes.items())
    seconds = sum(count * _best(n, m, dtype, job["floor_seconds"]) for (n, m), count in shapes.items())
    return memory_figures() | {
        "useful_tokens_per_second": operations / seconds / (6 * parameters),
        "tera_operations_per_second": operations / seconds / 1e12,
        "parameters": parameters,
    }


def _best(n: int, m: int, dtype: torch.dtype, at_least: float) -> float:
    """Seconds of the fastest of several products [TOKENS, n] x [n, m]."""
    left = torch.randn(TOKENS, n, dtype=dtype, device=device())
    right = torch.randn(n, m, dtype=dtype, device=device())
    product = left @ right
    best = float("inf")
    started = time.perf_counter()
    while time.perf_counter() - started < at_least:
        synchronize()
        begin = time.perf_counter()
        torch.matmul(left, right, out=product)
        synchronize()
        best = min(best, time.perf_counter() - begin)
    return best
