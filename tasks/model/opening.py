"""The one place where a model is opened for a task: first what encodes its rows, then its weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from tasks.arguments.generation import generation_settings
from tasks.base import Task
from tasks.model.adapters import add_adapter
from tasks.model.loading import at_commit, load_config, load_model
from tasks.model.tokenizer import add_separators, load_tokenizer
from tasks.preparing.encoding import Encoder, sequence_length

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from tasks.arguments.generation import GenerationArguments
    from tasks.arguments.model import ModelArguments


def open_encoder(
    task: Task,
    model_args: ModelArguments,
    generation_args: GenerationArguments,
    max_length: int | None = None,
    measured_with: dict[str, Any] | None = None,
) -> Encoder:
    """The model's tokenizer, checked to carry Korean, with one token a separator of ``task``, and the decoding settings.

    ``max_length`` counts the tokens of a whole sequence; without one it is what the model reads, 1,024 at most.
    ``measured_with`` are the decoding settings that the model's task.json names.

    Raises:
        UserError: the model is no causal LM, has no tokenizer that can be used, or reads less than ``max_length``.
    """
    model_args = at_commit(model_args)
    config = load_config(model_args)
    settings = generation_settings(task, generation_args, measured_with)
    tokenizer, new_ids = add_separators(load_tokenizer(model_args, config), task.separators)
    length = sequence_length(max_length, tokenizer)
    encoder = Encoder(tokenizer, length, settings["max_new_tokens"], settings=settings, new_ids=new_ids)
    encoder.revision = model_args.model_revision
    return encoder


def open_model(task: Task, model_args: ModelArguments, encoder: Encoder) -> PreTrainedModel | PeftModel:
    """The weights for ``encoder``: with ``--lora_r`` under a new adapter, and of an adapter's folder with that adapter.

    Raises:
        UserError: the weights are missing or damaged, or an adapter does not fit.
    """
    model_args = copy.copy(model_args)
    model_args.model_revision = encoder.revision
    model = load_model(model_args, encoder.tokenizer, encoder.new_ids)
    model.generation_config = generation_config(encoder.settings, encoder.tokenizer)
    return add_adapter(model, model_args, encoder.tokenizer, task.separators)


def generation_config(settings: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """The settings as transformers' GenerationConfig, which is also what a run saves for ``pipeline``."""
    sampling = {name: settings[name] for name in ("top_k", "top_p", "temperature")} if settings["do_sample"] else {}
    return GenerationConfig(
        max_new_tokens=settings["max_new_tokens"],
        num_beams=settings["num_beams"],
        do_sample=settings["do_sample"],
        num_return_sequences=settings.get("num_return_sequences", 1),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,  # the Trainer switches it off for training
        # Named, because what is not is taken from the model's own generation_config: Qwen's carries a penalty.
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        **sampling,
    )
