"""One model for several tasks: a Task whose parts are the tasks of one training run."""

from __future__ import annotations

from tasks import get_task
from tasks.base import MEAN, Metric, Separator, Task
from tasks.errors import UserError


class Mixture(Task):
    """Several tasks that one model learns together, each with its own prompts, separators, metric and baseline.

    The whole is measured by the mean of the tasks' normalized scores (``inference.measuring``). Figures and files of a
    part begin with its ``prefix``.
    """

    name = "tasks"
    main_metric = MEAN

    def __init__(self) -> None:
        self._parts: tuple[Task, ...] = ()

    def choose(self, names: str | None) -> None:
        """Take the tasks that ``--tasks`` names. Raises UserError where they are not two or more different ones."""
        chosen = [name.strip() for name in (names or "").split(",") if name.strip()]
        if len(chosen) < 2:
            raise UserError(f"--tasks {names or ''}: name two tasks or more: --tasks nli,qa,summarize".replace(" :", ":"))
        for name in chosen:
            if chosen.count(name) > 1:
                raise UserError(f"--tasks {names}: {name} stands there twice; name each task once")
        try:
            self._parts = tuple(map(get_task, chosen))
        except UserError as error:
            raise UserError(f"--tasks {names}: {error}") from None
        for part in self._parts:
            if part.from_scratch:
                raise UserError(f"--tasks {names}: {part.name} makes a new model instead of training one; leave it out")
            part.prefix = f"{part.name}_"
        self.name = "-".join(chosen)
        self.metrics = {MEAN: Metric(MEAN, "mean normalized score", "정규화 점수의 평균", higher=True)} | {
            f"{part.prefix}{part.main_metric}": part.metrics[part.main_metric] for part in self._parts
        }

    @property
    def parts(self) -> tuple[Task, ...]:
        """The tasks, in the order of ``--tasks``."""
        return self._parts

    @property
    def separators(self) -> tuple[Separator, ...]:
        """Those of all tasks; labels that are learnt from the rows have theirs once the rows are read."""
        return tuple(dict.fromkeys(separator for part in self._parts for separator in part.separators))
