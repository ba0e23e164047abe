"""Log-probabilities of given tokens: label words, candidate answers, whole texts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from tasks.inference.batching import batches_by_length, pad
from tasks.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Tokens of a batch, padding included. With 51,200 logits a position in float32 that is 0.8 GB when all are needed.
MAX_TOKENS = 4096


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
    takes_positions = "logits_to_keep" in inspect.signature(model.forward).parameters
    model.eval()
    results: list[list[float]] = [[] for _ in pairs]
    lengths = [len(context) + len(target) - 1 for context, target in pairs]
    with progress(len(pairs), "score") as bar:
        for batch in batches_by_length(lengths, batch_size or MAX_TOKENS, MAX_TOKENS):
            sequences = [[*pairs[i][0], *pairs[i][1]][:-1] for i in batch]  # the last token predicts nothing we ask for
            input_ids, attention_mask = pad(sequences, pad_token_id, "right", model.device)
            first = min(len(pairs[i][0]) for i in batch) - 1
            kept = {"logits_to_keep": input_ids.shape[1] - first} if takes_positions else {}
            logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **kept).logits
            skipped = input_ids.shape[1] - logits.shape[1]
            for row, i in enumerate(batch):
                context, target = pairs[i]
                start = len(context) - 1 - skipped
                chosen = logits[row, start : start + len(target)].float()
                wanted = torch.as_tensor(target, device=model.device)[:, None]
                results[i] = (chosen.gather(1, wanted)[:, 0] - chosen.logsumexp(dim=-1)).tolist()
            bar.update(len(batch))
    return results


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
    parameters = inspect.signature(model.forward).parameters
    model.eval()
    results: list[list[float]] = [[] for _ in prompts]
    longest = max(map(len, choices))
    first = torch.tensor([choice[0] for choice in choices], device=model.device)
    with progress(len(prompts), "score") as bar:
        for batch in batches_by_length([len(prompt) + longest for prompt in prompts], batch_size or MAX_TOKENS, MAX_TOKENS):
            ids, mask = pad([prompts[i] for i in batch], pad_token_id, "left", model.device)
            # Left-padded, so that the last position is the same column in every row; positions count from the first token.
            place = (mask.cumsum(-1) - 1).clamp(min=0)
            output = _forward(model, parameters, ids, mask, place, use_cache=longest > 1, kept=1)
            scores = output.logits[:, -1].float().log_softmax(-1)[:, first]  # [rows, choices]
            if longest > 1:
                scores = scores + _later_tokens(
                    model, parameters, output.past_key_values, choices, mask, place, pad_token_id
                )
            for i, row in zip(batch, scores.tolist()):
                results[i] = row
            bar.update(len(batch))
    return results


def _later_tokens(
    model: Any, parameters: Any, cache: Any, choices: Any, mask: torch.Tensor, place: torch.Tensor, pad_token_id: int
) -> torch.Tensor:
    """[rows, choices]: the log-probabilities of all tokens of a choice but its first, summed."""
    rows, count = len(mask), len(choices)
    ids, real = pad([choice[:-1] for choice in choices], pad_token_id, "right", mask.device)
    targets, _ = pad([choice[1:] for choice in choices], pad_token_id, "right", mask.device)
    cache.batch_repeat_interleave(count)
    whole = torch.cat([mask.repeat_interleave(count, dim=0), real.repeat(rows, 1)], dim=1)
    steps = torch.arange(1, ids.shape[1] + 1, device=mask.device)
    place = place[:, -1:].repeat_interleave(count, dim=0) + steps
    output = _forward(model, parameters, ids.repeat(rows, 1), whole, place, use_cache=True, past_key_values=cache)
    logprobs = output.logits.float().log_softmax(-1).gather(2, targets.repeat(rows, 1)[..., None])[..., 0]
    return (logprobs * real.repeat(rows, 1)).sum(-1).view(rows, count)


def _forward(model: Any, parameters: Any, ids: Any, mask: Any, place: Any, kept: int | None = None, **kwargs: Any) -> Any:
    """A forward pass with the arguments that this architecture takes."""
    known = {"position_ids": place} if "position_ids" in parameters else {}
    if kept and "logits_to_keep" in parameters:
        known["logits_to_keep"] = kept
    return model(input_ids=ids, attention_mask=mask, **known, **kwargs)


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
