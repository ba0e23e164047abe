"""Training in less memory learns the same: checkpointing, accumulation, bf16, and the search for a batch that fits."""

from __future__ import annotations

import signal

import pytest
import torch

from tasks.errors import UserError
from tasks.training.trainer import CompletionTrainer
from tests.helpers.levels import quick
from tests.helpers.trainers import assert_same, make, weights

NO_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."


def fails_over(monkeypatch, rows: int, tokens: int = 10**9) -> list[tuple[int, int]]:
    """Make a step run out of memory on more than ``rows`` rows or ``tokens`` with padding; returns the shapes tried."""
    tried = []
    training_step = CompletionTrainer.training_step

    def step(self, model, inputs, *args, **kwargs):
        shape = tuple(inputs["input_ids"].shape)
        tried.append(shape)
        if shape[0] > rows or shape[0] * shape[1] > tokens:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return training_step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(CompletionTrainer, "training_step", step)
    return tried


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_gradient_checkpointing_changes_nothing_that_is_learned(any_folder, tmp_path, dropout):
    plain = make(any_folder, tmp_path / "a", dropout=dropout)
    less = make(any_folder, tmp_path / "b", dropout=dropout, gradient_checkpointing=True)
    before = weights(plain.model)
    for trainer in (plain, less):
        torch.manual_seed(1)
        trainer.train()
    assert less.model.is_gradient_checkpointing
    assert_same(weights(less.model), weights(plain.model), tolerance=1e-6)
    assert any((weights(plain.model)[name] - weight).abs().max() > 1e-3 for name, weight in before.items())


@pytest.mark.parametrize("tokens", [0, 60])
def test_four_batches_of_two_are_one_of_eight(kogpt2_folder, tmp_path, tokens):
    # Rows of very different lengths: the loss of each counts by its labels, whichever batch it came in.
    common = {"max_steps": 1, "optim": "sgd", "learning_rate": 0.5, "warmup_steps": 0, "max_grad_norm": 0}
    whole = make(kogpt2_folder, tmp_path / "a", per_device_train_batch_size=8, tokens_per_batch=0, **common)
    parts = make(kogpt2_folder, tmp_path / "b", per_device_train_batch_size=2, tokens_per_batch=tokens,
                 gradient_accumulation_steps=4, **common)  # fmt: skip
    if tokens:  # as many batches as it takes to see all eight rows
        parts.args.gradient_accumulation_steps = len(parts.get_train_dataloader())
        assert parts.args.gradient_accumulation_steps > 1
    whole.train()
    parts.train()
    assert_same(weights(parts.model), weights(whole.model), tolerance=1e-5)


@pytest.mark.parametrize("dropout", quick([0.0, 0.1], 0.1))
def test_a_batch_size_that_fits_is_found_and_learns_as_if_it_had_been_given(kogpt2_folder, tmp_path, monkeypatch, dropout):
    common = {"max_steps": 4, "dropout": dropout, "tokens_per_batch": 0}
    tried = fails_over(monkeypatch, rows=5)
    found = make(kogpt2_folder, tmp_path / "a", per_device_train_batch_size=7, auto_find_batch_size=True, **common)
    given = make(kogpt2_folder, tmp_path / "b", per_device_train_batch_size=5, **common)
    before = signal.getsignal(signal.SIGINT)
    for trainer in (found, given):
        torch.manual_seed(trainer.args.seed)  # as a new Trainer leaves it
        trainer.train()
    assert [rows for rows, _ in tried[:3]] == [7, 6, 5]  # accelerate takes a tenth away each time
    assert found.state.train_batch_size == 5
    assert_same(weights(found.model), weights(given.model))
    assert signal.getsignal(signal.SIGINT) is before


def test_an_attempt_that_fails_late_leaves_nothing_behind(kogpt2_folder, tmp_path, monkeypatch):
    # The third step has the long row: two updates were made by then, which the next attempt must not begin with.
    steps = []
    training_step = CompletionTrainer.training_step

    def step(self, *args, **kwargs):
        steps.append(self._train_batch_size)
        if len(steps) == 3:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return training_step(self, *args, **kwargs)

    given = make(kogpt2_folder, tmp_path / "b", per_device_train_batch_size=3, dropout=0.1)
    found = make(kogpt2_folder, tmp_path / "a", per_device_train_batch_size=4, dropout=0.1, auto_find_batch_size=True)
    torch.manual_seed(given.args.seed)  # as a new Trainer leaves it
    given.train()
    monkeypatch.setattr(CompletionTrainer, "training_step", step)
    torch.manual_seed(found.args.seed)
    found.train()
    assert steps == [4, 4, 4, 3, 3, 3, 3]
    assert_same(weights(found.model), weights(given.model))


def test_with_batches_by_tokens_the_budget_shrinks(kogpt2_folder, tmp_path, monkeypatch):
    tried = fails_over(monkeypatch, rows=100, tokens=80)  # all eight rows are 128
    trainer = make(kogpt2_folder, tmp_path, tokens_per_batch=160, per_device_train_batch_size=4, max_steps=2,
                   auto_find_batch_size=True)  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 2
    assert tried[0][0] * tried[0][1] > 80
    assert all(rows * length <= 80 for rows, length in tried[-2:])


def test_where_nothing_fits_it_is_an_error_line(kogpt2_folder, tmp_path, monkeypatch):
    fails_over(monkeypatch, rows=0)
    trainer = make(kogpt2_folder, tmp_path, per_device_train_batch_size=2, auto_find_batch_size=True)
    with pytest.raises(UserError, match="No executable batch size found"):
        trainer.train()


def test_the_search_is_for_one_process(kogpt2_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="--auto_find_batch_size looks for what fits one process"):
        make(kogpt2_folder, tmp_path, auto_find_batch_size=True)


def test_the_last_checkpoint_is_kept_and_named(kogpt2_folder, tmp_path, monkeypatch):
    trainer = make(kogpt2_folder, tmp_path, save_strategy="steps", save_steps=1)
    training_step = CompletionTrainer.training_step

    def step(self, *args, **kwargs):
        if self.state.global_step == 2:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return training_step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CompletionTrainer, "training_step", step)
        with pytest.raises(UserError) as caught:
            trainer.train()
    assert str(caught.value) == (
        f"out of memory while training ({NO_MEMORY}); what helps most: --per_device_train_batch_size 1 "
        "--gradient_accumulation_steps 2, or --gradient_checkpointing, or --max_length 64; "
        f"{tmp_path}/checkpoint-2 is kept: add --resume_from_checkpoint last"
    )
    resumed = make(kogpt2_folder, tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == 4


def test_measuring_runs_out_of_memory_with_advice_of_its_own(kogpt2_folder, tmp_path, monkeypatch):
    def step(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(CompletionTrainer, "prediction_step", step)
    trainer = make(kogpt2_folder, tmp_path, per_device_eval_batch_size=4)
    with pytest.raises(UserError, match=r"while measuring the loss .*: --per_device_eval_batch_size 2, or --max_length 64"):
        trainer.evaluate()
