"""The facts that a card states about a run: base model, data, machine, versions, command. No host, user or folder names."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.arguments.data import DataArguments
from tasks.arguments.publishing import PublishArguments
from tasks.base import Task
from tasks.errors import UserError
from tasks.model.model_files import find_file
from tasks.publishing.license import FINGERPRINTS, LICENSES, base_license, dataset_license
from tasks.publishing.merge import read_front
from tasks.publishing.report import REPORT_FILE, Base, Data, RunReport, json_object
from tasks.publishing.secrets import find_private, find_secrets
from tasks.run_folder import TASK_FILE, without_folders

if TYPE_CHECKING:
    from tasks.reading.sources import DataSource

#: Packages that results depend on.
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "evaluate", "rouge-score", "kiwipiepy", "peft")

ROOT = Path(__file__).resolve().parents[2]


def base_of(model_args: Any, publish_args: PublishArguments) -> Base:
    """The base of a run; ``model_args`` are ModelArguments or, for a model from nothing, ScratchArguments."""
    if not hasattr(model_args, "model"):
        return Base(from_scratch=True)
    return base_facts(model_args.model, model_args.model_revision, publish_args.base_model)


def base_facts(model: str, revision: str | None = None, hub_id: str | None = None) -> Base:
    """What is known of the base model, a Hub id or a folder; ``hub_id`` is what the user says that a folder is a copy of.

    The licence of a model on the Hub that licenses.yaml does not list is read from its card, where that can be reached.
    """
    folder = Path(model)
    if hub_id is None and folder.is_dir():
        return _folder_facts(folder.resolve())
    hub_id = hub_id or model
    known = _table_facts(hub_id) or _card_facts(find_file(hub_id, "README.md", revision))
    return Base(name=hub_id, **{**known, "hub_id": hub_id}, revision=revision)


def _folder_facts(folder: Path) -> Base:
    """The base of a model in a folder: from the report of a run, the path in the Hub's cache, or the folder's card.

    Where the card names no base, a copy of a known model is recognised by its config.json or vocabulary.
    """
    card = _card_facts(folder / "README.md")
    if (folder / REPORT_FILE).is_file():
        earlier = vars(RunReport.load(folder).base)
        return Base(**(earlier | card | {"name": folder.name, "copy": None}))  # its own licence may be stricter
    if cached := re.search(r"/models--([^/]+)/snapshots/([^/]+)$", folder.as_posix()):
        return base_facts(cached[1].replace("--", "/"), cached[2])
    paths = (folder / "config.json", folder / "tokenizer.json")
    config, tokenizer = (json_object(path.read_text("utf-8", "replace") if path.is_file() else None) for path in paths)
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    hub_id = copied_model(config, vocabulary if isinstance(vocabulary, dict) else ())  # BPE, WordPiece: token to id
    if hub_id is None or "hub_id" in card:
        license = "-".join(str(config.get("license")).lower().split())  # CC-BY-NC-SA 4.0
        return Base(name=folder.name, **({"license": license} if license in LICENSES else {}) | card)
    known = _table_facts(hub_id) | {"hub_id": hub_id}
    # A checkpoint of this project still has the config of its base, and weights of its own.
    checkpoint = (folder / TASK_FILE).is_file()
    return Base(name=folder.name, **known) if checkpoint else Base(name=hub_id, copy=folder.name, **known)


def copied_model(config: Mapping[str, Any], vocabulary: Iterable[str]) -> str | None:
    """The Hub id of the known model whose config.json or vocabulary this is; None where it is none of them.

    Tokens in ``<>`` do not count: a run of this project renames the free ones among them. A config with other values than
    those of the known model rules it out, whatever the vocabulary is.
    """
    words = sorted(token for token in vocabulary if not (token.startswith("<") and token.endswith(">")))
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
    for hub_id, known in FINGERPRINTS.items():
        found = {key: config[key] for key in known["config"] if key in config}
        if found == known["config"] or (not found and digest == known["vocabulary"]):
            return hub_id
    return None


def adapter_base(base: Base) -> str:
    """The Hub id of an adapter's own base. Raises UserError where that is a folder: nobody else could load the adapter.

    A folder may derive from a model on the Hub (``hub_id``) and have other weights. That it looks like a copy is not enough
    here: an adapter does harm on weights that are only a little different.
    """
    if base.copy:
        raise UserError(
            f"the base of this adapter is the local folder {base.copy!r}, which looks like a copy of {base.hub_id}; if it "
            f"is one, say so by --base_model {base.hub_id}; if not, train with --merge_adapter"
        )
    if base.hub_id is None or base.name != base.hub_id:
        raise UserError(
            f"the base of this adapter is the local model {base.name!r}, which nobody else has; name the Hub id that it is "
            "a copy of by --base_model, publish the base first and train on it, or train with --merge_adapter"
        )
    return base.hub_id


def _table_facts(hub_id: str) -> dict[str, Any]:
    """Licence of a model in the table of base models, nothing where it is not there."""
    known = base_license(hub_id)
    return {name: getattr(known, name) for name in ("license", "license_name", "license_link")} if known else {}


def _card_facts(card: Path | None) -> dict[str, Any]:
    """Licence and base model of a model card; nothing where it is missing or broken."""
    if card is None or not card.is_file():
        return {}
    values = read_front(card.read_text("utf-8", errors="replace"))
    bases = values.get("base_model") or []
    facts = {key: values[key] for key in ("license", "license_name", "license_link") if isinstance(values.get(key), str)}
    first = bases if isinstance(bases, str) else bases[0] if isinstance(bases, list) and bases else None
    return facts | ({"hub_id": first} if isinstance(first, str) else {})


def data_license(task: Task, data_args: DataArguments) -> str | None:
    """The licence of the rows, where it is known: the sample's, or that of a public data set."""
    if data_args.sample_data:
        return "cc0-1.0"
    if data_args.train_file or data_args.validation_file or data_args.test_file:
        return None
    default = task.default_dataset
    return default.license if data_args.dataset in (None, default.id) else dataset_license(data_args.dataset)


