"""Muon (Jordan et al. 2024) for the matrices of the hidden layers and AdamW for all other weights, as one optimizer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.arguments.training import TrainingArguments

#: Those of ``torch.optim.Muon``: how fast momentum fades, and Newton-Schulz's steps and coefficients.
MOMENTUM, STEPS, COEFFICIENTS = 0.95, 5, (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.AdamW):
    """AdamW whose groups with ``matrices`` are updated by Muon; the same learning rate serves both (Liu et al. 2025).

    ``matrices`` says how many matrices lie side by side in each weight of the group (0: AdamW updates it). As one optimizer
    it has one ``state_dict``, one schedule, and is clipped and scaled like any other. Its update is that of
    ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"`` up to rounding, but that class computes in bfloat16
    everywhere, one matrix at a time, and knows no weights that hold several.
    """

    # Adam's own reads the steps of each weight, which those of Muon do not count.
    __setstate__ = torch.optim.Optimizer.__setstate__

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["matrices"]]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["matrices"]:
                self._update_matrices(group)
        return loss

    def _update_matrices(self, group: dict[str, Any]) -> None:
        """Nesterov momentum, made orthogonal; matrices of one shape together, since a GPU waits for many small products."""
        same_shape = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is None:
                continue
            if not self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            momentum = self.state[weight]["momentum_buffer"].lerp_(weight.grad, 1 - MOMENTUM)
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            parts = (tensor.chunk(group["matrices"], dim=1) for tensor in (weight, weight.grad.lerp(momentum, MOMENTUM)))
            for part, update in zip(*parts):
                same_shape[part.shape].append((part, update))
        for shape, pairs in same_shape.items():
            # 0.2 is about the root mean square of AdamW's updates.
            rate = group["lr"] * 0.2 * math.sqrt(max(shape))
            for (part, _), update in zip(pairs, orthogonal(torch.stack([update for _, update in pairs]))):
                part.add_(update, alpha=-rate)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest matrices with singular values around 1, by Newton-Schulz; ``matrices`` are [number, rows, columns].

    In bfloat16 where a GPU has it, else in float32: processors that emulate bfloat16 take a hundred times as long.
    """
    native = matrices.is_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    tall = matrices.size(-2) > matrices.size(-1)
    x = (matrices.mT if tall else matrices).to(torch.bfloat16 if native else torch.float32)
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def muon(model: PreTrainedModel, args: TrainingArguments, decayed: Iterable[str]) -> Muon:
    """The optimizer of ``--optim muon``; ``decayed`` names the weights that AdamW lets decay."""
    embeddings = {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    matrices = defaultdict(list)  # {matrices in a weight: weights}
    for name, layer in model.named_modules():
        if isinstance(layer, (torch.nn.Linear, Conv1D)) and id(layer.weight) not in embeddings:
            # GPT-2's weights are [in, out]; those of query, key and value lie side by side in one.
            matrices[3 if name.endswith("c_attn") else 1].append(layer.weight)
    hidden = {id(weight) for weights in matrices.values() for weight in weights}
    groups = [{"params": w, "matrices": n, "weight_decay": args.weight_decay} for n, w in matrices.items()]
    decayed = set(decayed)
    for decay in (True, False):
        others = [p for name, p in model.named_parameters() if id(p) not in hidden and (name in decayed) == decay]
        groups.append({"params": others, "matrices": 0, "weight_decay": args.weight_decay if decay else 0.0})
    return Muon(groups, lr=args.learning_rate, betas=(args.adam_beta1, args.adam_beta2), eps=args.adam_epsilon)
