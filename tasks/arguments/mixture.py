"""Flags of the data of several tasks: files, datasets and columns with the name of the task they belong to."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import above_zero
from tasks.arguments.data import DataArguments
from tasks.base import Task
from tasks.errors import UserError

#: Flags whose value is nli=THIS,qa=THAT, and those of them that say where a task's rows are.
SOURCES = ("train_file", "validation_file", "test_file", "dataset")
OF_TASKS = (*SOURCES, "dataset_config", "dataset_revision")


@dataclass
class MixtureArguments(DataArguments):
    """As DataArguments, for several tasks; a number such as --max_train_samples counts for each of them."""

    tasks: str | None = HfArg(
        default=None, help="The tasks of the model: nli,qa,summarize. Files and datasets then are nli=a.csv,qa=b.json."
    )
    # Raffel et al. 2020 (T5), section 3.5.2: temperature-scaled mixing.
    task_temperature: float = HfArg(
        default=1.0, help="1: as many rows of a task as there are; above 1 more of small tasks and fewer of large ones."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        above_zero(self, "task_temperature")
        if self.streaming:
            raise UserError("--streaming reads the rows of one task; leave it out, or train with scripts/run_generate.py")
        if self.head:
            raise UserError("--head: a classification head answers for one task; leave it out, or train that task by itself")

    def of_parts(self, task: Task) -> list[DataArguments]:
        """The arguments of each part of ``task``, in which no value names a task any more.

        Raises:
            UserError: a value names no task or one that is not trained, a task has no rows, or labels are given to none.
        """
        names = [part.name for part in task.parts]
        values = {flag: _by_task(flag, getattr(self, flag), names) for flag in OF_TASKS}
        columns = _columns(self.column_map, names)
        if given := {name for flag in SOURCES for name in values[flag]}:
            for part in task.parts:
                if part.name not in given:
                    raise UserError(
                        f"--tasks: {part.name} has no rows; give --train_file {part.name}=FILE, or its default dataset: "
                        f"--dataset {part.name}={part.default_dataset.id}"
                    )
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(DataArguments) if field.init}
        learning = [part.name for part in task.parts if part.learns_labels] or names  # which will refuse them
        found = []
        for name in names:
            own = {flag: values[flag].get(name) for flag in OF_TASKS} | {"column_map": columns.get(name)}
            if name not in learning:
                own |= {"label_words": None, "label_form": None}
            found.append(DataArguments(**(shared | own)))
        return found


def _by_task(flag: str, text: str | None, names: Iterable[str]) -> dict[str, str]:
    """``nli=a.csv,qa=b,c.json`` as {task: value}: a comma ends a value only in front of another ``name=``."""
    found: dict[str, str] = {}
    for piece in re.split(r",(?=\s*\w+=)", text) if text else ():
        name, equals, value = (part.strip() for part in piece.partition("="))
        if not (equals and value):
            raise UserError(f"--{flag} {text}: say whose {piece!r} is: {', '.join(f'{name}=...' for name in names)}")
        _check(f"--{flag} {text}", name, names)
        if name in found:
            raise UserError(f"--{flag} {text}: {name} stands there twice; several files are one quoted glob")
        found[name] = value
    return found


def _columns(text: str | None, names: Iterable[str]) -> dict[str, str]:
    """``nli.premise=s1,qa.context=c`` as {task: its --column_map}."""
    found: dict[str, list[str]] = {}
    for piece in text.split(",") if text else ():
        name, dot, column = piece.strip().partition(".")
        if not dot or "=" in name:
            raise UserError(f"--column_map {text}: say whose column {piece.strip()!r} is: {next(iter(names))}.OURS=THEIRS")
        _check(f"--column_map {text}", name, names)
        found.setdefault(name, []).append(column)
    return {name: ",".join(pieces) for name, pieces in found.items()}


def _check(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise UserError(f"{what}: {name!r} is not one of --tasks {','.join(names)}; add it there, or leave it out")
