"""Log-probabilities of given tokens: label words, candidate answers, whole texts. Nothing is generated."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from tqdm.auto import tqdm

from tasks.inference.batching import batches_by_length, pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Tokens of a batch, padding included. With 51,200 logits a position in float32 that is 0.8 GB when all are needed.
MAX_TOKENS = 4096


@torch.inference_mode()
def token_logprobs(
    model: PreTrainedModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    pad_token_id: int,
    batch_size: int,
    description: str = "score",
) -> list[list[float]]:
    """log P(token | all before it), in nats, of every token of each pair's second half, given its first.

    Pairs are (context, target) ids; a context has at least one token. Sequences are right-padded, where a plain forward
    pass counts positions from the first token as training did (left-padded it would not: transformers leaves
    ``position_ids`` to the caller). The head runs on positions that some row of the batch needs, and on no others.
    """
    takes_positions = "logits_to_keep" in inspect.signature(model.forward).parameters
    model.eval()
    results: list[list[float]] = [[] for _ in pairs]
    lengths = [len(context) + len(target) - 1 for context, target in pairs]
    with tqdm(total=len(pairs), desc=description, unit="row", disable=len(pairs) < 2) as bar:
        for batch in batches_by_length(lengths, batch_size, MAX_TOKENS):
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


def text_windows(prefix: Sequence[int], text: Sequence[int], max_length: int) -> list[tuple[list[int], list[int]]]:
    """(context, target) pairs that cover every token of ``text`` once, each with as much context as fits.

    Windows move by half their length, so that a token far into a long text is judged with at least that much of the text
    before it (the strided evaluation of the transformers perplexity guide), and not as if the text began there.
    """
    sequence = [*prefix, *text]
    start = len(prefix)
    pairs = []
    while start < len(sequence):
        end = max_length if not pairs else start + max_length // 2
        pairs.append((sequence[max(0, min(end, len(sequence)) - max_length) : start], sequence[start:end]))
        start = end
    return pairs
