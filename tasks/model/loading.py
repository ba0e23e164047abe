"""Load a model for a task: its encoder (tokenizer, separators, settings), its config and its weights."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
from collections.abc import Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    GPT2LMHeadModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tasks.arguments.generation import GenerationArguments, generation_settings
from tasks.arguments.model import ModelArguments
from tasks.base import Task
from tasks.errors import UserError
from tasks.model.adapters import (
    add_adapter,
    attach_adapter,
    base_arguments,
    four_bit_config,
    is_adapter,
    restore_adapter,
    stay_trainable,
    token_layers,
)
from tasks.model.config import at_commit, load_config
from tasks.model.model_files import hub_options, model_error, weights_error
from tasks.model.tokenizer import add_prompt, add_separators, load_tokenizer
from tasks.preparing.conversations import set_chat_template
from tasks.preparing.encoding import Encoder, sequence_length
from tasks.run_folder import is_export

if TYPE_CHECKING:
    from peft import PeftModel

# For a repository without safetensors, transformers would search for a pull request of the bot SFconvertbot and ask a Space
# to convert the weights, in a thread. It reads this variable whenever it loads weights.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

#: What loading a model raises if its files are missing, damaged or refused.
LOAD_ERRORS = (pickle.UnpicklingError, OSError, ValueError, KeyError, ImportError, SafetensorError, RuntimeError, EOFError)

#: Constants that transformers itself saved in 2021, as in KoGPT2's weights: its report of them would say nothing.
OLD_CONSTANTS = r"\.attn\.masked_bias$"

#: The names of dropout probabilities in configs.
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "hidden_dropout", "embed_dropout", "dropout")


def open_encoder(
    task: Task,
    model_args: ModelArguments,
    generation_args: GenerationArguments,
    max_length: int | None = None,
    measured_with: dict[str, Any] | None = None,
) -> Encoder:
    """The encoder of a model: its tokenizer with a token for each separator of ``task``, and the decoding settings.

    For several tasks ``of_parts`` are their encoders, which share the tokenizer; it is the one that has most room to write.

    ``max_length`` is the length of a whole sequence in tokens, by default what the model reads, at most 1,024.
    ``measured_with`` are the decoding settings of the model's task.json.

    Raises UserError if it is not a causal LM, has no tokenizer that preserves Korean, or reads less than ``max_length``.
    """
    model_args = at_commit(model_args)
    config = load_config(model_args)
    settings_of = [generation_settings(part, _suited(generation_args, part, task), measured_with) for part in task.parts]
    tokenizer = load_tokenizer(model_args, config)
    # One text in a message does not say which of several tasks is meant, so only a conversation among them has a template.
    templated = [part.conversational or len(task.parts) == 1 for part in task.parts]
    for part, settings in compress(zip(task.parts, settings_of), templated):
        set_chat_template(tokenizer, part, settings["system"])
    if not any(templated):
        tokenizer.chat_template = None
    tokenizer, new_ids = add_separators(tokenizer, task.separators)
    if task.head:  # it writes nothing, so no program may chat with it
        tokenizer = add_prompt(tokenizer, task)
        tokenizer.chat_template = None
        settings_of[0]["max_new_tokens"] = 1
    length = sequence_length(max_length, tokenizer)
    encoders = []
    for part, settings in zip(task.parts, settings_of):
        encoder = Encoder(tokenizer, length, settings["max_new_tokens"], settings=settings, new_ids=new_ids)
        encoder.revision = model_args.model_revision
        if part.head:
            encoder.classes = {str(word): number for number, word in enumerate(part.label_words.values())}
        elif part.learns_labels:
            encoder.keep_room_for_labels(part)
        encoders.append(encoder)
    widest = max(encoders, key=lambda encoder: encoder.max_new_tokens)
    widest.of_parts = encoders
    return widest


def _suited(arguments: GenerationArguments, part: Task, task: Task) -> GenerationArguments:
    """The arguments for a part of several tasks, without those that suit others of them alone."""
    kinds = {"extractive": "extractive", "system": "conversational"}
    others = [flag for flag, kind in kinds.items() if not getattr(part, kind) and any(getattr(t, kind) for t in task.parts)]
    return dataclasses.replace(arguments, **dict.fromkeys(others)) if others else arguments


def open_model(task: Task, model_args: ModelArguments, encoder: Encoder) -> PreTrainedModel | PeftModel:
    """The model for ``encoder``; with ``--lora_r`` it gets a new adapter, and an adapter is loaded with its base.

    Raises UserError if the weights are missing or damaged, or an adapter does not fit its base.
    """
    model_args = copy.copy(model_args)
    model_args.model_revision = encoder.revision
    model = load_model(model_args, encoder.tokenizer, encoder.new_ids, list(task.label_words) if task.head else None)
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


def load_model(
    model_args: ModelArguments,
    tokenizer: PreTrainedTokenizerFast,
    appended_ids: Sequence[int] = (),
    classes: Sequence[str] | None = None,
) -> PreTrainedModel:
    """The model of a folder or the Hub, with an embedding for the tokenizer and the tokenizer's special tokens.

    Rows for ``appended_ids`` start at the mean of the old ones (Hewitt 2021, "Initializing new word embeddings"), whether
    the embedding has to grow (to a multiple of 64) or has unused rows at its end. With an adapter it has one row per token,
    as stock PEFT resizes it. With ``classes`` it has a classification head for them, a new one where it has none yet.

    Raises UserError if the model, the adapter or its base is missing, damaged, or needs ``--trust_remote_code``, or if a new
    adapter is asked for on top of one that is not merged.
    """
    if is_export(model_args.model):
        raise UserError(f"--model {model_args.model} is a copy for CTranslate2, which cannot be trained; name the run")
    base, new_adapter = base_arguments(model_args), getattr(model_args, "lora_r", None) is not None
    if base and new_adapter and not model_args.merge_adapter:
        raise UserError(
            f"--model {model_args.model} is an adapter, and a new adapter would need both it and its base; add "
            "--merge_adapter, or begin with a whole model"
        )
    model = _load_whole(base or model_args, classes)
    old_rows = model.get_input_embeddings().weight.shape[0]
    if not base and len(tokenizer) - len(appended_ids) > old_rows:
        raise UserError(
            f"{model_args.model}: its tokenizer has {len(tokenizer) - len(appended_ids):,} tokens and its weights know "
            f"{old_rows:,}, so it is another model's; put the model's own tokenizer.json there"
        )
    first_new = min([old_rows, *appended_ids])
    if base or new_adapter:
        rows_to_set, multiple = [*appended_ids, *range(old_rows, len(tokenizer))], None
    else:
        rows_to_set, multiple = slice(first_new, None), 64
    if len(tokenizer) > old_rows:
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple, mean_resizing=False)
    with torch.no_grad():
        for layer in token_layers(model):
            layer.weight[rows_to_set] = layer.weight[:first_new].mean(dim=0)
    align_special_tokens(model, tokenizer)
    return attach_adapter(model, model_args) if base else model


def _load_whole(model_args: ModelArguments, classes: Sequence[str] | None = None) -> PreTrainedModel:
    """The model as it was saved, or its base under a classification head. Raises UserError as ``load_model``."""
    GPT2LMHeadModel._keys_to_ignore_on_load_unexpected = [OLD_CONSTANTS]
    config = load_config(model_args) if model_args.dropout is not None or classes else None
    if model_args.dropout is not None:
        for name in set(DROPOUTS) & set(config.to_dict()):
            setattr(config, name, model_args.dropout)
    kind = _classifier(config, classes, model_args.model) if classes else AutoModelForCausalLM
    try:
        model, loading = kind.from_pretrained(
            model_args.model,
            config=config,
            output_loading_info=True,
            dtype=getattr(torch, model_args.dtype),
            attn_implementation=model_args.attn_implementation,
            weights_only=True,  # from pytorch_model.bin, which is read if there are no safetensors
            quantization_config=four_bit_config() if model_args.load_in_4bit else None,
            **hub_options(model_args),
        )
    except LOAD_ERRORS as error:
        raise weights_error(model_args) or model_error(model_args.model, error) from None
    except (AttributeError, TypeError) as error:  # torch.load may return any object
        raise weights_error(model_args) or error from None
    if loading["missing_keys"]:  # transformers initialises them randomly and only logs it
        names = sorted(loading["missing_keys"])
        raise UserError(
            f"{model_args.model}: {len(names)} weights that its config asks for are not there ({names[0]}); "
            "the folder is mixed from two models, or only a part of one"
        )
    broken = [n for n, w in model.named_parameters() if w.is_floating_point() and not w.sum(dtype=torch.float32).isfinite()]
    if broken:
        raise UserError(f"{model_args.model}: {len(broken)} of its weights hold NaN or infinity ({broken[0]}); take another")
    if model_args.load_in_4bit:
        stay_trainable(model)
    return model


def _classifier(config: PretrainedConfig, classes: Sequence[str], name: str) -> type[PreTrainedModel]:
    """The class of the model with a classification head; ``config`` gets the names of its classes.

    Raises UserError where transformers has no such head, or the model has one with other classes.
    """
    kind = AutoModelForSequenceClassification._model_mapping.get(type(config), None)
    if kind is None:
        raise UserError(f"--head: transformers has no classification head for {config.model_type}; leave it out")
    has_head, known = kind.__name__ in (config.architectures or ()), list(config.id2label.values())
    if has_head and known != list(classes):
        raise UserError(
            f"{name}: its classification head knows {', '.join(known[:5])}, and the rows have {', '.join(classes[:5])}; "
            "take the model that it was made from"
        )
    config.id2label = dict(enumerate(classes))
    config.label2id = {label: number for number, label in config.id2label.items()}
    # transformers would report each as a mistake: the new head, and that of the language model.
    kind._keys_to_ignore_on_load_missing = [] if has_head else [r"^score\."]
    kind._keys_to_ignore_on_load_unexpected = [OLD_CONSTANTS, r"^(lm_head|embed_out)\."]
    return kind


def align_special_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Set the tokenizer's special tokens in the model's configs, so that generation stops at its eos."""
    model.loss_type = "ForCausalLM"  # GPT2LMHeadModel falls back to it anyway, with a warning
    for config in filter(None, (model.config, getattr(model, "generation_config", None))):  # a classifier has none
        for name, token_id in special_ids(tokenizer).items():
            setattr(config, name, token_id)


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """bos, eos and pad of the tokenizer by the names that configs have for them."""
    return {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def restore(model: PreTrainedModel, folder: str) -> None:
    """Load a checkpoint's weights by ``from_pretrained``, which knows under which names a model saves them.

    The plain Trainer feeds the file to ``load_state_dict(strict=False)``: GPT-NeoX saves its head as ``embed_out``, so a
    resumed or best model quietly keeps the head of the last step.

    Raises:
        UserError: the weights cannot be read, or are those of another model.
    """
    if is_adapter(model):
        flags, load = "--lora_r and --lora_target_modules", restore_adapter
    else:
        flags, load = "--model, or the --model_size and --architecture,", _restore_whole
    try:
        load(model, folder)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder}: the checkpoint cannot be read ({error}); resume from an earlier one") from None
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise UserError(
            f"{folder} is a checkpoint of another model ({problem}); resume with the {flags} that the run began with"
        ) from None


def _restore_whole(model: PreTrainedModel, folder: str) -> None:
    """Raises RuntimeError where the weights are those of another model."""
    # By the config of this model: a checkpoint of another architecture would be built by whatever its own does not say.
    options = {"config": model.config, "dtype": model.dtype, "use_safetensors": True, "ignore_mismatched_sizes": True}
    saved, found = type(model).from_pretrained(folder, **options, output_loading_info=True)
    if other := [*found["mismatched_keys"], *found["missing_keys"], *found["unexpected_keys"]]:
        raise RuntimeError(f"{len(other)} weights differ")
    model.load_state_dict(saved.state_dict())
