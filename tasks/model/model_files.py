"""The files of a model: their names, how they are found, and what is wrong with those that cannot be loaded."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from tasks.errors import UserError
from tasks.network import cache_only, hub_failure

if TYPE_CHECKING:
    from tasks.arguments.model import ModelArguments

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
#: The files of a whole model, and of an adapter. A folder holds only one kind, or programs would load a mixture.
WHOLE_FILES = ("config.json", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)


def hub_options(model_args: ModelArguments) -> dict[str, Any]:
    """Which version of a repository to load, whether from the cache alone, and whether its own code may run."""
    return {
        "revision": model_args.model_revision,
        "trust_remote_code": model_args.trust_remote_code,
        "local_files_only": cache_only(model_args.model),
    }


def find_file(name: str, file_name: str, revision: str | None) -> Path | None:
    """A file of the folder or Hub repository ``name``, downloaded or from the cache; None if it is missing.

    Raises UserError if the connection breaks off.
    """
    from transformers.utils import cached_file

    quiet = [f"_raise_exceptions_for_{problem}" for problem in ("missing_entries", "connection_errors", "gated_repo")]
    try:
        options = {"revision": revision, "local_files_only": cache_only(name)} | dict.fromkeys(quiet, False)
        path = cached_file(name, file_name, **options)
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
            with safe_open(path, "numpy"):  # reads the header, and compares the size with it
                pass
        elif path.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(path) as archive:
                if name := archive.testzip():
                    return f"{path.name} is damaged (at {name})"
    except (OSError, ValueError, RecursionError, SafetensorError, zipfile.BadZipFile) as error:
        return f"{path.name} is damaged or cut off ({' '.join(str(error).split())[:100]})"
    return None


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
                return model_error(name, error)
            except (OSError, RuntimeError, EOFError) as error:
                problem = f"{path.name} is damaged or cut off ({' '.join(str(error).split())[:100]})"
        if problem:
            broken = path if Path(name).is_dir() else path.resolve()  # of the Hub's cache the file, of a folder no other's
            return UserError(f"{name}: {problem}; delete {broken} and load it again")
        if not isinstance(state, dict) or not all(isinstance(k, str) and torch.is_tensor(v) for k, v in state.items()):
            return UserError(f"{name}: {path.name} holds something else than tensors by their names; take another model")
    return None


def model_error(name: str, error: Exception) -> UserError:
    """The error of a model that could not be loaded, by its usual causes; torch refuses pickles that call other code."""
    text = " ".join(str(error).split())
    if isinstance(error, pickle.UnpicklingError):
        called = re.search(r"GLOBAL (\S+)", text)
        if called is None:
            return UserError(
                f"{name}: its weights are no file of torch (a git-lfs pointer, or a web page?); download it again"
            )
        return UserError(
            f"{name}: its weights are a pickle that would run code ({called[1]}), so it is not read; take a model whose "
            "weights are safetensors, or tensors alone"
        )
    if "trust_remote_code" in text:
        return UserError(f"{name}: this model runs code of its own; read it, then add --trust_remote_code")
    if failure := hub_failure(name, error):
        return failure
    if "a file named pytorch_model.bin or model.safetensors" in text:
        return UserError(
            f"{name}: neither model.safetensors nor pytorch_model.bin there; take another model or revision (offline, what "
            "is not in the cache counts as missing: run it once online)"
        )
    return UserError(f"{name}: the model cannot be loaded: {text[:300]}")


def make_portable(folder: str | Path) -> None:
    """Rewrite a saved tokenizer_config.json so that other programs can read it.

    transformers 5 writes a class name (``TokenizersBackend``) that transformers 4, llama.cpp and mlx do not know
    (transformers#47553, unsloth#8444, mlx-lm#683), and leaves out the model's inputs, so that transformers 4 would also pass
    ``token_type_ids``, which no model is trained with here.
    """
    path = Path(folder) / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for note in ("is_local", "local_files_only", "backend"):
        config.pop(note, None)
    if isinstance(config.get("extra_special_tokens"), list):  # transformers 4 takes a mapping there; both know the old name
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    config["model_input_names"] = ["input_ids", "attention_mask"]
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", "utf-8")
