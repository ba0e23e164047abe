"""Runs that are stopped at every step and resumed: the same weights, losses and choices as without a stop."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from tasks.errors import Interrupted, UserError
from tasks.training import callbacks
from tasks.training.checkpoints import newest_complete, read_manifest
from tests.helpers.levels import quick
from tests.helpers.trainers import At, assert_same, make, weights

#: Eight rows in batches of two: four steps an epoch, two epochs; each with dropout, evaluated and saved once an epoch.
RUN = {
    "dropout": 0.2, "max_steps": -1, "num_train_epochs": 2, "eval_strategy": "epoch", "save_strategy": "epoch",
    "logging_strategy": "steps", "logging_steps": 3,
}  # fmt: skip

ORDERS = {
    "shuffled": {},
    "tokens_per_batch": {"tokens_per_batch": 48},
    "group_by_length": {"train_sampling_strategy": "group_by_length"},
    "accumulated": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2},
}


@pytest.fixture(autouse=True)
def _signals_as_they_were():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def run_on(folder: str, out: Path, **settings):
    """Train, ended by SIGTERM in every step; returns the trainer that came to the end, and the steps that were saved."""
    saved: list[int] = []
    while True:
        torch.manual_seed(len(saved))  # what the random state was before the checkpoint is loaded must not matter
        trainer = make(folder, out, **RUN, **settings)
        trainer.add_callback(At(saved[-1] if saved else 0, terminate, "on_step_begin"))
        checkpoint, _ = newest_complete(out)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except Interrupted as stop:
            assert stop.exit_code == 143
            saved.append(trainer.state.global_step)
        else:
            return trainer, saved


def evaluations(log_history: list[dict]) -> list[dict]:
    """What was measured at each evaluation, without what a clock measured."""
    clock = ("runtime", "per_second", "preparation_time")
    entries = [entry for entry in log_history if "eval_loss" in entry]
    return [{name: value for name, value in entry.items() if not name.endswith(clock)} for entry in entries]


def losses(log_history: list[dict], until: list[int]) -> list[float]:
    """The mean loss of all steps up to each of ``until``, at which there has to be a line."""
    lines = [(0, 0.0), *((entry["step"], entry["loss"]) for entry in log_history if "loss" in entry)]
    sums = itertools.accumulate((step - before) * loss for (before, _), (step, loss) in itertools.pairwise(lines))
    total = dict(zip((step for step, _ in lines[1:]), sums))
    return [total[step] / step for step in until]


@pytest.mark.parametrize("order", quick(ORDERS, "shuffled", "tokens_per_batch"))
def test_stopped_in_every_step_the_weights_and_the_losses_are_the_same(kogpt2_folder, tmp_path, order):
    whole = make(kogpt2_folder, tmp_path / "whole", **RUN, **ORDERS[order])
    whole.train()
    stopped, saved = run_on(kogpt2_folder, tmp_path / "stopped", **ORDERS[order])
    assert saved == list(range(1, whole.state.global_step + 1))
    assert_same(weights(stopped.model), weights(whole.model))
    log, expected = stopped.state.log_history, whole.state.log_history
    assert evaluations(log) == evaluations(expected)
    # A checkpoint adds a line, so that the loss of no step is lost between two parts of a run.
    steps = [entry["step"] for entry in expected if "loss" in entry]
    assert losses(log, steps) == pytest.approx(losses(expected, steps), abs=1e-6)
    assert log[-1]["train_loss"] == pytest.approx(expected[-1]["train_loss"], abs=1e-6)
    assert stopped.state.best_metric == whole.state.best_metric
    assert stopped.state.best_model_checkpoint.endswith(Path(whole.state.best_model_checkpoint).name)


class Ended(TrainerCallback):
    """A SIGTERM whose seconds are over in the evaluation of one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_prediction_step(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            terminate()
            time.sleep(60)


@pytest.mark.parametrize(("step", "settings"), [
    (2, {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 4}),
    (4, {"early_stopping_patience": 2}),
    (8, {}),
    (8, {"save_strategy": "best", "eval_on_start": True}),
    (12, {"early_stopping_patience": 2}),  # it is the evaluation that ends training
])  # fmt: skip
def test_ended_in_an_evaluation_the_resume_makes_it_first(kogpt2_folder, tmp_path, monkeypatch, step, settings):
    monkeypatch.setattr(callbacks, "GRACE", 0.01)
    settings = RUN | settings
    patience = "early_stopping_patience" in settings
    settings |= {"num_train_epochs": 6} if patience else {}

    def trainer(name: str, *first: TrainerCallback):
        made = make(kogpt2_folder, tmp_path / name, **settings)
        made.callback_handler.callbacks[:0] = [*([Worse()] if patience else []), *first]
        return made

    whole = trainer("whole")
    whole.train()
    with pytest.raises(Interrupted, match=f"ended by SIGTERM at step {step}; its state is in"):
        trainer("stopped", Ended(step)).train()
    checkpoint = str(newest_complete(tmp_path / "stopped")[0])
    assert (Path(checkpoint).name, read_manifest(Path(checkpoint))["evaluated"]) == (f"checkpoint-{step}", False)
    with pytest.raises(Interrupted, match=f"ended by SIGTERM in an evaluation; {checkpoint} is kept"):
        trainer("stopped", Ended(step)).train(resume_from_checkpoint=checkpoint)
    torch.manual_seed(1)  # what it was must not matter
    resumed = trainer("stopped")
    resumed.train(resume_from_checkpoint=checkpoint)
    assert resumed.state.global_step == whole.state.global_step == (12 if patience else 8)
    assert_same(weights(resumed.model), weights(whole.model))
    assert evaluations(resumed.state.log_history) == evaluations(whole.state.log_history)
    best = Path(whole.state.best_model_checkpoint).name
    assert (resumed.state.best_metric, Path(resumed.state.best_model_checkpoint).name) == (whole.state.best_metric, best)


def test_an_evaluation_before_the_first_step_leaves_no_checkpoint(kogpt2_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, "GRACE", 0.01)
    trainer = make(kogpt2_folder, tmp_path, **RUN, eval_on_start=True)
    trainer.add_callback(Ended(0))
    with pytest.raises(Interrupted, match="ended by SIGTERM in an evaluation; no checkpoint yet; go on with: "):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_dropout_and_order_decide_in_the_test_above(kogpt2_folder, tmp_path):
    first, other = (make(kogpt2_folder, tmp_path / str(seed), **RUN, seed=seed) for seed in (1, 2))
    first.train()
    other.train()
    assert not torch.equal(weights(first.model)["transformer.wte.weight"], weights(other.model)["transformer.wte.weight"])


class Worse(TrainerCallback):
    """Evaluations that get worse and worse, so that patience runs out."""

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        metrics["eval_loss"] = float(state.global_step)


def test_early_stopping_remembers_how_long_it_has_waited(kogpt2_folder, tmp_path):
    settings = RUN | {"num_train_epochs": 6, "early_stopping_patience": 3, "load_best_model_at_end": True}

    def worse(out, **more):
        trainer = make(kogpt2_folder, out, score_task=None, **(settings | more))
        trainer.callback_handler.callbacks.insert(0, Worse())
        return trainer

    whole = worse(tmp_path / "whole")
    whole.train()
    assert whole.state.global_step == 16  # the best is the first epoch's, three more are waited for
    trainer = worse(tmp_path / "stopped")
    trainer.add_callback(At(9, terminate, "on_step_begin"))
    with pytest.raises(Interrupted):
        trainer.train()
    for _ in range(2):  # the second time from the very checkpoint that training ended at: no step more
        trainer = worse(tmp_path / "stopped")
        trainer.train(resume_from_checkpoint=str(newest_complete(tmp_path / "stopped")[0]))
        assert trainer.state.global_step == 16
        assert_same(weights(trainer.model), weights(whole.model))


def test_a_run_that_had_taken_its_last_step_takes_no_other(kogpt2_folder, tmp_path):
    settings = RUN | {
        "max_steps": 3,
        "num_train_epochs": 1,
        "save_strategy": "steps",
        "save_steps": 3,
        "eval_strategy": "no",
    }
    whole = make(kogpt2_folder, tmp_path, **settings)
    whole.train()
    again = make(kogpt2_folder, tmp_path, **settings)
    result = again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert again.state.global_step == 3
    assert_same(weights(again.model), weights(whole.model))
    assert result.training_loss == pytest.approx(whole.state.log_history[-1]["train_loss"])
    longer = make(kogpt2_folder, tmp_path, **(settings | {"max_steps": 5}))
    longer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert longer.state.global_step == 5


def test_the_best_checkpoint_is_found_in_a_folder_that_was_moved(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path / "here", **RUN)
    trainer.train()
    (tmp_path / "here").rename(tmp_path / "there")
    moved = make(kogpt2_folder, tmp_path / "there", **RUN)
    moved.train(resume_from_checkpoint=str(tmp_path / "there" / "checkpoint-8"))
    name = Path(trainer.state.best_model_checkpoint).name
    assert moved.state.best_model_checkpoint == str(tmp_path / "there" / name)
    assert_same(weights(moved.model), weights(trainer.model))


def test_a_clock_that_is_set_back_changes_nothing(kogpt2_folder, tmp_path, monkeypatch):
    real, saves = time.time, []
    settings = RUN | {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    trainer = make(kogpt2_folder, tmp_path, **settings)

    class Old(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):  # the folder looks as if it had been written hours before
            saves.append(state.global_step)
            os.utime(tmp_path / f"checkpoint-{state.global_step}", (1e9 - 3600 * len(saves),) * 2)

    trainer.add_callback(Old())
    monkeypatch.setattr(time, "time", lambda: real() - 3600 * len(saves))
    metrics = trainer.train().metrics
    monkeypatch.undo()
    assert 0 < metrics["train_runtime"] < 600
    best = Path(trainer.state.best_model_checkpoint).name
    assert {path.name for path in tmp_path.glob("checkpoint-*")} >= {"checkpoint-8", best}
    assert newest_complete(tmp_path)[0].name == "checkpoint-8"
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2


def test_a_best_checkpoint_that_was_damaged_is_not_taken_for_the_result(kogpt2_folder, tmp_path):
    make(kogpt2_folder, tmp_path, **RUN).train()
    again = make(kogpt2_folder, tmp_path, **RUN)
    state = json.loads((tmp_path / "checkpoint-8" / "trainer_state.json").read_text())
    best = Path(state["best_model_checkpoint"])

    class Damage(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            content = bytearray((best / "model.safetensors").read_bytes())
            content[-1] ^= 1  # one bit, which safetensors itself does not see
            (best / "model.safetensors").write_bytes(content)

    again.add_callback(Damage())
    with pytest.raises(UserError, match=r"the best checkpoint cannot be loaded: model.safetensors is not what was written"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))


# Signals


def test_sigterm_has_an_exit_code_of_its_own_and_is_given_back(kogpt2_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scripts/run_summarize.py"])
    before = signal.getsignal(signal.SIGTERM)
    trainer = make(kogpt2_folder, tmp_path)
    trainer.add_callback(At(1, terminate, "on_step_begin"))
    trainer.add_callback(At(1, terminate, "on_step_begin"))  # a scheduler may say it twice
    with pytest.raises(Interrupted) as caught:
        trainer.train()
    assert caught.value.exit_code == 143
    assert str(caught.value).startswith(f"ended by SIGTERM at step 2; its state is in {tmp_path}/checkpoint-2; resume with:")
    assert capsys.readouterr().err.count("stopping after this step, to save it\n") == 1
    assert signal.getsignal(signal.SIGTERM) is before
    assert read_manifest(tmp_path / "checkpoint-2")["step"] == 2


def test_ctrl_c_that_torchrun_hands_on_is_no_second_one(kogpt2_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    trainer = make(kogpt2_folder, tmp_path)
    for _ in range(2):
        trainer.add_callback(At(1, lambda: os.kill(os.getpid(), signal.SIGINT), "on_step_begin"))
    with pytest.raises(Interrupted) as caught:
        trainer.train()
    assert caught.value.exit_code == 130


def test_a_signal_after_the_last_step_is_not_swallowed(kogpt2_folder, tmp_path):
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    trainer = make(kogpt2_folder, tmp_path, max_steps=1)
    trainer.callback_handler.callbacks.insert(0, At(1, terminate, "on_train_end"))
    trainer.train()
    assert seen == [1]


# A disk that refuses


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json", "complete.json"])
def test_a_full_disk_while_saving_keeps_the_checkpoint_before(kogpt2_folder, tmp_path, monkeypatch, name):
    settings = RUN | {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "no", "save_total_limit": 1}
    trainer = make(kogpt2_folder, tmp_path, **settings)
    replaced = os.replace

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def fill():
        if name == "model.safetensors":
            monkeypatch.setattr(trainer.model, "save_pretrained", lambda path, **_: full(f"{path}/{name}"))
        elif name == "optimizer.pt":
            monkeypatch.setattr(torch, "save", lambda state, path: full(path) if str(path).endswith(name) else None)
        elif name == "trainer_state.json":
            monkeypatch.setattr(trainer.state, "save_to_json", full, raising=False)
        else:
            monkeypatch.setattr(os, "replace", lambda a, b: full(b) if str(b).endswith(name) else replaced(a, b))

    trainer.add_callback(At(2, fill))
    with pytest.raises(UserError) as caught:
        trainer.train()
    monkeypatch.undo()
    assert str(caught.value).startswith(f"{tmp_path}/checkpoint-2 could not be written ({tmp_path}/checkpoint-2/{name}: No ")
    assert f"make room, and the same command resumes from {tmp_path}/checkpoint-1, which is complete" in str(caught.value)
    assert not (tmp_path / "checkpoint-2").exists()
    assert newest_complete(tmp_path)[0] == tmp_path / "checkpoint-1"


def test_a_run_is_extended_from_the_checkpoint_before_its_rate_falls(kogpt2_folder, tmp_path):
    settings = {
        "lr_scheduler_type": "warmup_stable_decay", "decay_share": 0.5, "warmup_steps": 1, "save_strategy": "steps",
        "save_steps": 3, "save_total_limit": 1, "dropout": 0.2, "logging_strategy": "steps", "logging_steps": 1,
    }  # fmt: skip
    short = make(kogpt2_folder, tmp_path / "short", max_steps=4, **settings)
    short.train()
    rates = [entry["learning_rate"] for entry in short.state.log_history if "loss" in entry]
    assert rates == pytest.approx([0, 0.01, 0.01, 0.005])  # at the end half a cosine
    kept = {path.name for path in (tmp_path / "short").glob("checkpoint-*")}
    assert kept == {"checkpoint-2", "checkpoint-4"}
    longer = make(kogpt2_folder, tmp_path / "longer", max_steps=8, **settings)
    longer.train()
    extended = make(kogpt2_folder, tmp_path / "short", max_steps=8, **settings)
    extended.train(resume_from_checkpoint=str(tmp_path / "short" / "checkpoint-2"))
    assert_same(weights(extended.model), weights(longer.model))
