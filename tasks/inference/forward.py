"""Forward passes over batches of sequences of similar length, from which texts are generated and given tokens scored."""

from __future__ import annotations

import copy
import functools
import inspect
import os
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from tasks.progress import progress

#: Tokens of a batch that is scored, with padding. With 51,200 logits a position in float32 that is 0.8 GB if all are needed.
MAX_TOKENS = 4096

#: Rows of a batch that is scored on a processor, where no number is given. More only add padding there: 22 rows/s of nli
#: against 17 with 64 rows and 14 with 192 (125 M, two cores).
CPU_ROWS = 16

#: Choices of several tokens that are scored at a time: each needs a copy of the keys and values of its prompt.
MAX_CHOICES = 16


def batches_by_length(lengths: Sequence[int], batch_size: int, max_tokens: int) -> Iterator[list[int]]:
    """Indices of sequences, longest first, at most ``batch_size`` of them and ``max_tokens`` with padding a batch.

    The longest come first so that a batch that does not fit into memory fails at the start. A single sequence longer than
    ``max_tokens`` is a batch of its own.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) == batch_size or lengths[batch[0]] * (len(batch) + 1) > max_tokens):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def rows_of(model: PreTrainedModel, batch_size: int | None) -> int:
    """Rows of a batch that is scored: ``batch_size``, by default what its tokens allow, and on a processor ``CPU_ROWS``."""
    return batch_size or (CPU_ROWS if model.device.type == "cpu" else MAX_TOKENS)


def pad(
    sequences: Sequence[Sequence[int]], value: int, side: str, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """``input_ids`` and ``attention_mask``, each [sequences, longest], padded with ``value`` on the ``side``."""
    rows = [torch.tensor(sequence, dtype=torch.long) for sequence in sequences]
    ids = pad_sequence(rows, True, value, side)
    mask = pad_sequence([torch.ones_like(row) for row in rows], True, 0, side)
    return ids.to(device), mask.to(device)


def tokens_that_fit(model: PreTrainedModel) -> int:
    """Tokens of a batch, prompts and completions with their padding, that fit into half of the free memory.

    Each takes keys and values in every layer, twice while the cache is copied as rows leave, and the activations of one
    layer while the prompt is read, about 16 times the hidden width.
    """
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", 1)  # a state-space model has none, and needs less
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    keys = config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * width
    values = 2 * 2 * keys + 16 * config.hidden_size
    return max(1, int(free_memory(model.device) / 2 / (values * model.dtype.itemsize)))


def free_memory(device: torch.device) -> float:
    """Bytes that this process may still allocate on ``device``; the processes of a machine share its free memory."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # freed, but not given back
        return torch.cuda.mem_get_info(device)[0] + kept
    return psutil.virtual_memory().available / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def positions(attention_mask: torch.Tensor) -> torch.Tensor:
    """The ``position_ids`` of left-padded rows, which count from their first token."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def forward(model: Any, ids: torch.Tensor, mask: torch.Tensor, place: Any = None, kept: Any = None, **given: Any) -> Any:
    """The output of ``model``, which gets ``position_ids`` and ``logits_to_keep`` if they are given and it takes them."""
    parameters = inspect.signature(model.forward).parameters
    known = {"position_ids": place, "logits_to_keep": kept}
    given |= {name: value for name, value in known.items() if value is not None and name in parameters}
    return model(input_ids=ids, attention_mask=mask, **given)


@functools.singledispatch  # another engine registers its own
@torch.inference_mode()
def token_logprobs(
    model: PreTrainedModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    pad_token_id: int,
    batch_size: int | None = None,
) -> list[list[float]]:
    """log P(token | all before it), in nats, of every target token of (context, target) ids.

    A context has at least one token. Sequences are right-padded, so that positions count from the first token without
    ``position_ids``. The head runs only on positions that some row of the batch needs.
    """
    model.eval()
    results: list[list[float]] = [[] for _ in pairs]
    lengths = [len(context) + len(target) - 1 for context, target in pairs]
    with progress(len(pairs), "scoring") as bar:
        for batch in batches_by_length(lengths, rows_of(model, batch_size), MAX_TOKENS):
            sequences = [[*pairs[i][0], *pairs[i][1]][:-1] for i in batch]  # the last token predicts nothing we ask for
            input_ids, attention_mask = pad(sequences, pad_token_id, "right", model.device)
            first = min(len(pairs[i][0]) for i in batch) - 1
            logits = forward(model, input_ids, attention_mask, kept=input_ids.shape[1] - first, use_cache=False).logits
            skipped = input_ids.shape[1] - logits.shape[1]
            for row, i in enumerate(batch):
                context, target = pairs[i]
                start = len(context) - 1 - skipped
                chosen = logits[row, start : start + len(target)].float()
                wanted = torch.as_tensor(target, device=model.device)[:, None]
                results[i] = (chosen.gather(1, wanted)[:, 0] - chosen.logsumexp(dim=-1)).tolist()
            bar.update(len(batch))
    return results


@functools.singledispatch  # another engine registers its own
@torch.inference_mode()
def choice_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[int]],
    pad_token_id: int,
    batch_size: int | None = None,
) -> list[list[float]]:
    """log P(choice | prompt) in nats, summed over the choice's tokens: for each prompt one value per choice.

    Each prompt goes through the model once, with the head on the last position alone. Choices of several tokens continue
    from the keys and values of their prompt.
    """
    model.eval()
    results: list[list[float]] = [[] for _ in prompts]
    longest = max(map(len, choices))
    first = torch.tensor([choice[0] for choice in choices], device=model.device)
    with progress(len(prompts), "scoring") as bar:
        for batch in batches_by_length(
            [len(prompt) + longest for prompt in prompts], rows_of(model, batch_size), MAX_TOKENS
        ):
            ids, mask = pad([prompts[i] for i in batch], pad_token_id, "left", model.device)
            # Left-padded, so that the last position is the same column in every row.
            place = positions(mask)
            output = forward(model, ids, mask, place, kept=1, use_cache=longest > 1)
            scores = output.logits[:, -1].float().log_softmax(-1)[:, first]  # [rows, choices]
            if longest > 1:
                cache, later = output.past_key_values, []
                for start in range(0, len(choices), MAX_CHOICES):
                    own = copy.deepcopy(cache) if len(choices) > MAX_CHOICES else cache
                    some = choices[start : start + MAX_CHOICES]
                    later.append(_later_tokens(model, own, some, mask, place, pad_token_id))
                scores = scores + torch.cat(later, dim=1)
            for i, row in zip(batch, scores.tolist()):
                results[i] = row
            bar.update(len(batch))
    return results


@torch.inference_mode()
def class_logprobs(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad_token_id: int, batch_size: int | None = None
) -> list[list[float]]:
    """log P(class | prompt) in nats of a model with a classification head: for each prompt one value per class.

    Prompts are right-padded; the head answers at the last token that is not padding, which it finds by ``pad_token_id``.
    """
    model.eval()
    results: list[list[float]] = [[] for _ in prompts]
    with progress(len(prompts), "score") as bar:
        for batch in batches_by_length(list(map(len, prompts)), rows_of(model, batch_size), MAX_TOKENS):
            ids, mask = pad([prompts[i] for i in batch], pad_token_id, "right", model.device)
            logits = forward(model, ids, mask, use_cache=False).logits
            for i, row in zip(batch, logits.float().log_softmax(-1).tolist()):
                results[i] = row
            bar.update(len(batch))
    return results


def _later_tokens(
    model: Any, cache: Any, choices: Any, mask: torch.Tensor, place: torch.Tensor, pad_token_id: int
) -> torch.Tensor:
    """[rows, choices]: the log-probabilities of all tokens of a choice but its first, summed."""
    rows, count = len(mask), len(choices)
    ids, real = pad([choice[:-1] for choice in choices], pad_token_id, "right", mask.device)
    targets, _ = pad([choice[1:] for choice in choices], pad_token_id, "right", mask.device)
    cache.batch_repeat_interleave(count)
    whole = torch.cat([mask.repeat_interleave(count, dim=0), real.repeat(rows, 1)], dim=1)
    steps = torch.arange(1, ids.shape[1] + 1, device=mask.device)
    place = place[:, -1:].repeat_interleave(count, dim=0) + steps
    output = forward(model, ids.repeat(rows, 1), whole, place, use_cache=True, past_key_values=cache)
    logprobs = output.logits.float().log_softmax(-1).gather(2, targets.repeat(rows, 1)[..., None])[..., 0]
    return (logprobs * real.repeat(rows, 1)).sum(-1).view(rows, count)


def text_windows(prefix: Sequence[int], text: Sequence[int], max_length: int) -> list[tuple[list[int], list[int]]]:
    """(context, target) pairs that cover every token of ``text`` once, each with as much context as fits.

    The stride is half the window, so that every later token has at least that much context (as in the transformers guide
    to the perplexity of fixed-length models).
    """
    sequence, start, pairs = [*prefix, *text], len(prefix), []
    while start < len(sequence):
        end = max_length if not pairs else start + max_length // 2
        pairs.append((sequence[max(0, min(end, len(sequence)) - max_length) : start], sequence[start:end]))
        start = end
    return pairs
