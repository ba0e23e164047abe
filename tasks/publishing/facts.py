"""What a card states of a run: base model, data, machine, versions, command; no host, user or folder names."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tasks.arguments.data import DataArguments
from tasks.arguments.publishing import PublishArguments
from tasks.base import Task
from tasks.distributed import launcher
from tasks.errors import UserError
from tasks.model.model_files import find_file
from tasks.publishing.edits import listed, read_front
from tasks.publishing.license import FINGERPRINTS, LICENSES, base_license, binding, dataset_license
from tasks.publishing.report import REPORT_FILE, Base, Data, RunReport, json_object
from tasks.publishing.secrets import find_private, find_secrets
from tasks.run_folder import TASK_FILE, without_folders

if TYPE_CHECKING:
    from tasks.reading.sources import DataSource

#: Flags that say where a run is written and how it is watched. Their values are names that people choose, often their own.
NOT_REPEATED = ("--output_dir", "--overwrite_output_dir", "--run_name", "--project", "--hub_", "--push_to_hub", "--trackio",
                "--logging_dir", "--card_template")  # fmt: skip

#: Where the value of a flag for several tasks begins, and where another one follows.
OF_TASK, OF_TASKS = re.compile(r"[a-z]+="), re.compile(r",(?=[a-z]+=)")

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
    if hub_id is not None:
        return named_base(hub_id, base_facts(model, revision), revision)
    if Path(model).is_dir():
        return _folder_facts(Path(model).resolve())
    base = base_license(model)
    if base is None:
        base = Base(model, **(_card_facts(find_file(model, "README.md", revision)) | {"hub_id": model}))
    base.revision = revision
    return base


def named_base(hub_id: str, known: Base, revision: str | None = None) -> Base:
    """The base that ``--base_model`` names. What is ``known`` of it without the flag binds all the same."""
    base = base_facts(hub_id, revision)
    base.also |= binding(base, {known.hub_id or known.name: known.license, **known.also})
    return base


def load_report(folder: Path, hub_id: str | None = None) -> RunReport:
    """The report of a run's folder, with the base that ``--base_model`` names.

    Raises:
        UserError: as RunReport.load; or run_report.json is missing, and task.json and the model do not say what it comes of.
    """
    report = RunReport.load(folder)
    if not (folder / REPORT_FILE).is_file() and report.base.name:
        name = report.base.name
        report.base = base_facts(name) if "/" in name or base_license(name) else _recognised(folder) or Base(name)
        if not (report.base.license or hub_id):
            raise UserError(
                f"{folder}: {REPORT_FILE} is missing, and nothing else says under which licence the base {name!r} is; put "
                "that file back, or name the Hub id of the base by --base_model"
            )
    if hub_id:
        report.base = named_base(hub_id, report.base)
    return report


def _folder_facts(folder: Path) -> Base:
    """The base of a model in a folder, by a run's report, the Hub's cache, the card, config.json or vocabulary."""
    card = _card_facts(folder / "README.md")
    if (folder / REPORT_FILE).is_file():
        earlier = load_report(folder).base
        base = Base(**(vars(earlier) | card | {"name": folder.name, "copy": None}))  # its own licence may be stricter
        base.also = earlier.also | base.also | binding(base, {earlier.hub_id or earlier.name: earlier.license})
        return base
    if cached := re.search(r"/models--([^/]+)/snapshots/([^/]+)$", folder.as_posix()):
        return base_facts(cached[1].replace("--", "/"), cached[2])
    base = _recognised(folder)
    if base is None or "hub_id" in card:
        license = "-".join(str(_json_of(folder / "config.json").get("license")).lower().split())  # CC-BY-NC-SA 4.0
        return Base(name=folder.name, **({"license": license} if license in LICENSES else {}) | card)
    # A checkpoint of this project still has the config of its base, and weights of its own.
    if (folder / TASK_FILE).is_file():
        base.name = folder.name
    else:
        base.copy = folder.name
    return base


def _json_of(path: Path) -> dict[str, Any]:
    return json_object(path.read_text("utf-8", "replace") if path.is_file() else None)


def _recognised(folder: Path) -> Base | None:
    """The known model that the files of ``folder`` are a copy or a fine-tune of."""
    model = _json_of(folder / "tokenizer.json").get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    words = vocabulary if isinstance(vocabulary, dict) else ()  # BPE, WordPiece: token to id
    hub_id = _copied_model(_json_of(folder / "config.json"), words)
    return hub_id and base_facts(hub_id)


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
    """Licence and base models of a model card, empty if it is missing or broken."""
    if card is None or not card.is_file():
        return {}
    values = read_front(card.read_text("utf-8", errors="replace"))
    facts = {key: values[key] for key in ("license", "license_name", "license_link") if isinstance(values.get(key), str)}
    bases = [name for name in listed(values.get("base_model")) if isinstance(name, str)]
    also = binding(
        Base(license=facts.get("license")), {name: known.license for name in bases if (known := base_license(name))}
    )
    return facts | ({"hub_id": bases[0]} if bases else {}) | ({"also": also} if also else {})


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
    words = [*map(public, launcher(script, processes)), f"scripts/{Path(script).name}", *map(public, arguments)]
    return re.sub(r"(--main_process_ip[ =])\S+", r"\1HOST", shlex.join(words))


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


def without_names(command: str, report: RunReport, file_names: bool = False) -> str:
    """``command`` without names that people chose and may be theirs: ``--train_file TRAIN.csv``, no ``--output_dir``."""
    hidden = {f"--{split}_file": split.upper() for split in ("train", "validation", "test")} | {"--config": "CONFIG"}
    hidden |= {"--dataset": "DATASET"} if any(part.data.source == "folder" for part in report.parts) else {}

    def stand_in(flag: str, value: str) -> str:
        if len(report.parts) == 1:
            return hidden[flag] + PurePosixPath(value).suffix
        pieces = [piece.partition("=") for piece in OF_TASKS.split(value)]  # nli=a.csv,qa=b.json
        return ",".join(f"{task}={hidden[flag]}{PurePosixPath(name).suffix}" for task, _, name in pieces)

    words: list[str] = []
    left_out = False
    for word in shlex.split(command):
        left_out = word.startswith(NOT_REPEATED) or (left_out and not word.startswith("--"))
        flag, equals, value = word.partition("=")
        if left_out:
            continue
        if words and words[-1] in hidden and not file_names:
            words.append(stand_in(words[-1], word))
        elif flag in hidden and equals and not file_names:
            words.append(f"{flag}={stand_in(flag, value)}")
        else:
            words.append(word)
    return shlex.join(words)


def public(word: str) -> str:
    """A word of a command line without absolute folders, paths through a user's own folder, and secrets."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if len(pieces := OF_TASKS.split(value)) > 1 or OF_TASK.match(value):  # nli=/home/me/a.csv,qa=b.json
        parts = (piece.partition("=") for piece in pieces)
        return flag + equals + ",".join(task + sign + public(name) for task, sign, name in parts)
    value = without_folders(value)
    if find_private(value):
        value = re.split(r"[\\/]", value)[-1]
    return flag + equals + ("***" if find_secrets(value) or find_private(value) else value)
