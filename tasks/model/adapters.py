"""LoRA adapters (PEFT) and base weights in 4 bits (QLoRA): add, save, restore, attach and merge an adapter."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.arguments.model import ALL_LINEAR, FineTuningArguments, ModelArguments
from tasks.errors import UserError
from tasks.model.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, find_file

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerFast

# PEFT 0.21 asks a model for a name that transformers has replaced, which would be told at each run.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)


def is_adapter(model: Any) -> bool:
    """Whether ``model`` is a PeftModel, also under wrappers of the Trainer."""
    from transformers.trainer_utils import unwrap_peft_model

    return unwrap_peft_model(model) is not model


def add_adapter(
    model: PreTrainedModel, model_args: FineTuningArguments, tokenizer: PreTrainedTokenizerFast, separators: Sequence[str]
) -> PreTrainedModel | PeftModel:
    """The model to train: ``model`` itself, or with ``--lora_r`` a PeftModel with a new adapter, inserted in place.

    All other weights are frozen except the rows of the ``separators`` in the embedding and in a head that is not tied to it.
    Raises UserError if the model has no layer that ``--lora_target_modules`` names.
    """
    if getattr(model_args, "lora_r", None) is None:
        return model
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers.pytorch_utils import Conv1D

    if model_args.load_in_4bit:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # the Trainer enables it if asked
    ids = tokenizer.convert_tokens_to_ids([str(separator) for separator in separators])
    layers = token_layers(model)
    rows = {name: ids for name, layer in model.named_modules() if any(layer is each for each in layers)}
    config = LoraConfig(
        task_type="CAUSAL_LM" if model.can_generate() else "SEQ_CLS",  # which trains the classification head, too
        r=model_args.lora_r,
        lora_alpha=model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        target_modules=_target_modules(model, model_args.lora_target_modules),
        # GPT-2's weights are transposed. In 4 bits they are not, but the base may later be loaded without quantization.
        fan_in_fan_out=any(getattr(module, "source_cls", type(module)) is Conv1D for module in model.modules()),
        trainable_token_indices=rows if ids else None,
        revision=model_args.model_revision,
    )
    adapted = get_peft_model(model, config)
    name, config = model_args.model, adapted.peft_config["default"]
    # The absolute path of a folder, so that the base is found from anywhere. Publishing writes the Hub id instead.
    config.base_model_name_or_path = str(Path(name).resolve()) if Path(name).is_dir() else name
    config.target_modules = sorted(config.target_modules)  # a set, whose order in the saved file would vary
    return adapted


def _target_modules(model: PreTrainedModel, wanted: str) -> str | list[str]:
    """PEFT's ``target_modules`` for the value of the flag. Raises UserError on a name that no linear layer has."""
    import torch
    from transformers.pytorch_utils import Conv1D

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


def token_layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The layers with one row per token: the embedding, and the head unless it is tied to it."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return [embedding] if head is None or head.weight is embedding.weight else [embedding, head]


def merge(model: Any, unload: bool = False) -> Any:
    """Merge an adapter into its base, and with ``unload`` return that; other models and bases in 4 bits stay unchanged."""
    if not is_adapter(model) or getattr(model.get_base_model(), "is_loaded_in_4bit", False):
        return model
    if unload:
        return model.merge_and_unload()
    model.merge_adapter()
    return model


def save_adapter(model: PeftModel, folder: Path, state_dict: dict[str, torch.Tensor] | None = None) -> None:
    """Save an adapter without its base: weights, config and generation config."""
    model.create_or_update_model_card = lambda folder: None  # PEFT's card would overwrite the run's
    # Even if the embedding has grown, the adapter contains every new row.
    model.save_pretrained(str(folder), save_embedding_layers=False, state_dict=state_dict)
    model.get_base_model().generation_config.save_pretrained(folder)


