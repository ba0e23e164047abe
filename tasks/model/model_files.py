"""The files of a model: their names, how they are found, and whether they are complete."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from tasks.network import hub_failure

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
#: The files of a whole model, and of an adapter. A folder holds only one kind, or programs would load a mixture.
WHOLE_FILES = ("config.json", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)


def find_file(name: str, file_name: str, revision: str | None) -> Path | None:
    """A file of the folder or Hub repository ``name``, downloaded or from the cache; None if it is missing.

    Raises:
        UserError: the connection broke off.
    """
    from transformers.utils import cached_file

    quiet = [f"_raise_exceptions_for_{problem}" for problem in ("missing_entries", "connection_errors", "gated_repo")]
    try:
        path = cached_file(name, file_name, revision=revision, **dict.fromkeys(quiet, False))
    except Exception as error:  # transformers lets a connection that broke off through
        if failure := hub_failure(name, error):
            raise failure from None
        if isinstance(error, OSError):  # no such repository: loading the model's config reports it
            return None
        raise
    return Path(path) if path else None


def unreadable(path: Path) -> str | None:
    """Why a file of a checkpoint or model is incomplete or damaged; None if its format shows no problem."""
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
    """Raises ValueError if the size differs from what the header says (8 bytes of length, JSON, tensors)."""
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
    (transformers#47553, unsloth#8444, mlx-lm#683), and settings of this machine. It leaves out the model's inputs, so
    transformers 4 would also pass ``token_type_ids``, which no model is trained with here: GPT-2 adds row 0 of its embedding
    to every position, and other models refuse them.
    """
    path = Path(folder) / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for note in ("is_local", "local_files_only", "backend"):
        config.pop(note, None)
    config["model_input_names"] = ["input_ids", "attention_mask"]
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", "utf-8")
