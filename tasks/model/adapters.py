"""LoRA adapters by PEFT: put into a model, saved without it, found again beside their base, and merged."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError
from tasks.model.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, find_file

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from tasks.arguments.model import FineTuningArguments, ModelArguments


def is_adapter(model: Any) -> bool:
    """Whether ``model`` is PEFT's handle of an adapter inside of a model."""
    from transformers.trainer_utils import unwrap_peft_model

    return unwrap_peft_model(model) is not model


def add_adapter(
    model: PreTrainedModel, model_args: FineTuningArguments, tokenizer: PreTrainedTokenizerFast, separators: Sequence[str]
) -> PreTrainedModel | PeftModel:
    """What the Trainer trains: ``model`` itself, or with ``--lora_r`` PEFT's handle of an adapter in it.

    The adapter's layers are put into ``model``, so whoever holds it predicts with them. Everything else is frozen but the
    rows of the ``separators``, which mean nothing before training: in the embedding, and in a head that is not tied to it.

    Raises:
        UserError: a layer of ``--lora_target_modules`` is not there, or the model is an adapter itself.
    """
    if getattr(model_args, "lora_r", None) is None:
        return model
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers.pytorch_utils import Conv1D

    if not model_args.merge_adapter and base_arguments(model_args) is not None:
        raise UserError(
            f"--model {model_args.model} is an adapter, and a new adapter would need both it and its base; add "
            "--merge_adapter, or begin with a whole model"
        )
    if model_args.load_in_4bit:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # that is the Trainer's own flag
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=model_args.lora_r,
        lora_alpha=model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        target_modules=_target_modules(model, model_args.lora_target_modules),
        # GPT-2's weights are transposed; in 4 bits they are not, but their base may be loaded whole later.
        fan_in_fan_out=any(getattr(module, "source_cls", type(module)) is Conv1D for module in model.modules()),
        trainable_token_indices=_rows(model, tokenizer.convert_tokens_to_ids([str(s) for s in separators])),
        revision=model_args.model_revision,
    )
    adapted = get_peft_model(model, config)
    # A folder by its whole path: the adapter is of no use where its base is not found. Publishing writes the Hub id instead.
    name = model_args.model
    adapted.peft_config["default"].base_model_name_or_path = str(Path(name).resolve()) if Path(name).is_dir() else name
    return adapted


def _target_modules(model: PreTrainedModel, wanted: str) -> str | list[str]:
    """PEFT's ``target_modules`` of a flag. Raises UserError on a name that no linear layer ends in."""
    import torch
    from transformers.pytorch_utils import Conv1D

    from tasks.arguments.model import ALL_LINEAR

    if wanted == ALL_LINEAR:
        return wanted
    head = model.get_output_embeddings()
    linear = [n for n, m in model.named_modules() if isinstance(m, (torch.nn.Linear, Conv1D)) and m is not head]
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if not any(layer == name or layer.endswith(f".{name}") for layer in linear):
            known = ", ".join(sorted({layer.rpartition(".")[2] for layer in linear}))
            raise UserError(f"--lora_target_modules {name}: {model.config.model_type} has no such layer; it has {known}")
    return names


