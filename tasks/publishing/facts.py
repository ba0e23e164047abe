"""What a card states of a run: base model, data, machine, versions, command; no host, user or folder names."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.arguments.data import DataArguments
from tasks.arguments.publishing import PublishArguments
from tasks.base import Task
from tasks.errors import UserError
from tasks.model.model_files import find_file
from tasks.publishing.edits import listed, read_front
from tasks.publishing.license import FINGERPRINTS, LICENSES, base_license, dataset_license
from tasks.publishing.report import REPORT_FILE, Base, Data, RunReport, json_object
from tasks.publishing.secrets import find_private, find_secrets
from tasks.run_folder import TASK_FILE, without_folders

if TYPE_CHECKING:
    from tasks.reading.sources import DataSource

ROOT = Path(__file__).resolve().parents[2]


def base_of(model_args: Any, publish_args: PublishArguments) -> Base:
    """The base of a run; ``model_args`` are ModelArguments, or ScratchArguments where a model is trained from scratch."""
    if not hasattr(model_args, "model"):
        return Base(from_scratch=True)
    return base_facts(model_args.model, model_args.model_revision, publish_args.base_model)


def base_facts(model: str, revision: str | None = None, hub_id: str | None = None) -> Base:
    """What is known of the base model, a Hub id or a folder. ``hub_id``: the user says that the folder is a copy of it.

    The licence of a Hub model that licenses.yaml does not list is read from its card, if that can be reached.
    """
    folder = Path(model)
    if hub_id is None and folder.is_dir():
        return _folder_facts(folder.resolve())
    hub_id = hub_id or model
    base = base_license(hub_id)
    if base is None:
        base = Base(hub_id, **(_card_facts(find_file(hub_id, "README.md", revision)) | {"hub_id": hub_id}))
    base.revision = revision
    return base


def _folder_facts(folder: Path) -> Base:
    """The base of a model in a folder, by a run's report, the Hub's cache, the card, config.json or vocabulary."""
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
    hub_id = _copied_model(config, vocabulary if isinstance(vocabulary, dict) else ())  # BPE, WordPiece: token to id
    if hub_id is None or "hub_id" in card:
        license = "-".join(str(config.get("license")).lower().split())  # CC-BY-NC-SA 4.0
        return Base(name=folder.name, **({"license": license} if license in LICENSES else {}) | card)
    base = base_facts(hub_id)
    # A checkpoint of this project still has the config of its base, and weights of its own.
    if (folder / TASK_FILE).is_file():
        base.name = folder.name
    else:
        base.copy = folder.name
    return base


def _copied_model(config: Mapping[str, Any], vocabulary: Iterable[str]) -> str | None:
    """The Hub id of the known model with this config.json or vocabulary, None if there is none.

    Tokens in ``<>`` are left out, since a run renames free ones. Other values in the config rule a model out.
    """
    words = sorted(token for token in vocabulary if not (token.startswith("<") and token.endswith(">")))
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
    for hub_id, known in FINGERPRINTS.items():
        found = {key: config[key] for key in known["config"] if key in config}
        if found == known["config"] or (not found and digest == known["vocabulary"]):
            return hub_id
    return None


def adapter_base(base: Base) -> str:
    """The Hub id of an adapter's base. Raises UserError if that is a local folder: nobody else could load the adapter.

    A folder that only looks like a copy is refused too: an adapter breaks on weights that differ a little.
    """
    if base.copy or base.hub_id is None or base.name != base.hub_id:
        like = f" (it looks like {base.hub_id})" if base.copy else ""
        raise UserError(
            f"the base of this adapter is the local model {base.copy or base.name!r}, which nobody else has; name the Hub "
            f"id that it is a copy of by --base_model{like}, publish the base first and train on it, or train with "
            "--merge_adapter"
        )
    return base.hub_id


def _card_facts(card: Path | None) -> dict[str, Any]:
    """Licence and base model of a model card, empty if it is missing or broken."""
    if card is None or not card.is_file():
        return {}
    values = read_front(card.read_text("utf-8", errors="replace"))
    facts = {key: values[key] for key in ("license", "license_name", "license_link") if isinstance(values.get(key), str)}
    first = listed(values.get("base_model"))[:1]
    return facts | ({"hub_id": first[0]} if first and isinstance(first[0], str) else {})


def data_license(task: Task, data_args: DataArguments) -> str | None:
    """The licence of the rows, if known: that of the sample or of a public data set."""
    if data_args.sample_data:
        return "cc0-1.0"
    if data_args.train_file or data_args.validation_file or data_args.test_file:
        return None
    default = task.default_dataset
    return default.license if data_args.dataset in (None, default.id) else dataset_license(data_args.dataset)


def data_facts(task: Task, data_args: DataArguments, source: DataSource) -> Data:
    """Where the rows of a run came from."""
    from_train = "train" in source.splits and "validation" not in source.splits
    share = data_args.validation_split if from_train else None
    own = {"license": data_license(task, data_args), "validation_share": share, "choices": source.choices}
    return Data(**source.describe(), **own)


def git_commit() -> str | None:
    """The commit of this project that ran, with ``-dirty`` if files were changed; None without a checkout."""
    checkout = [f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}"]  # and not a repository that ROOT is installed in
    describe = ["git", *checkout, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.check_output(describe, stderr=subprocess.DEVNULL, text=True, timeout=30).strip()
    except (OSError, subprocess.SubprocessError):
        return None


def command(argv: Sequence[str], processes: int = 1, private: Sequence[str] = ()) -> str:
    """The command line of the run, without what is private, such as the words that ``private`` names."""
    script, *arguments = argv
    for word in private:
        arguments = [argument.replace(word, "***") for argument in arguments]
    program = f"torchrun --nproc_per_node {processes}" if processes > 1 else "python"
    return f"{program} scripts/{Path(script).name} {shlex.join(map(public, arguments))}".rstrip()


def repeatable(command: str, base: Base) -> str:
    """``command`` with the base model's Hub id in place of a local copy, which others do not have."""
    if base.hub_id is None or base.name != base.hub_id:
        return command
    words = shlex.split(command)
    for i, word in enumerate(words):
        if word == "--model" and i + 1 < len(words):
            words[i + 1] = base.hub_id
        elif word.startswith("--model="):
            words[i] = f"--model={base.hub_id}"
    return shlex.join(words)


def public(word: str) -> str:
    """A word of a command line without absolute folders, paths through a user's own folder, and secrets."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    value = without_folders(value)
    if find_private(value):
        value = re.split(r"[\\/]", value)[-1]
    return flag + equals + ("***" if find_secrets(value) or find_private(value) else value)
