"""A trained model from Python: rows in, what predict.py writes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, overload

from tasks.arguments.generation import GenerationArguments, generation_settings
from tasks.arguments.model import ModelArguments
from tasks.base import Task
from tasks.errors import UserError
from tasks.inference.inputs import as_row, input_examples, read_inputs
from tasks.inference.predicting import Predictor, load_predictor, several
from tasks.reading.columns import ID_COLUMNS, columns_of, folded, names_of, parse_column_map
from tasks.reading.rows import Row


@dataclass(frozen=True)
class Model:
    """A trained model as a function of rows."""

    predictor: Predictor

    @property
    def task(self) -> Task:
        """What it was trained for."""
        return self.predictor.task

    @overload
    def __call__(self, rows: Mapping[str, Any], **settings: Any) -> dict[str, Any]: ...
    @overload
    def __call__(self, rows: Sequence[Mapping[str, Any]], **settings: Any) -> list[dict[str, Any]]: ...
    def __call__(self, rows: Any, **settings: Any) -> Any:
        """For each row the object that predict.py writes as a line of jsonl; for a single row, that object alone.

        A row has the task's input columns, under our names or others that data sets give them, and may have the target
        columns. ``settings`` are decoding settings of this call (``GenerationArguments``), and ``num_return_sequences``.

        Raises:
            UserError: a row has a field that the task does not know, or lacks one; a setting is out of range.
        """
        alone = isinstance(rows, Mapping)
        if not (rows := [rows] if alone else list(rows)):
            return []
        for number, row in enumerate(rows):
            check_fields(self.task, row, f"row {number}")
        read = read_inputs(self.task, [Row(dict(row), f"row {n}") for n, row in enumerate(rows)], "the list")
        answers = self.with_settings(**settings).answer(input_examples(self.task, read))
        shown = [as_row(self.task, row, predictions) for row, predictions in zip(read, answers)]
        return shown[0] if alone else shown

    def with_settings(self, seed: int | None = None, num_return_sequences: int | None = None, **settings: Any) -> Predictor:
        """The predictor with other decoding settings. Raises UserError as ``__call__``."""
        made, old = self.predictor, self.predictor.settings
        new = generation_settings(self.task, arguments(GenerationArguments, settings), old)
        if new["max_new_tokens"] > old["max_new_tokens"]:
            raise UserError("max_new_tokens: prompts leave room for it, so a higher one is set where the model is loaded")
        new = several(new, num_return_sequences or old["num_return_sequences"])
        return replace(made, settings=new, seed=made.seed if seed is None else seed)


def open_trained(
    model: str,
    *,
    task: str | None = None,
    max_length: int | None = None,
    batch_size: int | None = None,
    seed: int = 42,
    num_return_sequences: int = 1,
    **flags: Any,
) -> Model:
    """The Model of a folder or Hub id. The arguments are the flags of predict.py, those of model and decoding included.

    Raises:
        UserError: as ``load_predictor``; there is no such flag.
    """
    names = {field.name for field in fields(ModelArguments)}
    model_args = ModelArguments(model=model, **{name: value for name, value in flags.items() if name in names})
    generation_args = arguments(GenerationArguments, {name: flags[name] for name in flags if name not in names})
    more = {"max_length": max_length, "batch_size": batch_size, "seed": seed, "num_return_sequences": num_return_sequences}
    return Model(load_predictor(model_args, generation_args, task_name=task, **more))


def arguments(kind: type, settings: dict[str, Any]) -> Any:
    """``kind(**settings)``. Raises UserError on a name that is no field of it."""
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in settings if name not in known]:
        raise UserError(f"there is no setting {unknown[0]!r}; those of decoding are {', '.join(known)}")
    return kind(**settings)


def check_fields(task: Task, row: Any, where: str) -> None:
    """Raises UserError unless a row is a mapping with every input column of the task, and no field that it has not."""
    needed = ", ".join(column.name for column in task.input_columns)
    if not isinstance(row, Mapping):
        raise UserError(f"{where} is of type {type(row).__name__}; give a dict with {needed}")
    mapped = parse_column_map(task.column_map, task)
    known = {
        column.name: {folded(name) for names in names_of(task, column) for name in names}
        | {folded(name) for name in (*column.beside, mapped.get(column.name, column.name))}
        for column in columns_of(task)
    }
    for name in row:
        if folded(name) not in set().union(map(folded, ID_COLUMNS), *known.values()):
            raise UserError(f"{where}: {task.name} has no field {name!r}; it reads {needed}")
    given = set(map(folded, row))
    for column in task.input_columns:
        if given.isdisjoint(known[column.name]):
            raise UserError(f"{where}: the field {column.name!r} ({column.help}) is missing; {task.name} reads {needed}")
