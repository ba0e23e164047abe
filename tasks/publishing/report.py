"""RunReport: all that a model card says of a run, as plain data."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from tasks import TASKS
from tasks.errors import UserError
from tasks.model.model_files import ADAPTER_CONFIG
from tasks.run_folder import (
    BENCHMARKS_FILE,
    EXPORT_FILE,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    RUN_FILE,
    RunConfig,
    RunConfigs,
    own,
    typed,
    weight_hashes,
    write_json,
)
from tasks.wording import verbatim

#: Beside the model; what task.json, all_results.json and trainer_state.json do not hold already.
REPORT_FILE = "run_report.json"
STATE_FILE = "trainer_state.json"


@dataclass
class Base:
    """What a model was made from.

    ``name`` is what the run was given: a Hub id, or the name of a folder. ``hub_id`` is the Hub model that it derives from,
    if one is known. ``copy`` is the name of a folder that was recognised as a copy of ``name`` by its files. ``license`` is
    from licenses.yaml, or the base's card or config.json. ``also`` are other models that it comes of, with licences that ask
    for what ``license`` drops: {Hub id or name: licence id}.
    """

    name: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    from_scratch: bool = False
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    copy: str | None = None
    also: dict[str, str] = field(default_factory=dict)


@dataclass
class Data:
    """Where the rows came from.

    ``source`` is ``hub``, ``folder``, ``files`` or ``sample``. ``files`` are {"split", "name", "sha256", "bytes"}, without
    folders. ``revision`` is the commit that was read, or else what was asked for. ``validation_share`` is the share of train
    that was set aside, None if validation rows were given. ``choices`` say which columns were read.
    """

    source: str | None = None
    name: str | None = None
    config: str | None = None
    revision: str | None = None
    license: str | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    validation_share: float | None = None
    choices: list[str] = field(default_factory=list)


@dataclass
class RunReport:
    """A run: what went in, how, on what machine, and what came out. What is unknown is None or empty.

    ``config`` is task.json, ``results`` all_results.json, ``log`` the Trainer's log (``{"step", "loss", ...}``).
    ``arguments`` maps each training argument to its value, ``defaults`` to its default in these scripts.
    ``parameters`` are those of the whole model, ``adapter_parameters`` those of a LoRA adapter. ``adapter``: the folder
    holds an adapter, not a merged model. ``adds_bos``: the tokenizer puts bos in front of every text. ``changes_letters``:
    it reads ㅋ as another code point, so that the model writes that one. ``choices``: the run's PublishArguments.
    """

    config: RunConfig | RunConfigs
    base: Base = field(default_factory=Base)
    data: Data | list[Data] = field(default_factory=Data)
    arguments: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    adapter_parameters: int | None = None
    adapter: bool = False
    model_type: str | None = None
    adds_bos: bool = False
    changes_letters: bool = False
    hardware: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    command: str | None = None
    resumed: bool = False
    choices: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    prefix: str = ""  # of one of several tasks: what its files begin with

    @property
    def parts(self) -> list[RunReport]:
        """The report of each task: this one; of several, with what belongs to the task alone."""
        if isinstance(self.config, RunConfig):
            return [self]
        shared = {name: self.results[name] for name in ("seed",) if name in self.results}
        parts = []
        for config, data in zip(self.config, self.data if isinstance(self.data, list) else [self.data] * len(self.config)):
            prefix = f"{config.task}_"
            results = shared | own(self.results, prefix)
            parts.append(dataclasses.replace(self, config=config, data=data, results=results, prefix=prefix))
        return parts

    def save(self, folder: str | Path) -> None:
        """Write run_report.json into ``folder``, without what the other files of a run hold."""
        elsewhere = ("config", "adapter", "results", "log", "prefix")
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in elsewhere}
        write_json(Path(folder) / REPORT_FILE, values)

    @classmethod
    def load(cls, folder: str | Path) -> RunReport:
        """The report of a run's folder; without a run_report.json, what its other files say.

        Raises:
            UserError: the folder is no finished run, or a file of it is damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; name the output folder of a run")
        config = RunConfig.load(folder)
        if config is None:
            raise UserError(f"{folder}: no task.json there, so it is not the folder of a finished run")
        task = TASKS.get(config.task)
        from_scratch = {"from_scratch": True} if task and task.from_scratch else {"name": config.base_model}
        known = read_object(folder / REPORT_FILE) or {"base": from_scratch}
        try:
            data = known.get("data", {})
            data = [typed(Data, **each) for each in data] if isinstance(data, list) else typed(Data, **data)
            known |= {"base": typed(Base, **known.get("base", {})), "data": data}
            results, log = read_object(folder / RESULTS_FILE), read_object(folder / STATE_FILE).get("log_history") or []
            report = typed(cls, config=config, results=results, log=log, **known)
        except TypeError as error:
            raise UserError(
                f"{folder / REPORT_FILE}: not of this release ({error}); delete that file or run again"
            ) from None
        report.adapter = (folder / ADAPTER_CONFIG).is_file()
        return report


