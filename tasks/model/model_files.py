"""The files of a model: their names, where they are found, and whether they are whole."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.network import hub_failure

if TYPE_CHECKING:
    from tasks.arguments.model import ModelArguments

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
#: What a folder holds of a whole model, and of an adapter: one of the two, or programs would load a mixture.
WHOLE_FILES = ("config.json", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)


def find_file(model_args: ModelArguments, file_name: str) -> Path | None:
    """A file of a folder, the Hub or its cache; None where it is not there."""
    from transformers.utils import cached_file

    try:
        path = cached_file(
            model_args.model,
            file_name,
            revision=model_args.model_revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
    except OSError:  # no such repository: loading the model will say so
        return None
    except Exception as error:  # a connection that broke off comes through as it is
        raise hub_failure(model_args.model, error) or error from None
    return Path(path) if path else None


def unreadable(path: Path) -> str | None:
    """Why a file of a checkpoint or a model cannot be whole, by its format; None where nothing is known to be wrong."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        elif path.suffix == ".safetensors":
            _check_safetensors(path)
        elif path.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(path) as archive:
                if name := archive.testzip():
                    return f"{path.name} is damaged (at {name})"
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        return f"{path.name} is damaged or cut off ({' '.join(str(error).split())[:100]})"
    return None


def _check_safetensors(path: Path) -> None:
    """Raises ValueError where the file is shorter or longer than its header says (8 bytes of length, JSON, tensors)."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError(f"{size:,} bytes, shorter than its own header")
        header = json.loads(file.read(length))
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    if size != 8 + length + end:
        raise ValueError(f"{size:,} bytes, and its header tells of {8 + length + end:,}")


def make_portable(folder: str | Path) -> None:
    """Rewrite a saved tokenizer_config.json so that other programs can read it.

    transformers 5 writes a class name (``TokenizersBackend``) that transformers 4, llama.cpp and mlx do not know
    (transformers#47553, unsloth#8444, mlx-lm#683), and notes about this machine. It leaves out which inputs the model takes,
    and transformers 4 then hands it ``token_type_ids``: GPT-2 adds row 0 of its embedding to every position, and others
    refuse them. No model is trained on these here, so they are never named, whatever the base's own tokenizer says.
    """
    path = Path(folder) / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for note in ("is_local", "local_files_only", "backend"):
        config.pop(note, None)
    config["model_input_names"] = ["input_ids", "attention_mask"]
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", "utf-8")
