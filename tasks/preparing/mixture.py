"""The rows of several tasks as the rows of one run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow.compute

from tasks.base import Example
from tasks.distributed import is_first
from tasks.errors import UserError
from tasks.preparing.run_data import RunData

if TYPE_CHECKING:
    from datasets import Dataset

    from tasks.arguments.mixture import MixtureArguments
    from tasks.arguments.training import TrainingArguments
    from tasks.mixture import Mixture
    from tasks.preparing.encoding import Encoder


class MixtureData:
    """As RunData, with one of these for each task in ``parts``. Names of splits begin with the task's ``prefix``."""

    counts: dict[str, dict[str, int]]

    def __init__(self, task: Mixture, data_args: MixtureArguments, training_args: TrainingArguments) -> None:
        """Raises UserError as RunData does, with the task's name."""
        self.temperature, self.seed = data_args.task_temperature, training_args.seed
        self.parts: list[RunData] = []
        for part, own in zip(task.parts, data_args.of_parts(task)):
            with _named(part.name):
                self.parts.append(RunData(part, own, training_args))

    def encode(self, encoder: Encoder) -> tuple[dict[str, Any], dict[str, Sequence[Example]]]:
        """The splits of each task (``nli_train``); ``train``, the rows of all tasks; ``validation``, {task: rows}."""
        datasets: dict[str, Any] = {}
        examples: dict[str, Sequence[Example]] = {}
        self.counts = {}
        for part, own in zip(self.parts, encoder.of_parts):
            with _named(part.task.name):
                if is_first():
                    print(f"{part.task.name}:")
                found = part.encode(own)
            for whole, of_part in zip((datasets, examples, self.counts), (*found, part.counts)):
                whole.update({f"{part.task.prefix}{split}": rows for split, rows in of_part.items()})
        train = [datasets[name] for part in self.parts if (name := f"{part.task.prefix}train") in datasets]
        datasets["validation"] = {part.task.name: datasets[f"{part.task.prefix}validation"] for part in self.parts}
        if train:
            datasets["train"] = mix(train, self.temperature, self.seed)
            ids = datasets["train"].with_format("arrow")[:]["input_ids"]
            self.counts["train"] = {"tokens": pyarrow.compute.sum(pyarrow.compute.list_value_length(ids)).as_py()}
        return datasets, examples


def shares(sizes: Sequence[int], temperature: float) -> list[int]:
    """How many rows of each task to take: n^(1/temperature) of the total, at least one (Raffel et al. 2020, 3.5.2)."""
    weights = [size ** (1 / temperature) for size in sizes]
    return [max(1, round(sum(sizes) * weight / sum(weights))) for weight in weights]


def mix(tasks: Sequence[Dataset], temperature: float, seed: int) -> Dataset:
    """The rows of all tasks one behind the other, of each the share that ``temperature`` gives it.

    A seeded draw without repetition; where more are asked for than there are, after all of them once, twice and so on. The
    batch sampler shuffles.
    """
    from datasets import concatenate_datasets

    drawn = []
    for rows, wanted in zip(tasks, shares([len(rows) for rows in tasks], temperature)):
        generator, numbers = random.Random(seed), range(len(rows))
        rest = sorted(sorted(numbers, key=lambda row: generator.random())[: wanted % len(rows)])
        drawn.append(rows if wanted == len(rows) else rows.select([*numbers] * (wanted // len(rows)) + rest))
    return concatenate_datasets(drawn)


@contextmanager
def _named(task: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{task}: {error}") from None