def check_finished(folder: Path) -> None:
    """Raises UserError where a run in ``folder`` was started and has not ended."""
    if read_object(folder / RUN_FILE).get("finished") is False:
        raise UserError(f"{folder}: the run is not finished; start its command again, which goes on where it ended")


def check_measured(folder: Path, results: dict[str, Any]) -> None:
    """Raises UserError unless the run in ``folder`` is finished and its weights are those that gave ``results``."""
    again = "run its command with --resume_from_checkpoint last, which measures it, or anew with --overwrite_output_dir"
    check_finished(folder)
    if "rows" not in results:
        raise UserError(f"{folder}: no results there ({RESULTS_FILE}), so nothing says how good the model is; {again}")
    named = results.get("weights_sha256")
    for name, digest in weight_hashes(folder).items():
        if not isinstance(named, dict) or named.get(name) != digest:
            raise UserError(f"{folder}: the results were not measured with this {name} (its SHA-256 differs); {again}")


def benchmarks_of(folder: Path) -> dict[str, Any]:
    """The benchmarks.json of ``folder``, empty where it is missing or was measured with other weights."""
    found = read_object(folder / BENCHMARKS_FILE)
    named = found.get("weights_sha256")
    return found if named and named == weight_hashes(folder) else {}


def copies_of(folder: Path) -> list[dict[str, Any]]:
    """The export.json of each copy of these weights that scripts/export.py has written beside ``folder`` and measured."""
    place = folder.resolve()
    found = [read_object(path) for path in sorted(place.parent.glob(f"{escape(place.name)}-*/{EXPORT_FILE}"))]
    hashes = weight_hashes(folder) if found else {}
    return [about for about in found if about.get("measured") and about.get("run_weights_sha256") == hashes]


def examples_of(folder: Path, count: int, prefix: str = "") -> list[dict[str, Any]]:
    """The first ``count`` rows of ``<prefix>predictions.jsonl``: lines of the prompt, prediction and reference.

    Raises:
        UserError: the folder has no predictions, or they are damaged.
    """
    path = folder / f"{prefix}{PREDICTIONS_FILE}"
    if count and not path.is_file():
        raise UserError(f"--card_examples {count}: {path} is not there; leave the flag out, or run again")
    if not count:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            rows = [json.loads(line) for line, _ in zip(file, range(count))]
        return [
            {
                "prompt": [verbatim(line) for line in row["prompt"].splitlines()],
                "prediction": verbatim(" ".join((row["prediction"] or "").split())) or "-",
                "reference": " / ".join(verbatim(" ".join(text.split())) for text in row["references"]),
            }
            for row in rows
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error!r}); leave --card_examples out, or run again") from None


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is no file. Raises UserError if it holds anything else."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run again, or delete that file") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no object; run again, or delete that file")
    return value


def json_object(text: str | None) -> dict[str, Any]:
    """The JSON object in ``text``, empty if it is anything else."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
