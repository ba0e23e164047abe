"""What a model and its random generators were before an attempt at training, to start the next attempt from."""

from __future__ import annotations

import torch
from torch import nn


class Snapshot:
    """Trainable weights, on the CPU, and the state of torch's random generators."""

    def __init__(self, model: nn.Module) -> None:
        self._weights = {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters() if p.requires_grad}
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Put all of it back, and clear the gradients. The optimizer is the caller's to replace."""
        for name, parameter in model.named_parameters():
            if name in self._weights:
                parameter.copy_(self._weights[name])
            parameter.grad = None
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
