"""The config of a model before its weights are read: what kind of model it is, its sizes, and the commit that is read."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

from huggingface_hub import resolve_revision
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, PretrainedConfig

from tasks.arguments.model import ModelArguments
from tasks.errors import UserError
from tasks.model.adapters import base_arguments
from tasks.model.model_files import hub_options, model_error
from tasks.network import cache_only, near

#: Larger sizes in a config.json are a mistake, or meant to use up the memory: no published model has a tenth of them.
MOST = {"num_hidden_layers": 2000, "hidden_size": 10**6, "vocab_size": 10**8, "num_attention_heads": 10**5}


def load_config(model_args: ModelArguments) -> PretrainedConfig:
    """The model's config, or that of an adapter's base. Raises UserError if it is damaged or of no causal LM."""
    name = model_args.model
    if not Path(name).is_dir() and (name.startswith((".", "~", "/", "outputs/")) or name.count("/") > 1):
        raise UserError(f"--model {name}: no such folder{near(name)}; check the path")
    if base := base_arguments(model_args):
        try:
            return load_config(base)
        except UserError as error:
            raise UserError(
                f"{name} is an adapter, and its base {base.model} is needed too: {error} (base_model_name_or_path in its "
                "adapter_config.json may be changed)"
            ) from None
    try:
        options = hub_options(model_args)
        _refuse_kernels(model_args, PretrainedConfig.get_config_dict(name, **options)[0])
        config = AutoConfig.from_pretrained(name, **options)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # each architecture checks its config in a way of its own
        raise model_error(name, error) from None
    if type(config) not in AutoModelForCausalLM._model_mapping and not getattr(config, "auto_map", None):
        raise UserError(f"{name}: {config.model_type} is no causal language model; take a GPT, Llama, Qwen or the like")
    # AutoModelForCausalLM also loads BERT, whose attention would see the tokens to predict.
    if type(config) in AutoModelForMaskedLM._model_mapping and not getattr(config, "is_decoder", False):
        raise UserError(f"{name}: {config.model_type} reads in both directions; take a GPT, Llama, Qwen or the like")
    for size, most in MOST.items():
        value = getattr(config.get_text_config(decoder=True), size, None) or 1
        if not isinstance(value, int) or not 0 < value <= most:
            raise UserError(f"{name}: config.json says that {size} is {value!r:.40}, which no model has; look at the file")
    return config


def _refuse_kernels(model_args: ModelArguments, config: dict[str, Any]) -> None:
    """Raises UserError where the attention is code of the Hub, which transformers would download and run."""
    given, parts = [model_args.attn_implementation], [config] if isinstance(config, dict) else []
    while parts:
        for name, value in parts.pop().items():
            parts += [value] if isinstance(value, dict) else []
            given += [json.dumps(value)] if name.endswith("attn_implementation") else []
    if not model_args.trust_remote_code and (code := next((value for value in given if value and "/" in value), None)):
        raise UserError(
            f"{model_args.model}: its attention ({code}) is code of the Hub, which would run here; read it, then add "
            "--trust_remote_code"
        )


def at_commit(model_args: ModelArguments) -> ModelArguments:
    """The same arguments with the model's branch or tag resolved to its current commit.

    Tokenizer and weights are then of one commit, which the card names. A name that cannot be resolved is left unchanged:
    ``load_config`` reports it.
    """
    resolved = copy.copy(model_args)
    if not Path(model_args.model).is_dir():
        with contextlib.suppress(Exception):
            name, revision = model_args.model, model_args.model_revision
            found = resolve_revision(name, revision=revision, local_files_only=cache_only(name))
            resolved.model_revision = found.resolved
    return resolved
