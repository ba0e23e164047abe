"""Completions of prompts, decoded token by token in left-padded batches that finished rows leave."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.cache_utils import DynamicLayer

from tasks.inference.extraction import Allowed
from tasks.inference.forward import MAX_TOKENS, batches_by_length, forward, pad, positions, tokens_that_fit
from tasks.model.loading import generation_config
from tasks.progress import progress

#: Rows generated together where memory allows: a step of a few rows reads all weights just the same, and more rows than this
#: wait for the longest of them. On a processor long prompts are the dearer part, and a batch has ``MAX_TOKENS`` at most.
#: Measured on two cores with 125 M, 64 rows against 16: prompts of 10 tokens 8.7 and 4.2 rows/s, of 300 tokens 0.6 and 1.1.
ROWS = 64


class CompletionOnly(LogitsProcessor):
    """Applies another processor to the generated tokens alone, so that answers and summaries may quote their prompt."""

    def __init__(self, processor: LogitsProcessor, prompt_length: int) -> None:
        """``prompt_length`` is the width of the batch, padding included."""
        self.processor = processor
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """``input_ids`` [rows, prompt + generated], ``scores`` [rows, vocabulary]."""
        generated = input_ids[:, self.prompt_length :]
        return self.processor(generated, scores) if generated.shape[1] else scores


@functools.singledispatch  # another engine registers its own
@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Sequence[int]],
    settings: dict[str, Any],
    batch_size: int | None = None,
    seed: int = 42,
    constraint: Callable[[Sequence[int]], Allowed] | None = None,
    names: Sequence[Any] | None = None,
    heard: Callable[[list[int]], None] | None = None,
) -> list[list[list[int]]]:
    """The completions of each prompt as ids without eos and padding, ``num_return_sequences`` of them.

    ``settings`` come from ``generation_settings``. A batch has at most ``batch_size`` prompts, and no more than fit into
    memory. A sample depends on ``seed`` and the prompt's name (its number by default), and on the batches only if
    transformers' ``generate`` draws it (beams, models without a key-value cache). ``constraint``, for one greedy completion
    per prompt, makes the ``allowed`` of ``decode`` for a batch of these prompts; ``heard`` is that of ``decode``.
    """
    config = generation_config(settings, tokenizer)
    model.eval()
    results: list[list[list[int]]] = [[] for _ in prompts]
    lengths = [len(prompt) + settings["max_new_tokens"] for prompt in prompts]
    copies = max(config.num_beams, config.num_return_sequences)
    rows, tokens = batch_size or max(1, ROWS // copies), tokens_that_fit(model)
    if batch_size is None and model.device.type == "cpu":
        tokens = min(tokens, MAX_TOKENS)
    # The global generator is restored: otherwise every epoch after an evaluation would have the dropout of the first.
    devices = [model.device] if model.device.type == "cuda" else []
    bar = progress(len(prompts), "generating")
    names = range(len(prompts)) if names is None else names
    with torch.random.fork_rng(devices), bar:
        torch.manual_seed(seed)
        for batch in batches_by_length(lengths, rows, max(1, tokens // copies)):
            input_ids, attention_mask = pad([prompts[i] for i in batch], tokenizer.pad_token_id, "left", model.device)
            width = input_ids.shape[1]
            if config.num_beams > 1 or not keeps_keys(model):
                output = model.generate(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    generation_config=config,
                    logits_processor=_processors(settings, width),
                )
                eos = tokenizer.eos_token_id
                completions = [ids[: ids.index(eos)] if eos in ids else ids for ids in output[:, width:].tolist()]
            else:
                draws = None
                if settings["do_sample"]:
                    sources = [(seed, names[i], copy) for i in batch for copy in range(config.num_return_sequences)]
                    draws = torch.stack([uniform(source, settings["max_new_tokens"]) for source in sources])
                completions = decode(
                    model,
                    input_ids.repeat_interleave(config.num_return_sequences, dim=0),
                    attention_mask.repeat_interleave(config.num_return_sequences, dim=0),
                    max_new_tokens=settings["max_new_tokens"],
                    eos_token_id=tokenizer.eos_token_id,
                    processors=_processors(settings, width),
                    warpers=_warpers(settings) if settings["do_sample"] else None,
                    draws=draws,
                    allowed=constraint(batch) if constraint else None,
                    heard=heard,
                )
            for row, completion in enumerate(completions):
                results[batch[row // config.num_return_sequences]].append(completion)
            bar.update(len(batch))
    return results


def uniform(source: Any, count: int) -> torch.Tensor:
    """``count`` random numbers in [0, 1), seeded by ``source``, the same on every device."""
    digest = hashlib.blake2b(repr(source).encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    return torch.rand(count, generator=generator)


def _processors(settings: dict[str, Any], prompt_length: int) -> LogitsProcessorList:
    penalty, size = settings["repetition_penalty"], settings["no_repeat_ngram_size"]
    processors = [RepetitionPenaltyLogitsProcessor(penalty)] if penalty != 1.0 else []
    processors += [NoRepeatNGramLogitsProcessor(size)] if size else []
    return LogitsProcessorList(CompletionOnly(processor, prompt_length) for processor in processors)


def _warpers(settings: dict[str, Any]) -> LogitsProcessorList:
    """In the order of transformers: temperature, top_k, top_p."""
    warpers = [TemperatureLogitsWarper(settings["temperature"])] if settings["temperature"] != 1.0 else []
    warpers += [TopKLogitsWarper(settings["top_k"])] if settings["top_k"] else []
    warpers += [TopPLogitsWarper(settings["top_p"])] if settings["top_p"] < 1.0 else []
    return LogitsProcessorList(warpers)


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
    heard: Callable[[list[int]], None] | None = None,
) -> list[list[int]]:
    """The completion of each left-padded prompt [rows, width], without eos: greedy, or sampled if ``draws`` are given.

    ``processors`` change the logits [rows, vocabulary] given the ids so far, followed by ``warpers`` when sampling.
    ``draws`` [rows, max_new_tokens] are uniform random numbers in [0, 1): a row with the same draws gets the same text in
    any batch. ``allowed`` returns the tokens that may follow, given (row, its completion so far). ``heard`` is called with
    the completion of the first row after each of its tokens.

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
                if heard and result == 0:
                    heard(results[0])
        if ended.all() or count + 1 == max_new_tokens:
            break
        ids, step = torch.cat([ids, chosen[:, None]], dim=1), chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        place = place[:, -1:] + 1
        if ended.float().mean() >= LEAVE_AT:
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