def remove_files(folder: Path, patterns: Sequence[str]) -> None:
    """Delete the files of ``folder`` that match, such as those of an earlier run that saved the other kind of model."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def restore_adapter(model: PeftModel, folder: str | Path) -> None:
    """Load the weights of an adapter's folder into the adapter of ``model``.

    Raises:
        OSError, SafetensorError: they cannot be read.
        RuntimeError: they belong to an adapter with other layers or sizes.
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
    """The arguments that load the base if ``model_args`` name an adapter; None if they name a whole model.

    Raises UserError if PEFT is not installed, or the adapter's config is damaged or names no base.
    """
    path = find_file(model_args.model, ADAPTER_CONFIG, model_args.model_revision)
    if path is None:
        return None
    if find_spec("peft") is None:
        raise UserError(f"{model_args.model} is an adapter, which needs PEFT; install it with: pip install -e '.[lora]'")
    try:
        config = json.loads(path.read_text("utf-8"))
        name, kind = config.get("base_model_name_or_path"), config.get("peft_type")
        patterns = [config.get("target_modules"), config.get("exclude_modules"), config.get("layers_pattern")]
        patterns += [*(config.get("rank_pattern") or {}), *(config.get("alpha_pattern") or {})]
    except (ValueError, TypeError, RecursionError, AttributeError) as error:
        raise UserError(f"{model_args.model}: {ADAPTER_CONFIG} is damaged ({error}); train it again") from None
    if kind != "LORA":
        raise UserError(f"{model_args.model}: an adapter of the type {kind}; only LoRA is read here")
    if not isinstance(name, str) or not name:
        raise UserError(f"{model_args.model}: {ADAPTER_CONFIG} names no base; write it there as base_model_name_or_path")
    for pattern in patterns:  # a regular expression, which PEFT matches with the name of each layer
        if isinstance(pattern, str) and (re.search(r"\)[*+{]", pattern) or len(re.findall(r"[*+{]", pattern)) > 3):
            raise UserError(
                f"{model_args.model}: {ADAPTER_CONFIG} holds {pattern[:40]!r}, a regular expression that may take forever; "
                "write the names of the layers as a list"
            )
    base = copy.copy(model_args)
    base.model, base.model_revision = name, config.get("revision")
    return base


def attach_adapter(model: PreTrainedModel, model_args: ModelArguments) -> PreTrainedModel:
    """The base ``model`` with the adapter that ``model_args`` name: merged, or unmerged if the base is in 4 bits.

    Raises UserError if the adapter's weights are missing or damaged, or do not fit this model.
    """
    from peft import PeftConfig, get_peft_model
    from safetensors import SafetensorError

    name, base = model_args.model, model.name_or_path
    weights = find_file(name, ADAPTER_WEIGHTS, model_args.model_revision)
    if weights is None:
        raise UserError(f"{name}: {ADAPTER_WEIGHTS} is missing; pickled weights (.bin) are never loaded: save them again")
    try:
        adapted = get_peft_model(model, PeftConfig.from_pretrained(str(weights.parent)))
        restore_adapter(adapted, weights.parent)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{name}: the adapter cannot be read ({error}); train it again") from None
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{name}: the adapter was made for another model than {base}: {text[:300]}") from None
    merged = merge(adapted, unload=True)
    return merged.get_base_model() if is_adapter(merged) else merged.requires_grad_(True)  # PEFT froze the base


def four_bit_config() -> BitsAndBytesConfig:
    """Linear layers in 4-bit NormalFloat with double quantization (Dettmers et al. 2023, section 3).

    They compute in bfloat16; a GPU without it in float16, a CPU in float32.
    """
    import torch
    from transformers import BitsAndBytesConfig

    compute = torch.float32
    if torch.cuda.is_available():
        compute = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def stay_trainable(model: PreTrainedModel) -> None:
    """Keep bitsandbytes 0.50 on CPUs with AVX512-BF16 from packing the weights, which could not be trained after that."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
