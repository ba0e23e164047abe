"""Training that has left the numbers: stopped before the optimizer's step, with the step and the rows that did it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from datasets import Dataset
from transformers import Trainer

from tasks.errors import UserError
from tasks.training.checkpoints import find_checkpoints

#: Rows that a message names; a batch may hold hundreds.
SHOWN = 20


class FiniteTrainer(Trainer):
    """``Trainer`` that ends where the loss or its gradient is infinite or not a number, with the weights as they were.

    The plain Trainer goes on: it steps into NaN, leaves it out of the log (``logging_nan_inf_filter``), and saves it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._losses: list[tuple[torch.Tensor, dict[str, Any]]] = []  # of this step: one a batch that is accumulated

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """As the parent's; remembers loss and batch until the gradient is known."""
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._losses.append((loss, inputs))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """As the parent's, called by every process right before the optimizer's step.

        All processes have the same gradient: where one of them met such a loss, all end here and none waits for another.
        A loss scaler (fp16) looks for infinite gradients itself, skips the step and scales down.

        Raises:
            UserError: the loss or the gradient is infinite or not a number.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        losses, self._losses = self._losses, []
        bad = [batch for loss, batch in losses if not torch.isfinite(loss).all()]
        if bad:
            raise self._diverged("the loss", bad)
        scaled = self.accelerator.scaler is not None or self.accelerator.distributed_type == DistributedType.DEEPSPEED
        if not scaled and norm is not None and not math.isfinite(float(norm)):
            raise self._diverged("the gradient", [batch for _, batch in losses])
        return norm

    def _diverged(self, what: str, batches: list[dict[str, Any]]) -> UserError:
        """The error, with what was kept."""
        names = row_names(self.train_dataset, batches)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        rows = f" (rows {', '.join(names[:SHOWN])}{more})" if names else ""
        kept = find_checkpoints(Path(self.args.output_dir))
        place = f"the last good checkpoint is {kept[-1]}" if kept else "there was no checkpoint before it"
        return UserError(
            f"{what} is not a finite number at step {self.state.global_step + 1}{rows}; nothing of that step was kept, and "
            f"{place}; look at these rows, or start anew with a lower --learning_rate"
        )


def row_names(rows: Any, batches: list[dict[str, Any]]) -> list[str]:
    """The ids of the rows of ``batches``, found by their tokens; those of a data set without ids are their numbers.

    Nothing has to travel with the batches for it: it is called once, when training ends. Rows with the same tokens are all
    named. Empty where the rows cannot be read again (a stream).
    """
    if not isinstance(rows, Dataset):
        return []
    wanted = {row for batch in batches for row in _rows_of(batch)}
    names: list[str] = []
    ids = rows["id"] if "id" in rows.column_names else range(len(rows))
    tokens = (row for part in rows.select_columns(["input_ids"]).iter(batch_size=1000) for row in part["input_ids"])
    for name, row in zip(ids, tokens):
        if tuple(row) in wanted:
            names.append(str(name))
    return list(dict.fromkeys(names))


def _rows_of(batch: dict[str, Any]) -> Iterator[tuple[int, ...]]:
    """The token ids of each row of a batch, padded or one row behind the other."""
    if "attention_mask" in batch:
        for ids, mask in zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist()):
            yield tuple(ids[: sum(mask)])
        return
    (starts,) = (batch["position_ids"][0] == 0).nonzero(as_tuple=True)
    for row in batch["input_ids"][0].tensor_split(starts[1:].cpu()):
        yield tuple(row.tolist())
