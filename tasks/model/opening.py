"""Open a model for a task: first its encoder, then its weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from tasks.arguments.generation import generation_settings
from tasks.base import Task
from tasks.model.adapters import add_adapter
from tasks.model.loading import at_commit, load_config, load_model, special_ids
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
    """The encoder of a model: its tokenizer with a token for each separator of ``task``, and the decoding settings.

    ``max_length`` is the length of a whole sequence in tokens, by default what the model reads, at most 1,024.
    ``measured_with`` are the decoding settings of the model's task.json.

    Raises:
        UserError: the model is not a causal LM, has no tokenizer that preserves Korean, or reads less than ``max_length``.
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
    """The model for ``encoder``; with ``--lora_r`` it gets a new adapter, and an adapter is loaded with its base.

    Raises:
        UserError: the weights are missing or damaged, or an adapter does not fit its base.
    """
    model_args = copy.copy(model_args)
    model_args.model_revision = encoder.revision
    model = load_model(model_args, encoder.tokenizer, encoder.new_ids)
    model.generation_config = generation_config(encoder.settings, encoder.tokenizer)
    return add_adapter(model, model_args, encoder.tokenizer, task.separators)


def generation_config(settings: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """The settings as a GenerationConfig, which a run also saves, for ``pipeline``."""
    sampling = ("top_k", "top_p", "temperature") if settings["do_sample"] else ()
    return GenerationConfig(
        **{name: settings[name] for name in ("max_new_tokens", "num_beams", "do_sample", *sampling)},
        num_return_sequences=settings.get("num_return_sequences", 1),
        use_cache=True,  # the Trainer disables it for training
        # Set, because the model's own generation_config would be used otherwise: Qwen's has a penalty.
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        **special_ids(tokenizer),
    )