def data_facts(task: Task, data_args: DataArguments, source: DataSource) -> Data:
    """Where the rows of a run came from: what was read of the Hub, files by the hash of their bytes."""
    shared = "train" in source.splits and "validation" not in source.splits
    share = data_args.validation_split if shared else None
    own = {"license": data_license(task, data_args), "validation_share": share, "choices": source.choices}
    return Data(**source.describe(), **own)


def versions() -> dict[str, str]:
    """Python and the packages that results depend on, those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: Any, processes: int) -> dict[str, Any]:
    """The kind of machine: accelerators or processor, memory in GiB, processes. Never its name."""
    import torch

    found: dict[str, Any] = {"processes": processes, "system": platform.system()}
    if device.type == "cuda":
        found["accelerator"] = torch.cuda.get_device_name(device)
        found["accelerator_memory_gib"] = round(torch.cuda.get_device_properties(device).total_memory / 2**30)
    elif device.type != "cpu":
        found["accelerator"] = device.type
    found["processor"] = _processor()
    found["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {name: value for name, value in found.items() if value}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = re.findall(r"^model name\s*:\s*(.+)$", cpuinfo.read_text("utf-8", errors="replace"), re.MULTILINE)
        if names:
            return names[0].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """The commit of this project that ran, ``-dirty`` where its files were changed; None outside of a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return None  # installed inside of somebody else's repository
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def command(argv: Sequence[str], processes: int = 1) -> str:
    """The command line of the run, as far as others may see it."""
    script, *arguments = argv
    program = f"torchrun --nproc_per_node {processes}" if processes > 1 else "python"
    return f"{program} scripts/{Path(script).name} {shlex.join(map(public, arguments))}".rstrip()


def repeatable(command: str, base: Base) -> str:
    """``command`` with the Hub id of its base model in place of a folder that is a copy of it, which others do not have."""
    if base.hub_id is None or base.name != base.hub_id:
        return command
    words = shlex.split(command)
    for i, word in enumerate(words):
        if word.startswith("--model="):
            words[i] = f"--model={base.hub_id}"
        elif i and words[i - 1] == "--model":
            words[i] = base.hub_id
    return shlex.join(words)


def public(word: str) -> str:
    """A word of a command line without absolute folders, without a path through a user's own folder, without secrets."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    value = without_folders(value)
    if find_private(value):
        value = re.split(r"[\\/]", value)[-1]
    return flag + equals + ("***" if find_secrets(value) or find_private(value) else value)
