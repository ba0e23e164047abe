"""Copies of a model for CTranslate2, an engine for processors: made, opened, and asked in place of the model itself."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tasks.arguments.model import ModelArguments
from tasks.errors import UserError
from tasks.inference.forward import CPU_ROWS, MAX_TOKENS, batches_by_length, choice_logprobs, token_logprobs
from tasks.inference.generation import generate
from tasks.machine import versions
from tasks.preparing.encoding import Encoder
from tasks.progress import progress
from tasks.run_folder import EXPORT_FILE, TASK_FILE, weight_hashes, write_json

#: The folder inside a copy that CTranslate2 reads: its config.json is another one than that of transformers.
ENGINE = "ctranslate2"

#: Flags that change how transformers computes, or look at its logits between two tokens.
NOT_HONOURED = ("dtype", "attn_implementation", "dropout", "load_in_4bit", "extractive")


@dataclasses.dataclass
class Exported:
    """A copy in memory: CTranslate2's ``Generator``, and the tokenizer, since it takes tokens and not ids."""

    generator: Any
    tokenizer: PreTrainedTokenizerFast

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens of ids, as the converter wrote them."""
        return self.tokenizer.convert_ids_to_tokens(list(ids))

    def follow(self, prompts: Sequence[Sequence[int]], rows: int, **options: Any) -> Iterator[tuple[int, Any]]:
        """(index, result) of every prompt, from batches of equally long prompts.

        CTranslate2 would write the end of longer ones as if the model had written it, by the rules against repetition too.
        """
        with progress(len(prompts), "generating") as bar:
            for mixed in batches_by_length(list(map(len, prompts)), rows, MAX_TOKENS):
                for length in {len(prompts[i]) for i in mixed}:
                    batch = [i for i in mixed if len(prompts[i]) == length]
                    tokens = [self.tokens(prompts[i]) for i in batch]
                    yield from zip(batch, self.generator.generate_batch(tokens, include_prompt_in_result=False, **options))
                    bar.update(len(batch))


@generate.register(Exported)
def _(
    model: Exported,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Sequence[int]],
    settings: dict[str, Any],
    batch_size: int | None = None,
    seed: int = 42,
    constraint: Callable[[Sequence[int]], Any] | None = None,
    names: Sequence[Any] | None = None,
    heard: Callable[[list[int]], None] | None = None,
) -> list[list[list[int]]]:
    """As ``generate``; samples are others than the run's, and depend on the seed of ``open_export`` and on those before."""
    if constraint:
        raise refusal("extractive")
    copies = settings.get("num_return_sequences", 1)
    options = {name: settings[name] for name in ("repetition_penalty", "no_repeat_ngram_size")}
    options |= {"max_length": settings["max_new_tokens"], "beam_size": settings["num_beams"], "num_hypotheses": copies}
    if settings["do_sample"]:
        options |= {f"sampling_{name.replace('_', '')}": settings[name] for name in ("top_k", "top_p")}
        options["sampling_temperature"] = settings["temperature"]
    if heard and settings["num_beams"] == 1:
        written: list[int] = []

        def hear(step: Any) -> bool:
            if step.hypothesis_id == 0 and step.token_id != tokenizer.eos_token_id:
                written.append(step.token_id)
                heard(written)
            return False  # go on

        options["callback"] = hear
    results: list[list[list[int]]] = [[] for _ in prompts]
    for i, result in model.follow(prompts, batch_size or CPU_ROWS, end_token=[tokenizer.eos_token_id], **options):
        results[i] = result.sequences_ids
    return results


@token_logprobs.register(Exported)
def _(
    model: Exported, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], pad_token_id: int, batch_size: int | None = None
) -> list[list[float]]:
    """As ``token_logprobs``."""
    results: list[list[float]] = [[] for _ in pairs]
    lengths = [len(context) + len(target) for context, target in pairs]
    with progress(len(pairs), "scoring") as bar:
        for batch in batches_by_length(lengths, batch_size or CPU_ROWS, MAX_TOKENS):
            tokens = [model.tokens([*pairs[i][0], *pairs[i][1]]) for i in batch]
            for i, result in zip(batch, model.generator.score_batch(tokens, max_input_length=0)):
                results[i] = result.log_probs[len(pairs[i][0]) - 1 :]
            bar.update(len(batch))
    return results


