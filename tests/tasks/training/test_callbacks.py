"""What training prints: one short line a log step, one an evaluation, and tokens a second that are right."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from tasks.errors import Interrupted
from tasks.training import callbacks
from tasks.training.callbacks import Throughput, log_line
from tasks.training.trainer import mean_loss
from tests.helpers.trainers import At, make


def test_a_line_a_log_step_and_an_evaluation(kogpt2_folder, tmp_path, capsys):
    trainer = make(
        kogpt2_folder, tmp_path, lambda: {"rougeL": 0.25, "rows": 8}, max_steps=4, logging_strategy="steps", logging_steps=2,
        eval_strategy="steps", eval_steps=4, metric_for_best_model="rougeL",
    )  # fmt: skip
    trainer.train()
    lines = capsys.readouterr().out.splitlines()
    number = r"\d+\.\d{4}"
    patterns = [
        rf"step 2/4  loss {number}  learning rate 0\.01  [\d,]+ tokens/s",
        rf"step 4/4  loss {number}  learning rate \S+  [\d,]+ tokens/s",
        rf"step 4/4  eval_loss {number}  eval_rougeL 0\.2500",
        rf"trained 4 steps in 0:\d\d:\d\d; mean loss {number}",
    ]
    assert len(lines) == len(patterns)
    for line, pattern in zip(lines, patterns):
        assert re.fullmatch(pattern, line), line
    first, second, last = (float(re.search(rf"loss ({number})", lines[i])[1]) for i in (0, 1, 3))
    assert last == pytest.approx((first + second) / 2, abs=1e-4)


def test_the_steps_are_counted_beside_the_lines_of_the_log(kogpt2_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tasks.progress.INTERVAL", 0.0)  # as if each step took half a minute
    make(kogpt2_folder, tmp_path, max_steps=3, disable_tqdm=False).train()
    told = capsys.readouterr().err
    assert re.findall(r"^training: (\d) of 3 steps, +\S+step/s, about \d\d:\d\d left$", told, re.M) == ["1", "2"]


def test_an_evaluation_outside_of_training_names_no_step():
    assert log_line({"eval_loss": 2.0, "eval_runtime": 3.0, "epoch": 1.0}, 0, 0) == "eval_loss 2.0000"
    assert log_line({"loss": 1.5, "learning_rate": 2.5e-5, "tokens_per_second": 12345.6}, 1200, 5000) == (
        "step 1,200/5,000  loss 1.5000  learning rate 2.5e-05  12,346 tokens/s"
    )


def test_the_mean_loss_weighs_lines_by_their_steps():
    log = [{"step": 3, "loss": 2.0}, {"step": 3, "eval_loss": 9.0}, {"step": 4, "loss": 4.0}]
    assert mean_loss(log) == 2.5
    assert mean_loss([]) == 0.0


def test_tokens_a_second_are_those_of_the_rows_and_leave_evaluations_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    accelerator = SimpleNamespace(device=torch.device("cpu"), reduce=lambda tensor, reduction: tensor * 2)  # two processes
    throughput = Throughput(accelerator)
    throughput.on_train_begin()
    for _ in range(2):
        throughput.count({"input_ids": torch.ones(2, 5), "attention_mask": torch.tensor([[1] * 5, [1] * 3 + [0] * 2])})
        now[0] += 2
        throughput.on_step_end()
    now[0] += 100  # an evaluation
    throughput.on_evaluate()
    throughput.count({"input_ids": torch.ones(1, 4), "position_ids": torch.arange(4)[None]})
    now[0] += 1
    throughput.on_step_end()
    assert throughput.per_second() == (8 + 8 + 4) * 2 / 5
    throughput.count({"input_ids": torch.ones(1, 3)})
    now[0] += 3
    throughput.on_step_end()
    assert throughput.per_second() == 2.0


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("arrives", ["in the evaluation", "in the step before it"])
def test_an_evaluation_that_takes_long_after_a_sigterm_is_given_up(kogpt2_folder, tmp_path, monkeypatch, saved, arrives):
    monkeypatch.setattr(callbacks, "GRACE", 0.2)
    monkeypatch.setattr(sys, "argv", ["scripts/run_nli.py", "--seed", "1"])
    trainer = make(kogpt2_folder, tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2,
                   save_strategy="steps" if saved else "no", save_steps=1, load_best_model_at_end=False)  # fmt: skip
    end = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    plain, started = trainer.prediction_step, time.monotonic()

    def slow(*args, **more):
        if arrives == "in the evaluation":
            end()
        time.sleep(60)
        return plain(*args, **more)

    trainer.prediction_step = slow
    if arrives == "in the step before it":
        trainer.add_callback(At(2, end))
    with pytest.raises(Interrupted) as caught:
        trainer.train()
    command = "resume with: python scripts/run_nli.py --seed 1 --resume_from_checkpoint last"
    assert (caught.value.exit_code, str(caught.value)) == (
        143, f"ended by SIGTERM at step 2; its state is in {tmp_path}/checkpoint-2; {command}"
    )  # fmt: skip
    assert time.monotonic() - started < 50
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
