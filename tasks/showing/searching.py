"""What scripts/search.py is made of: ranges of flags, rows that no trial sees, and runs as processes that may be stopped."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks.arguments.data import DataArguments
from tasks.base import Task
from tasks.errors import UserError
from tasks.preparing.splits import load_raw_datasets, share_rows
from tasks.publishing.report import read_object
from tasks.reading.columns import columns_of
from tasks.run_folder import RESULTS_FILE, RUN_FILE, write_jsonl

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"

#: Flags that say where rows come from and which of them; what they choose is in the files that ``hold_out`` writes.
SOURCES = (
    "dataset", "dataset_config", "dataset_revision", "train_file", "validation_file", "sample_data", "column_map",
    "validation_split", "max_train_samples", "max_eval_samples", "txt_unit",
)  # fmt: skip

#: Trials before one may be stopped, and before the sampler learns from them.
FIRST = 5

#: What a run says that meets a loss which is no number: a bad setting, and no mistake in the command.
DIVERGED = "is not a finite number"


def read_flags(words: Sequence[str]) -> dict[str, list[str]]:
    """``--flag value`` and ``--flag=value`` as {flag: values}. Raises UserError where a word belongs to no flag."""
    flags: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            flags[name] = [value] if equals else []
        elif not flags:
            raise UserError(f"{word}: no flag stands before it; write the task first, then flags of its script")
        else:
            flags[next(reversed(flags))].append(word)
    return flags


def as_words(flags: Mapping[str, Sequence[Any]]) -> list[str]:
    """The command line of ``read_flags``."""
    return [word for name, values in flags.items() for word in (f"--{name}", *map(str, values))]


def space_of(flags: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The distribution of each flag with a range: ``LOW..HIGH``, on a log scale where it spans a factor of 10, or ``A,B,C``.

    Raises UserError where a range is empty, or optuna is not installed.
    """
    if find_spec("optuna") is None:
        raise UserError("scripts/search.py needs optuna: pip install optuna")
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space: dict[str, Any] = {}
    for name, values in flags.items():
        text = values[0] if len(values) == 1 else ""
        if match := re.fullmatch(rf"({NUMBER})\.\.({NUMBER})", text):
            whole = all(re.fullmatch(r"[-+]?\d+", end) for end in match.groups())
            low, high = (int(end) if whole else float(end) for end in match.groups())
            if low >= high:
                raise UserError(f"--{name} {text}: the first number has to be the lower one")
            kind = IntDistribution if whole else FloatDistribution
            space[name] = kind(low, high, log=low > 0 and high >= 10 * low)
        elif re.fullmatch(rf"{NUMBER}(,{NUMBER})+", text):
            space[name] = CategoricalDistribution(text.split(","))
    return space


def hold_out(task: Task, data_args: DataArguments, seed: int, folder: Path) -> dict[str, list[str]]:
    """Write the rows into files of ``folder``, half of those of validation as test rows; returns the flags that read them.

    Which half depends on ``seed`` and the rows; rows that share their first column stay together. Files that are there are
    kept. Raises UserError where there are no rows to be had, or too few.
    """
    files = {split: folder / f"{split}.jsonl" for split in ("train", "validation", "test")}
    task.use_columns(data_args.column_map)
    if not all(path.is_file() for path in files.values()):
        rows = load_raw_datasets(task, data_args, seed=seed, splits=("train", "validation"))
        try:
            halves = share_rows(task, rows["validation"], 0.5, seed)
        except UserError:
            many = len(rows["validation"])
            raise UserError(f"no half of {many} validation rows can be set aside; give more, or --test_file") from None
        parts = {"test": rows["validation"].select(halves["validation"]), "train": rows["train"]}
        parts["validation"] = rows["validation"].select(sorted(halves["train"]))
        for split, path in files.items():
            write_jsonl(path, ({name: row[name] for name in row if name != "where"} for row in parts[split]))
    columns = ",".join(f"{column.name}={column.name}" for column in columns_of(task))
    return {**{f"{split}_file": [str(path)] for split, path in files.items()}, "column_map": [columns]}


