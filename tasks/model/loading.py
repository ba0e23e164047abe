"""Load the config and the weights of a causal language model, with errors that say what to do."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError
from tasks.model.adapters import attach_adapter, base_arguments, four_bit_config, stay_trainable, token_layers
from tasks.model.model_files import unreadable
from tasks.network import hub_failure

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

    from tasks.arguments.model import ModelArguments

# For a repository without safetensors, transformers would search for a pull request of the bot SFconvertbot and ask a Space
# to convert the weights, in a thread. It reads this variable whenever it loads weights.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

#: The names of dropout probabilities in configs.
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "hidden_dropout", "embed_dropout", "dropout")


def load_config(model_args: ModelArguments) -> PretrainedConfig:
    """The model's config; for an adapter, that of its base.

    Raises:
        UserError: it is missing or damaged, or the model is not a causal LM.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    name = model_args.model
    if not Path(name).is_dir() and (name.startswith((".", "~", "/")) or name.count("/") > 1):
        raise UserError(f"--model {name}: no such folder; check the path")
    if base := base_arguments(model_args):
        try:
            return load_config(base)
        except UserError as error:
            raise UserError(
                f"{name} is an adapter, and its base {base.model} is needed too: {error} (base_model_name_or_path in its "
                "adapter_config.json may be changed)"
            ) from None
    try:
        config = AutoConfig.from_pretrained(name, **hub_options(model_args))
    except (OSError, ValueError, KeyError) as error:
        raise model_error(name, error) from None
    if type(config) not in AutoModelForCausalLM._model_mapping and not getattr(config, "auto_map", None):
        raise UserError(f"{name}: {config.model_type} is no causal language model; take a GPT, Llama, Qwen or the like")
    # AutoModelForCausalLM also loads BERT, whose attention would see the tokens to predict.
    if type(config) in AutoModelForMaskedLM._model_mapping and not getattr(config, "is_decoder", False):
        raise UserError(f"{name}: {config.model_type} reads in both directions; take a GPT, Llama, Qwen or the like")
    return config


def at_commit(model_args: ModelArguments) -> ModelArguments:
    """The same arguments with the model's branch or tag resolved to its current commit.

    Tokenizer and weights are then of one commit, which the model card names. A folder is left unchanged, and so is a name
    that cannot be resolved, which ``load_config`` reports.
    """
    from huggingface_hub import is_offline_mode, resolve_revision

    resolved = copy.copy(model_args)
    if not Path(model_args.model).is_dir():
        with contextlib.suppress(Exception):
            offline = is_offline_mode()
            found = resolve_revision(model_args.model, revision=model_args.model_revision, local_files_only=offline)
            resolved.model_revision = found.resolved
    return resolved


def hub_options(model_args: ModelArguments) -> dict[str, Any]:
    """Which version of a repository to load, and whether its own code may run."""
    return {"revision": model_args.model_revision, "trust_remote_code": model_args.trust_remote_code}


def load_model(
    model_args: ModelArguments, tokenizer: PreTrainedTokenizerFast, appended_ids: Sequence[int] = ()
) -> PreTrainedModel:
    """The model of a folder or the Hub, with an embedding for the tokenizer and the tokenizer's special tokens.

    Rows for ``appended_ids`` start at the mean of the old ones (Hewitt 2021, "Initializing new word embeddings"), whether
    the embedding has to grow (to a multiple of 64, which suits matrix units) or has unused rows at its end.

    With an adapter the embedding has one row per token, and only new rows are set: stock PEFT resizes it in the same way
    before it loads the adapter, which contains the rows of its separators.

    Raises:
        UserError: the model, the adapter or its base is missing, damaged, or needs ``--trust_remote_code``; a new adapter
            is asked for on top of an adapter that is not merged.
    """
    import torch

    base, new_adapter = base_arguments(model_args), getattr(model_args, "lora_r", None) is not None
    if base and new_adapter and not model_args.merge_adapter:
        raise UserError(
            f"--model {model_args.model} is an adapter, and a new adapter would need both it and its base; add "
            "--merge_adapter, or begin with a whole model"
        )
    model = _load_whole(base or model_args)
    old_rows = model.get_input_embeddings().weight.shape[0]
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