@choice_logprobs.register(Exported)
def _(
    model: Exported,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Sequence[int]],
    pad_token_id: int,
    batch_size: int | None = None,
) -> list[list[float]]:
    """As ``choice_logprobs``. Choices of several tokens read their prompt anew, each of them."""
    if max(map(len, choices)) > 1:
        pairs = [(prompt, choice) for prompt in prompts for choice in choices]
        sums = [sum(values) for values in token_logprobs(model, pairs, pad_token_id, batch_size)]
        return [sums[start : start + len(choices)] for start in range(0, len(sums), len(choices))]
    results: list[list[float]] = [[] for _ in prompts]
    for i, result in model.follow(prompts, batch_size or CPU_ROWS, max_length=1, return_logits_vocab=True):
        logprobs = torch.from_numpy(np.array(result.logits[0][0])).float().log_softmax(-1)
        results[i] = logprobs[[choice[0] for choice in choices]].tolist()
    return results


def engine() -> Any:
    """The package ``ctranslate2``. Raises UserError where it is not installed."""
    if find_spec("ctranslate2") is None:
        raise UserError("copies for CTranslate2 need its package; install it with: pip install -e '.[export]'")
    import ctranslate2

    return ctranslate2


def open_export(model_args: ModelArguments, encoder: Encoder, seed: int) -> Exported:
    """The copy in a folder, on the processor, with as many threads as torch has.

    Raises UserError where it is damaged, ctranslate2 is missing, or a flag is given that a copy cannot honour.
    """
    folder = Path(model_args.model)
    flags = vars(model_args) | encoder.settings
    if given := next((name for name in NOT_HONOURED if flags[name] not in (None, False, "float32")), None):
        raise refusal(given, folder)
    engine().set_random_seed(seed)  # which a thread of a Generator reads once, at its first sample
    try:
        generator = engine().Generator(str(folder / ENGINE), intra_threads=torch.get_num_threads())
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{folder}: the copy is damaged ({str(error)[:200]}); make it again with scripts/export.py"
        ) from None
    return Exported(generator, encoder.tokenizer)


def refusal(flag: str, folder: Path | str = "this") -> UserError:
    """The error of a flag that a copy cannot honour."""
    return UserError(f"--{flag}: {folder} is a copy for CTranslate2, which cannot honour it; leave it out, or name the run")


def export(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, run: Path, folder: Path, quantization: str
) -> dict[str, Any]:
    """Write a copy of ``model``, an adapter merged, into ``folder``, with task.json of ``run``; returns its export.json.

    Raises UserError where CTranslate2 has no converter for this kind of model.
    """
    converter, kind = engine().converters.TransformersConverter, model.config.model_type
    if not model.can_generate():
        raise UserError(f"{run}: a model with a classification head, which CTranslate2 cannot convert; use the run itself")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as place:
        whole, made = Path(place) / "whole", Path(place) / "made"
        for part in (whole, made):
            tokenizer.save_pretrained(part)
        model.save_pretrained(whole)
        try:
            converter(str(whole)).convert(str(made / ENGINE), quantization=quantization)
        except (ValueError, KeyError, NotImplementedError, AttributeError) as error:
            raise UserError(
                f"{run}: CTranslate2 cannot convert this {kind} ({str(error)[:150]}); use the run itself"
            ) from None
        for path in (whole / "config.json", run / TASK_FILE):
            shutil.copy(path, made)
        about = {"format": ENGINE, "quantization": quantization, "run": run.resolve().name}
        about |= {"run_weights_sha256": weight_hashes(run), "versions": versions(ENGINE)}
        write_json(made / EXPORT_FILE, about)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return about
