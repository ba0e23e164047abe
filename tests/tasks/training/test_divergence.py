"""A loss that is no number: training ends there, names step and rows, and keeps what was good."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from tasks.errors import UserError
from tasks.preparing.streaming import TextStream
from tasks.training.batches import row_names
from tasks.training.callbacks import StopOnDivergence
from tasks.training.checkpoints import newest_complete
from tests.helpers.trainers import assert_same, make, seen_rows, weights

SAVED = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "no", "max_steps": 4}


def lose(trainer, step: int, value: float) -> None:
    """Make the loss of one batch ``value``, its gradient with it."""
    plain, calls = trainer.compute_loss, []

    def compute_loss(*args, **kwargs):
        calls.append(1)
        return plain(*args, **kwargs) * (value if len(calls) == step else 1.0)

    trainer.compute_loss = compute_loss


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("order", [{}, {"tokens_per_batch": 48}])
def test_training_ends_with_the_step_and_the_rows(kogpt2_folder, tmp_path, value, order):
    trainer = make(kogpt2_folder, tmp_path, **SAVED, **order)
    steps = seen_rows(trainer)
    lose(trainer, 3, value)
    with pytest.raises(UserError) as caught:
        trainer.train()
    ids = {tuple(row["input_ids"]): row["id"] for row in trainer.train_dataset}
    rows = sorted((ids[row] for row in steps[2]), key=int)
    assert str(caught.value) == (
        f"the loss is not a finite number at step 3 (rows {', '.join(rows)}); nothing of that step was kept, and the last "
        f"good checkpoint is {tmp_path}/checkpoint-2; look at these rows, or restart with a lower --learning_rate"
    )
    assert newest_complete(tmp_path)[0].name == "checkpoint-2"
    assert all(torch.isfinite(weight).all() for weight in weights(trainer.model).values())


def test_a_gradient_that_is_no_number_ends_training_too(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path, max_grad_norm=0.0)  # nothing is clipped; it is looked at all the same
    before = weights(trainer.model)
    trainer.model.get_input_embeddings().weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match=r"^the gradient is not a finite number at step 1 \(rows \d, \d\);"):
        trainer.train()
    assert_same(weights(trainer.model), before)


def test_a_batch_in_the_middle_of_an_accumulated_step_is_named(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    steps = seen_rows(trainer)
    lose(trainer, 6, math.nan)
    ids = {tuple(row["input_ids"]): row["id"] for row in trainer.train_dataset}
    with pytest.raises(UserError) as caught:
        trainer.train()
    assert f"at step 2 (rows {ids[steps[5][0]]});" in str(caught.value)


def test_a_loss_scaler_may_meet_infinite_gradients(tmp_path):
    model, rows = torch.nn.Linear(2, 1), Dataset.from_dict({"input_ids": [[1]]})
    model.weight.grad = torch.tensor([[1.0, math.inf]])
    batch = {"input_ids": torch.tensor([[1]]), "attention_mask": torch.tensor([[1]])}
    accelerator = SimpleNamespace(scaler=SimpleNamespace(), distributed_type="NO", sync_gradients=True)
    stop, where = StopOnDivergence(accelerator, rows), (SimpleNamespace(output_dir=tmp_path), SimpleNamespace(global_step=6))
    stop.note(model, torch.tensor(2.0), batch)
    stop.on_pre_optimizer_step(*where, None)
    accelerator.scaler = None
    stop.note(model, torch.tensor(2.0), batch)
    with pytest.raises(UserError, match=r"the gradient is not a finite number at step 7 \(rows 0\);"):
        stop.on_pre_optimizer_step(*where, None)


def test_a_gradient_whose_norm_overflows_is_none_either(kogpt2_folder, tmp_path):
    # Clipping would scale it to zero, and training would stand still without a word.
    trainer = make(kogpt2_folder, tmp_path, max_grad_norm=1.0)
    trainer.model.get_input_embeddings().weight.register_hook(lambda gradient: gradient + 1e30)
    with pytest.raises(UserError, match="the gradient is not a finite number at step 1"):
        trainer.train()


def test_rows_are_found_by_their_tokens():
    rows = Dataset.from_dict({"input_ids": [[1, 2], [3], [1, 2], [0]], "id": ["a", "b", "c", "d"]})
    batch = {"input_ids": torch.tensor([[1, 2, 0], [3, 0, 0]]), "attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0]])}
    assert row_names(rows, [batch]) == ["a", "b", "c"]
    assert row_names(rows.remove_columns("id"), [batch]) == ["0", "1", "2"]
    assert row_names(rows.to_iterable_dataset(), [batch]) == []
    flat = {"input_ids": torch.tensor([[3, 1, 2]]), "position_ids": torch.tensor([[0, 0, 1]])}  # without padding
    assert row_names(rows, [flat]) == ["a", "b", "c"]


def test_the_last_rows_of_a_stream_are_found_too():
    stream = TextStream(None, None, None, False, {})
    stream.recent.extend({"id": name, "input_ids": ids} for name, ids in (("a", [1, 2]), ("b", [3]), ("c", [4])))
    batch = {"input_ids": torch.tensor([[1, 2], [4, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
    assert row_names(stream, [batch]) == ["a", "c"]