class Search:
    """An Optuna study in a folder, which another start with the same flags continues."""

    def __init__(self, folder: Path, space: Mapping[str, Any], higher: bool, seed: int, flags: list[str]) -> None:
        """``higher``: whether a higher value is better. Raises UserError where the folder's study had other ``flags``."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.log")))
        self.space, direction = space, "maximize" if higher else "minimize"
        pruner = optuna.pruners.MedianPruner(n_startup_trials=FIRST)
        self.study = optuna.create_study(
            study_name="search", storage=storage, direction=direction, pruner=pruner, load_if_exists=True
        )
        before = self.study.user_attrs.get("flags", flags)
        if before != flags:
            raise UserError(
                f"--output_dir {folder} holds a study with other flags ({' '.join(before)}); give those, or choose another "
                "folder"
            )
        self.study.set_user_attr("flags", flags)
        # Another start draws other numbers than the one before.
        self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.trials), n_startup_trials=FIRST)
        self._states = optuna.trial.TrialState
        self._trial = optuna.trial.Trial

    def trials(self, number: int) -> Iterator[Any]:
        """Those that an earlier start left unfinished, then new ones until there are ``number``."""
        for left in self.study.get_trials(states=(self._states.RUNNING,)):
            yield self._trial(self.study, left._trial_id)
        while len(self.study.trials) < number:
            yield self.study.ask(dict(self.space))

    def watch(self, trial: Any) -> Callable[[float], bool]:
        """A function that takes each evaluation's value and says whether the trial is worth going on with."""

        def goes_on(value: float) -> bool:
            trial.report(value, len(self.study.trials[trial.number].intermediate_values) + 1)
            return not trial.should_prune()

        return goes_on

    def tell(self, trial: Any, value: float | None) -> str:
        """Record how a trial ended, None: stopped or diverged; returns a line that says it."""
        self.study.tell(trial, value, self._states.PRUNED if value is None else None)
        return f"trial {trial.number}: {settings_of(trial)}: {'stopped' if value is None else f'{value:.4f}'}"

    def best(self) -> Any:
        """The best trial. Raises UserError where none was finished."""
        try:
            return self.study.best_trial
        except ValueError:
            raise UserError("no trial came to its end; all diverged: give a lower range of --learning_rate") from None


def settings_of(trial: Any) -> str:
    """What a trial was given, as flags."""
    values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in trial.params.items()}
    return " ".join(f"--{name} {value}" for name, value in values.items())


def run(
    command: Sequence[str], folder: Path, metric: str, goes_on: Callable[[float], bool], keep: bool = False
) -> float | None:
    """Run ``command``, whose output goes to ``folder``.log, and return its ``metric``; None if it was stopped or diverged.

    ``goes_on`` gets the metric of each evaluation; where it returns False the run is stopped. A run that is finished is
    not repeated. Weights and checkpoints are removed unless ``keep``. Raises UserError with what the run said if it fails.
    """
    evaluation = re.compile(rf"step [\d,]+/.*\beval_{re.escape(metric)} ({NUMBER}|nan|inf)")
    lines, training, stopped = [], True, False
    if read_object(folder / RUN_FILE).get("finished") is not True:
        with (
            open(f"{folder}.log", "a", encoding="utf-8") as log,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
            ) as process,
        ):
            try:
                for line in process.stdout:
                    lines.append(line)
                    print(line, end="", file=log, flush=True)
                    training &= not line.startswith("trained ")  # what follows measures the best checkpoint again
                    found = evaluation.search(line) if training and not stopped else None
                    if found and not goes_on(float(found[1])):
                        stopped = True
                        process.terminate()
            except BaseException:
                process.terminate()  # it saves a checkpoint, and the same command goes on from there
                print(process.communicate()[0], end="", file=log)
                raise
        if not stopped and process.returncode:
            errors = [line.removeprefix("error: ").strip() for line in lines if line.startswith("error: ")]
            if not any(DIVERGED in error for error in errors):
                raise UserError(f"{folder.name} failed: {(errors or ['no error line'])[-1]}; all that it said: {folder}.log")
            stopped = True
    results = read_object(folder / RESULTS_FILE)
    for path in [] if keep else [*folder.glob("checkpoint-*"), *folder.glob("*.safetensors")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return None if stopped else results.get("eval_loss" if metric == "loss" else metric)
