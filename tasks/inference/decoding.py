"""Decoding a batch token by token, with a preallocated cache; finished rows leave the batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, LogitsProcessorList, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from tasks.inference.forward import forward, positions

#: Finished rows are removed when they are this share of the batch: each removal copies the whole cache.
LEAVE_AT = 0.25


class RoomyLayer(DynamicLayer):
    """A preallocated cache layer: the stock one copies its whole content for every new token."""

    def __init__(self, room: int) -> None:
        """``room`` is the longest sequence, prompt and completion, in tokens."""
        super().__init__()
        self.room = room
        self.length = 0

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Append keys and values [rows, heads, tokens, width]; returns all of them."""
        if not self.is_initialized:
            rows, heads, _, width = key_states.shape
            self.dtype, self.device = key_states.dtype, key_states.device
            self.key_room = key_states.new_empty(rows, heads, self.room, width)
            self.value_room = value_states.new_empty(rows, heads, self.room, value_states.shape[-1])
            self.is_initialized = True
        end = self.length + key_states.shape[-2]
        self.key_room[:, :, self.length : end] = key_states
        self.value_room[:, :, self.length : end] = value_states
        self.length = end
        self.keys, self.values = self.key_room[:, :, :end], self.value_room[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens held so far."""
        return self.length

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows ``indices``."""
        self.key_room, self.value_room = self.key_room[indices], self.value_room[indices]
        self.keys, self.values = self.key_room[:, :, : self.length], self.value_room[:, :, : self.length]


def roomy_cache(model: PreTrainedModel, room: int) -> DynamicCache:
    """A cache for ``model``; layers with sliding-window attention keep their own kind."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def keeps_keys(model: PreTrainedModel) -> bool:
    """Whether the model caches keys and values, as ``decode`` needs; state-space models do not."""
    return "past_key_values" in inspect.signature(model.forward).parameters


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    max_new_tokens: int,
    eos_token_id: int,
    processors: LogitsProcessorList | None = None,
    warpers: LogitsProcessorList | None = None,
    draws: torch.Tensor | None = None,
    allowed: Callable[[int, list[int]], Sequence[int]] | None = None,
) -> list[list[int]]:
    """The completion of each left-padded prompt [rows, width], without eos: greedy, or sampled if ``draws`` are given.

    ``processors`` change the logits [rows, vocabulary] given the ids so far, followed by ``warpers`` when sampling.
    ``draws`` [rows, max_new_tokens] are uniform random numbers in [0, 1): a row with the same draws gets the same text in
    any batch. ``allowed`` returns the tokens that may follow, given (row, its completion so far).

    The result equals that of transformers' ``generate``, row by row.
    """
    rows, width = input_ids.shape
    cache = roomy_cache(model, width + max_new_tokens)
    results: list[list[int]] = [[] for _ in range(rows)]
    alive = torch.arange(rows, device=input_ids.device)  # the index in results of each row of the batch
    ended = torch.zeros(rows, dtype=torch.bool, device=input_ids.device)
    ids, mask, step = input_ids, attention_mask, input_ids
    place = positions(mask)
    for count in range(max_new_tokens):
        output = forward(model, step, mask, place, kept=1, past_key_values=cache, use_cache=True)
        logits = output.logits[:, -1].float()
        if processors:
            logits = processors(ids, logits)
        if allowed is not None:
            logits = _restricted(logits, alive, ended, results, allowed)
        if draws is None:
            chosen = logits.argmax(-1)
        else:
            chosen = drawn(warpers(ids, logits) if warpers else logits, draws[alive.to(draws.device), count])
        ended |= chosen == eos_token_id
        for result, token, done in zip(alive.tolist(), chosen.tolist(), ended.tolist()):
            if not done:
                results[result].append(token)
        if ended.all() or count + 1 == max_new_tokens:
            break
        ids, step = torch.cat([ids, chosen[:, None]], dim=1), chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        place = place[:, -1:] + 1
        if ended.double().mean() >= LEAVE_AT:
            stay = (~ended).nonzero()[:, 0]
            cache.batch_select_indices(stay)
            ids, step, mask, place, alive = ids[stay], step[stay], mask[stay], place[stay], alive[stay]
            ended = torch.zeros(len(stay), dtype=torch.bool, device=ended.device)
    return results


def drawn(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token per row of ``logits`` [rows, vocabulary], by inverse transform sampling with the row's ``uniform`` number.

    A token of probability 0 is never drawn.
    """
    reached = logits.softmax(-1).cumsum(-1)
    wanted = uniform.to(reached.device) * reached[:, -1]
    last = reached.argmax(-1)  # the first token at which the sum is complete: those after it have probability 0
    return torch.searchsorted(reached, wanted[:, None], right=True)[:, 0].minimum(last)


def _restricted(logits: torch.Tensor, alive: Any, ended: Any, results: Any, allowed: Any) -> torch.Tensor:
    """Set the logits of disallowed tokens to -inf. Finished rows are ignored."""
    done = ended.tolist()
    tokens = [[0] if done[row] else allowed(result, results[result]) for row, result in enumerate(alive.tolist())]
    # One copy to the device for the whole batch.
    places = np.stack([np.repeat(np.arange(len(tokens)), [len(row) for row in tokens]), np.concatenate(tokens)])
    rows, columns = torch.from_numpy(places).to(logits.device)
    masked = torch.full_like(logits, -torch.inf)
    masked[rows, columns] = logits[rows, columns]
    return masked
