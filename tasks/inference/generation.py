"""Completions of prompts in left-padded batches, in the order of the input."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
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

from tasks.inference.decoding import decode, keeps_keys
from tasks.inference.extraction import Allowed
from tasks.inference.forward import batches_by_length, pad, tokens_that_fit
from tasks.model.loading import generation_config
from tasks.progress import progress

#: Rows generated together where memory allows: measured 1.6 times as fast as 16 on two cores. A step of a few rows reads all
#: weights just the same; more rows than this wait for the longest of them.
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
) -> list[list[list[int]]]:
    """The completions of each prompt as ids without eos and padding, ``num_return_sequences`` of them.

    ``settings`` come from ``generation_settings``. A batch has at most ``batch_size`` prompts, and no more than fit into
    memory. A sample depends on ``seed`` and the prompt's name (its number by default), and on the batches only if
    transformers' ``generate`` draws it (beams, models without a key-value cache). ``constraint``, for one greedy completion
    per prompt, makes the ``allowed`` of ``decode`` for a batch of these prompts.
    """
    config = generation_config(settings, tokenizer)
    model.eval()
    results: list[list[list[int]]] = [[] for _ in prompts]
    lengths = [len(prompt) + settings["max_new_tokens"] for prompt in prompts]
    copies = max(config.num_beams, config.num_return_sequences)
    rows = batch_size or max(1, ROWS // copies)
    # The global generator is restored: otherwise every epoch after an evaluation would have the dropout of the first.
    devices = [model.device] if model.device.type == "cuda" else []
    bar = progress(len(prompts), "generate")
    names = range(len(prompts)) if names is None else names
    with torch.random.fork_rng(devices), bar:
        torch.manual_seed(seed)
        for batch in batches_by_length(lengths, rows, max(1, tokens_that_fit(model) // copies)):
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