def _rows(model: PreTrainedModel, ids: list[int]) -> dict[str, list[int]] | None:
    """PEFT's ``trainable_token_indices``: the names of the embedding and of a head of its own. A tied one follows."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    matrices = [embedding] if head is None or head.weight is embedding.weight else [embedding, head]
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(matrix)]: list(ids) for matrix in matrices} if ids else None


def merge(model: Any, unload: bool = False) -> Any:
    """Add an adapter into the weights of its base; what is no adapter, or has its base in 4 bits, is returned as it is.

    The adapter's own weights stay, to be saved. With ``unload`` its layers are taken out, and the plain model is returned.
    """
    if not is_adapter(model) or getattr(model.get_base_model(), "is_loaded_in_4bit", False):
        return model
    if unload:
        return model.merge_and_unload()
    model.merge_adapter()
    return model


def save_adapter(model: PeftModel, folder: Path, state_dict: dict[str, torch.Tensor] | None = None) -> None:
    """Write an adapter without its base: its weights and config, and the settings for generation.

    Not by ``PeftModel.save_pretrained``: that writes a README.md over the run's card, and the whole embedding where it has
    grown, although the adapter has each of the new rows.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = get_peft_model_state_dict(model, state_dict=state_dict, save_embedding_layers=False)
    save_file(
        {name: weight.contiguous() for name, weight in weights.items()}, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"}
    )
    config = copy.copy(model.peft_config["default"])
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # a set, in another order each time
    config.save_pretrained(str(folder))
    model.get_base_model().generation_config.save_pretrained(folder)


def remove_files(folder: Path, patterns: Sequence[str]) -> None:
    """Take what an earlier run of the other kind left out of ``folder``."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def restore_adapter(model: PeftModel, folder: str | Path) -> None:
    """Load the weights of an adapter's folder into the adapter of ``model``.

    Raises:
        OSError, SafetensorError: they cannot be read.
        RuntimeError: they belong to an adapter of other layers or sizes.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(Path(folder) / ADAPTER_WEIGHTS)
    missing = get_peft_model_state_dict(model, save_embedding_layers=False).keys() - weights.keys()
    if missing:
        raise RuntimeError(f"{len(missing)} of its weights are not there ({min(missing)})")
    unexpected = set_peft_model_state_dict(model, weights).unexpected_keys
    if unexpected:
        raise RuntimeError(f"the model has no place for {len(unexpected)} of its weights ({min(unexpected)})")


def base_arguments(model_args: ModelArguments) -> ModelArguments | None:
    """The arguments that load the base of the adapter that ``model_args`` name; None where they name a whole model.

    Raises:
        UserError: PEFT is not installed, or the adapter's config is damaged or names no base.
    """
    path = find_file(model_args, ADAPTER_CONFIG)
    if path is None:
        return None
    if find_spec("peft") is None:
        raise UserError(f"{model_args.model} is an adapter, which needs PEFT; install it with: pip install -e '.[lora]'")
    try:
        config = json.loads(path.read_text("utf-8"))
        name, kind = config.get("base_model_name_or_path"), config.get("peft_type")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{model_args.model}: {ADAPTER_CONFIG} is damaged ({error}); train it again") from None
    if kind != "LORA":
        raise UserError(f"{model_args.model}: an adapter of the type {kind}; only LoRA is read here")
    if not isinstance(name, str) or not name:
        raise UserError(f"{model_args.model}: {ADAPTER_CONFIG} names no base; write it there as base_model_name_or_path")
    base = copy.copy(model_args)
    base.model, base.model_revision = name, config.get("revision")
    return base


def attach_adapter(model: PreTrainedModel, model_args: ModelArguments) -> PreTrainedModel:
    """``model``, the base, with the adapter that ``model_args`` name: added into its weights, or beside them in 4 bits.

    Raises:
        UserError: the adapter's weights are missing or damaged, or do not fit this model.
    """
    from peft import PeftConfig, get_peft_model
    from safetensors import SafetensorError

    name, weights = model_args.model, find_file(model_args, ADAPTER_WEIGHTS)
    if weights is None:
        raise UserError(f"{name}: {ADAPTER_WEIGHTS} is missing; pickled weights (.bin) are never loaded: save them again")
    base = model.name_or_path
    try:
        adapted = get_peft_model(model, PeftConfig.from_pretrained(str(weights.parent)))
        restore_adapter(adapted, weights.parent)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{name}: the adapter cannot be read ({error}); train it again") from None
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{name}: the adapter was made for another model than {base}: {text[:300]}") from None
    merged = merge(adapted, unload=True)
    return merged.get_base_model() if is_adapter(merged) else merged.requires_grad_(True)  # PEFT froze it