def _load_whole(model_args: ModelArguments) -> PreTrainedModel:
    """The model as it was saved. Raises UserError as ``load_model``."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, GPT2LMHeadModel

    # Constants that transformers itself saved in 2021, as in KoGPT2's weights: its report of them would say nothing.
    GPT2LMHeadModel._keys_to_ignore_on_load_unexpected = [r"\.attn\.masked_bias$"]
    config = load_config(model_args) if model_args.dropout is not None else None
    if config:
        for name in set(DROPOUTS) & set(config.to_dict()):
            setattr(config, name, model_args.dropout)
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            model_args.model,
            config=config,
            output_loading_info=True,
            dtype=getattr(torch, model_args.dtype),
            attn_implementation=model_args.attn_implementation,
            # Safetensors if there are any, whole or sharded, else pytorch_model.bin, from which torch reads only tensors.
            use_safetensors=None,
            weights_only=True,
            quantization_config=four_bit_config() if model_args.load_in_4bit else None,
            **hub_options(model_args),
        )
    except pickle.UnpicklingError as error:
        raise pickle_error(model_args.model, error) from None
    except (OSError, ValueError, KeyError, ImportError, SafetensorError, RuntimeError, EOFError) as error:
        raise weights_error(model_args) or model_error(model_args.model, error) from None
    except (AttributeError, TypeError) as error:  # torch.load may return any object
        raise weights_error(model_args) or error from None
    if loading["missing_keys"]:  # transformers initialises them randomly and only logs it
        names = sorted(loading["missing_keys"])
        raise UserError(
            f"{model_args.model}: {len(names)} weights that its config asks for are not there ({names[0]}); "
            "the folder is mixed from two models, or only a part of one"
        )
    if model_args.load_in_4bit:
        stay_trainable(model)
    return model


def align_special_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Set the tokenizer's special tokens in the model's configs, so that generation stops at its eos."""
    model.loss_type = "ForCausalLM"  # GPT2LMHeadModel falls back to it anyway, with a warning
    for name, token_id in special_ids(tokenizer).items():
        setattr(model.config, name, token_id)
        setattr(model.generation_config, name, token_id)


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """bos, eos and pad of the tokenizer by the names that configs have for them."""
    return {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def weight_files(name: str, revision: str | None) -> list[Path]:
    """The local files of a model's weights, in its folder or the Hub's cache: safetensors, else .bin."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(name)
    if not folder.is_dir():
        config = try_to_load_from_cache(name, "config.json", revision=revision)
        if not isinstance(config, str):
            return []
        folder = Path(config).parent
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def weights_error(model_args: ModelArguments) -> UserError | None:
    """The error of a damaged file of weights, such as a partial download; None if no file shows damage."""
    import torch

    name = model_args.model
    for path in weight_files(name, model_args.model_revision):
        problem, state = unreadable(path), {}
        if path.suffix == ".bin":
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                return pickle_error(name, error)
            except (OSError, RuntimeError, EOFError) as error:
                problem = f"{path.name} is damaged or cut off ({' '.join(str(error).split())[:100]})"
        if problem:
            return UserError(f"{name}: {problem}; delete {path.resolve()} and load it again")
        if not isinstance(state, dict) or not all(isinstance(k, str) and torch.is_tensor(v) for k, v in state.items()):
            return UserError(f"{name}: {path.name} holds something else than tensors by their names; take another model")
    return None


def pickle_error(name: str, error: pickle.UnpicklingError) -> UserError:
    """The error of a pickle that torch refuses to load: it calls other code, or is not a file of torch."""
    called = re.search(r"GLOBAL (\S+)", str(error))
    if called is None:
        return UserError(f"{name}: its weights are no file of torch (a git-lfs pointer, or a web page?); download it again")
    return UserError(
        f"{name}: its weights are a pickle that would run code ({called[1]}), so it is not read; take a model whose weights "
        "are safetensors, or tensors alone"
    )


def model_error(name: str, error: Exception) -> UserError:
    """The error of a model that could not be loaded, by its usual causes."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return UserError(f"{name}: this model runs code of its own; read it, then add --trust_remote_code")
    if failure := hub_failure(name, error):
        return failure
    if "a file named pytorch_model.bin or model.safetensors" in text:
        return UserError(
            f"{name}: neither model.safetensors nor pytorch_model.bin there; take another model or revision (offline, what "
            "is not in the cache counts as missing: run it once online)"
        )
    if "not a local folder" in text or "is not a valid model identifier" in text or "Repository Not Found" in text:
        return UserError(
            f"{name}: neither a folder nor a model on the Hub; check the spelling, or log in with `hf auth login`"
        )
    return UserError(f"{name}: the model cannot be loaded: {text[:300]}")
