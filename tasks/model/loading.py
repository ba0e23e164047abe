"""Load any causal language model for a tokenizer, or make an empty GPT-2."""

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
from tasks.model.adapters import attach_adapter, base_arguments
from tasks.model.quantization import four_bit_config, stay_trainable
from tasks.network import hub_failure

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

    from tasks.arguments.model import ModelArguments

# Where a repository has no safetensors, transformers would look for a pull request of the bot SFconvertbot, ask a Space to
# convert the weights, and do so in a thread. It reads this switch each time it loads weights, and all are loaded below.
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

#: What architectures call their dropout probabilities.
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "hidden_dropout", "embed_dropout", "dropout")


def load_config(model_args: ModelArguments) -> PretrainedConfig:
    """The model's config, of an adapter that of its base.

    Raises:
        UserError: there is none, it is damaged, or the model is not a causal LM.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    name = model_args.model
    if not Path(name).is_dir() and (name.startswith((".", "~", "/")) or name.count("/") > 1):
        raise UserError(f"--model {name}: no such folder; check the path")
    base = base_arguments(model_args)
    if base is not None:
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
    # AutoModelForCausalLM loads a BERT too, which then sees the tokens that it is to learn to predict.
    if type(config) in AutoModelForMaskedLM._model_mapping and not getattr(config, "is_decoder", False):
        raise UserError(f"{name}: {config.model_type} reads in both directions; take a GPT, Llama, Qwen or the like")
    return config


def at_commit(model_args: ModelArguments) -> ModelArguments:
    """The same arguments at the commit that a model's branch or tag stands for now.

    So tokenizer and weights are of one commit, which the model card can name. A folder, and what cannot be resolved, stays
    as it is: loading the config says what is wrong.
    """
    from huggingface_hub import is_offline_mode, resolve_revision

    resolved = copy.copy(model_args)
    if not Path(model_args.model).is_dir():
        with contextlib.suppress(Exception):
            revision = resolve_revision(
                model_args.model, revision=model_args.model_revision, local_files_only=is_offline_mode()
            )
            resolved.model_revision = revision.resolved
    return resolved


def hub_options(model_args: ModelArguments) -> dict[str, Any]:
    """Which version of a repository to load, and whether its own code may run."""
    return {"revision": model_args.model_revision, "trust_remote_code": model_args.trust_remote_code}


def load_model(
    model_args: ModelArguments, tokenizer: PreTrainedTokenizerFast, appended_ids: Sequence[int] = ()
) -> PreTrainedModel:
    """The model of a folder or the Hub, its embedding large enough for the tokenizer, its stop token the tokenizer's.

    Rows for ``appended_ids`` start at the mean of the old ones (Hewitt 2021, "Initializing new word embeddings"), whether
    the embedding has to grow (then to a multiple of 64, which keeps matrix units busy) or has slack at its end.

    Under an adapter the embedding has one row a token and no other changed: that is how stock PEFT makes it ready for the
    adapter, which brings the rows of its separators.

    Raises:
        UserError: the folder or repository is missing, damaged, or needs ``--trust_remote_code``; of an adapter, it or its
            base.
    """
    import torch

    base = base_arguments(model_args)
    model = _load_whole(base or model_args)
    frozen = base is not None or getattr(model_args, "lora_r", None) is not None
    old_rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > old_rows:
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=None if frozen else 64, mean_resizing=False)
    first_new = min([old_rows, *appended_ids])
    new = [*appended_ids, *range(old_rows, len(tokenizer))] if frozen else slice(first_new, None)
    matrices = [m.weight for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m is not None]
    with torch.no_grad():
        for matrix in {id(matrix): matrix for matrix in matrices}.values():  # tied: one matrix, changed once
            matrix[new] = matrix[:first_new].mean(dim=0)
    align_special_tokens(model, tokenizer)
    return model if base is None else attach_adapter(model, model_args)


def _load_whole(model_args: ModelArguments) -> PreTrainedModel:
    """The model as it lies in a folder or on the Hub. Raises UserError as ``load_model``."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

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
            # Safetensors where they are, whole or sharded, else pytorch_model.bin, of which torch reads the tensors alone.
            use_safetensors=None,
            weights_only=True,
            quantization_config=four_bit_config() if model_args.load_in_4bit else None,
            **hub_options(model_args),
        )
    except pickle.UnpicklingError as error:
        raise pickle_error(model_args.model, error) from None
    except (OSError, ValueError, KeyError, ImportError, SafetensorError, RuntimeError, EOFError) as error:
        raise weights_error(model_args) or model_error(model_args.model, error) from None
    except (AttributeError, TypeError) as error:  # what torch.load returned may be anything
        raise weights_error(model_args) or error from None
    if loading["missing_keys"]:  # transformers fills them with noise and only logs it
        names = sorted(loading["missing_keys"])
        raise UserError(
            f"{model_args.model}: {len(names)} weights that its config asks for are not there ({names[0]}); "
            "the folder is mixed from two models, or only a part of one"
        )
    if model_args.load_in_4bit:
        stay_trainable(model)
    return model


def align_special_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Make the model's configs name the tokenizer's bos, eos and pad, so that generation stops where it should."""
    model.loss_type = "ForCausalLM"  # what GPT2LMHeadModel falls back to anyway, with a warning: its name does not say it
    for config in (model.config, model.generation_config):
        config.bos_token_id = tokenizer.bos_token_id
        config.eos_token_id = tokenizer.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id


def weight_files(name: str, revision: str | None) -> list[Path]:
    """The files of a model's weights that are on this machine, in its folder or the Hub's cache: safetensors, else .bin."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(name)
    if not folder.is_dir():
        config = try_to_load_from_cache(name, "config.json", revision=revision)
        if not isinstance(config, str):
            return []
        folder = Path(config).parent
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def weights_error(model_args: ModelArguments) -> UserError | None:
    """What is wrong with a file of the weights, such as a download that broke off; None where nothing is known."""
    import torch

    from tasks.model.model_files import unreadable

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
    """What to tell of a pickle that torch refuses to read: it calls what makes no tensor, or is no file of torch."""
    called = re.search(r"GLOBAL (\S+)", str(error))
    if called is None:
        return UserError(f"{name}: its weights are no file of torch (a git-lfs pointer, or a web page?); download it again")
    return UserError(
        f"{name}: its weights are a pickle that would run code ({called[1]}), so it is not read; take a model whose weights "
        "are safetensors, or tensors alone"
    )


def model_error(name: str, error: Exception) -> UserError:
    """What a user needs to know of a model that could not be loaded."""
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
