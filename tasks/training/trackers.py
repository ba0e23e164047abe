"""What the trackers of --report_to get beside the losses: the task's metrics, its baselines, and a few predictions.

transformers' integrations send numbers. A table has a form of its own in each tracker, and transformers ends them when
training ends, before the last measurement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from tasks.errors import UserError
from tasks.run_folder import PREDICTIONS_FILE, own

#: Rows of a table.
ROWS = 8

Rows = Sequence[Mapping[str, Any]]


class Trackers:
    """The trackers of a run, which go on until ``finish``. False where there are none."""

    def __init__(self, trainer: Any) -> None:
        """``trainer`` is the CompletionTrainer whose callbacks they are."""
        kinds = tuple(INTEGRATION_TO_CALLBACK[name] for name in trainer.args.report_to)
        self._trainer = trainer
        self._callbacks = [each for each in trainer.callback_handler.callbacks if isinstance(each, kinds)]
        self._ends = [callback.on_train_end for callback in self._callbacks]
        for callback in self._callbacks:
            callback.on_train_begin = _explained(callback.on_train_begin, type(callback).__name__)
            callback.on_train_end = lambda *args, **kwargs: None

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def send_table(self, name: str, rows: Rows) -> None:
        """Show the first ``rows`` of predictions.jsonl as a table; only the first process does, and some trackers cannot."""
        if self._trainer.is_world_process_zero():
            table = [_texts(row) for row in rows[:ROWS]]
            for callback in self._callbacks:
                if send := SENDERS.get(type(callback).__name__):
                    send(callback, name, table, self._trainer.state.global_step)

    def finish(self, results: Mapping[str, Any], folder: Path) -> None:
        """Send the figures of all_results.json and the predictions in ``folder``, and end the trackers."""
        trainer, tasks = self._trainer, [predictor.task for predictor in self._trainer.evaluator.predictors]
        context = (trainer.args, trainer.state, trainer.control)
        figures = {
            f"{task.prefix}{name}" if name.startswith("test_") else f"eval_{task.prefix}{name}": value
            for task in tasks
            for name, value in own(results, task.prefix).items()
            if isinstance(value, float) and _is_figure(name.removeprefix("test_"), task.metrics)
        }
        for callback in self._callbacks:
            callback.on_log(*context, logs=dict(figures), model=trainer.model)
        for task, (prefix, split) in product(tasks, (("", "eval"), ("test_", "test"))):
            path = folder / f"{task.prefix}{prefix}{PREDICTIONS_FILE}"
            if self._callbacks and path.is_file():
                with path.open(encoding="utf-8") as lines:
                    self.send_table(f"{split}/{task.prefix}predictions", [json.loads(line) for line in islice(lines, ROWS)])
        for end in self._ends:
            end(*context, model=trainer.model, processing_class=trainer.processing_class)


def _explained(begin: Callable[..., Any], name: str) -> Callable[..., Any]:
    """``begin`` with a UserError where the tracker cannot start: without a login, a place to write to, or a network."""

    def start(*args: Any, **kwargs: Any) -> Any:
        try:
            return begin(*args, **kwargs)
        except Exception as error:  # each tracker has its own
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            tracker = name.removesuffix("Callback").lower()
            raise UserError(f"--report_to: {tracker} cannot start ({reason}); set it up, or leave the flag out") from None

    return start


def _is_figure(name: str, metrics: Mapping[str, Any]) -> bool:
    return name in metrics or name.startswith("baseline_")


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of predictions.jsonl as the cells of a table."""
    references = " / ".join(row["references"])
    return {"id": row["id"], "prompt": row["prompt"], "prediction": row["prediction"] or "", "references": references}


def _to_tensorboard(callback: Any, name: str, rows: Rows, step: int) -> None:
    def lines() -> Iterator[str]:
        for cells in (list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)):
            yield "|" + "|".join(" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells) + "|"

    callback.tb_writer.add_text(name, "\n".join(lines()), step)
    callback.tb_writer.flush()


def _to_trackio(callback: Any, name: str, rows: Rows, step: int) -> None:
    import trackio

    trackio.log({name: trackio.Table(data=[*rows]), "train/global_step": step})


def _to_wandb(callback: Any, name: str, rows: Rows, step: int) -> None:
    import wandb

    table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
    wandb.log({name: table, "train/global_step": step})


def _to_mlflow(callback: Any, name: str, rows: Rows, step: int) -> None:
    import mlflow

    columns = {column: [row[column] for row in rows] for column in rows[0]} | {"step": [step] * len(rows)}
    mlflow.log_table(columns, f"{name}.json")  # which adds rows to a table that is there


SENDERS = {
    "TensorBoardCallback": _to_tensorboard,
    "TrackioCallback": _to_trackio,
    "WandbCallback": _to_wandb,
    "MLflowCallback": _to_mlflow,
}
