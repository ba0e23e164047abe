"""The Trainer: loss by tokens, resumed and best weights that are whole, what is saved, Ctrl-C."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from tasks import get_task
from tasks.errors import Interrupted, UserError
from tasks.inference.predicting import Predictor
from tasks.preparing.encoding import IGNORE
from tasks.run_folder import RunConfig
from tests.helpers.trainers import At, assert_same, head, make, seen_rows, weights


@pytest.fixture(autouse=True)
def _sigint_as_it_was():
    """A run that fails half-way must not take Ctrl-C away from the tests after it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("start", ["trainer", "predictor"])
def test_attention_never_waits_for_plans_of_cudnn(kogpt2_folder, tmp_path, start):
    """On an H200 (torch 2.11) long documents of differing length trained 4.7 times as fast without them."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    if start == "trainer":
        make(kogpt2_folder, tmp_path)
    else:
        Predictor(get_task("nli"), None, None, {})
    assert not torch.backends.cuda.cudnn_sdp_enabled()


# Loss


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_eval_loss_is_the_mean_over_labelled_tokens_whatever_the_batch_size(any_folder, tmp_path, batch_size):
    trainer = make(any_folder, tmp_path, per_device_eval_batch_size=batch_size)
    model = trainer.model.eval()
    total, count = 0.0, 0
    for row in trainer.eval_dataset:
        with torch.no_grad():
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        total += cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum").item()
        count += (labels != IGNORE).sum().item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(total / count, abs=1e-5)


def test_the_plain_mean_of_batches_would_be_another_figure(kogpt2_folder, tmp_path):
    # Guards the test above: with these rows the two means must be far apart.
    trainer = make(kogpt2_folder, tmp_path, per_device_eval_batch_size=1)
    for parameter in trainer.model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(1))
    loss = trainer.evaluate()["eval_loss"]
    means = []
    for row in trainer.eval_dataset:
        with torch.no_grad():
            ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
            means.append(trainer.model.eval()(ids, labels=labels).loss.item())
    assert abs(loss - sum(means) / len(means)) > 1e-2


def test_evaluation_without_a_labelled_token_has_no_loss(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path)
    trainer.eval_dataset = Dataset.from_list([{"input_ids": [20, 21], "labels": [IGNORE, IGNORE]}])
    assert math.isnan(trainer.evaluate()["eval_loss"])


def test_gradient_accumulation_4x2_is_one_batch_of_8(any_folder, tmp_path):
    # Plain gradient descent: Adam's first step has the size of the learning rate whatever the gradient is.
    common = {"max_steps": 1, "optim": "sgd", "learning_rate": 0.5, "warmup_steps": 0, "max_grad_norm": 0}
    whole = make(any_folder, tmp_path / "a", per_device_train_batch_size=8, **common)
    parts = make(
        any_folder, tmp_path / "b", per_device_train_batch_size=4, gradient_accumulation_steps=2, **common
    )  # fmt: skip
    before = weights(whole.model)
    whole.train()
    parts.train()
    assert_same(weights(parts.model), weights(whole.model), tolerance=1e-5)
    moved = max((after - before[name]).abs().max().item() for name, after in weights(whole.model).items())
    assert moved > 1e-3


def test_training_lowers_the_loss(any_folder, tmp_path):
    trainer = make(any_folder, tmp_path, max_steps=6, per_device_train_batch_size=4)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before - 0.5


# What is saved


def test_checkpoint_and_model_load_elsewhere(any_folder, tmp_path):
    trainer = make(any_folder, tmp_path, max_steps=2, save_strategy="steps", save_steps=1)
    trainer.train()
    trainer.save_model()
    for folder in (tmp_path, tmp_path / "checkpoint-1", tmp_path / "checkpoint-2"):
        assert json.loads((folder / "config.json").read_text("utf-8"))["use_cache"] is True
        assert not (folder / "training_args.bin").exists()
        assert RunConfig.load(folder) == trainer.run_config
        tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        assert tokenizer_config["tokenizer_class"] == "PreTrainedTokenizerFast"
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_same(weights(plain), weights(trainer.model))
    assert torch.equal(head(plain), head(trainer.model))
    text = "민준이는 책을 빌렸다.<summarize>"
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == trainer.processing_class(text).input_ids


def test_saving_leaves_use_cache_as_training_set_it(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path, max_steps=1)
    trainer.train()
    trainer.model.config.use_cache = False
    trainer.save_model()
    assert trainer.model.config.use_cache is False


# Resuming and the best model


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(any_folder, tmp_path):
    # Shuffled rows and dropout: order, random state, optimizer and schedule all have to come back.
    common = {"dropout": 0.1, "max_steps": 6, "save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
    whole = make(any_folder, tmp_path, **common)
    whole.train()
    resumed = make(any_folder, tmp_path / "other", **common)
    with torch.no_grad():  # nothing may be left of what the model was before
        for parameter in resumed.model.parameters():
            parameter.fill_(0.123)
    torch.rand(7)  # the random state is not what it was either
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == 6
    assert_same(weights(resumed.model), weights(whole.model), tolerance=1e-6)
    assert torch.allclose(head(resumed.model), head(whole.model), atol=1e-6)


def test_dropout_and_order_matter_in_the_test_above(kogpt2_folder, tmp_path):
    # Otherwise it would pass with a random state that is not restored.
    results = []
    for seed in (1, 2):
        trainer = make(kogpt2_folder, tmp_path / str(seed), dropout=0.1, seed=seed)
        trainer.train()
        results.append(weights(trainer.model))
    assert any((results[0][name] - results[1][name]).abs().max() > 1e-3 for name in results[0])


def scripted(*values: float, name: str = "rougeL"):
    """A score_task that gives these figures, one an evaluation."""
    remaining = iter(values)
    return lambda: {name: next(remaining), "rows": 3}


def test_the_best_model_comes_back_with_every_weight(any_folder, tmp_path):
    trainer = make(
        any_folder, tmp_path, scripted(0.1, 0.9, 0.2, 0.3), eval_strategy="steps", eval_steps=1, save_strategy="steps",
        save_steps=1, load_best_model_at_end=True, metric_for_best_model="rougeL",
    )  # fmt: skip
    best = {}
    trainer.add_callback(At(2, lambda: best.update(all=weights(trainer.model), head=head(trainer.model))))
    last = {}
    trainer.add_callback(At(4, lambda: last.update(all=weights(trainer.model), head=head(trainer.model))))
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")
    assert trainer.state.best_metric == 0.9
    assert_same(weights(trainer.model), best["all"])
    assert torch.equal(head(trainer.model), best["head"])
    assert not torch.equal(last["head"], best["head"])


@pytest.mark.parametrize("metric", ["loss", "eval_loss"])
def test_the_best_model_is_the_one_of_the_lowest_loss_by_default(kogpt2_folder, tmp_path, metric):
    losses = []
    trainer = make(
        kogpt2_folder, tmp_path, lambda: pytest.fail("the task's metrics were not asked for"), learning_rate=0.5,
        lr_scheduler_type="constant", eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
        load_best_model_at_end=True, metric_for_best_model=metric,
    )  # fmt: skip
    trainer.add_callback(
        type(
            "Log", (TrainerCallback,), {"on_evaluate": lambda self, *a, metrics, **k: losses.append(metrics["eval_loss"])}
        )()
    )
    trainer.train()
    assert len(losses) == 4 and len(set(losses)) == 4
    assert trainer.state.best_metric == min(losses)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), abs=1e-6)


def test_a_task_metric_that_falls_is_best_where_it_is_highest_unless_told_otherwise(kogpt2_folder, tmp_path):
    trainer = make(
        kogpt2_folder, tmp_path, scripted(3.0, 1.0, 2.0, 4.0, name="bits_per_character"), eval_strategy="steps",
        eval_steps=1, save_strategy="steps", save_steps=1, load_best_model_at_end=True,
        metric_for_best_model="bits_per_character", greater_is_better=False,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-2")


def test_the_last_loss_is_measured_without_the_tasks_metrics(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path, lambda: pytest.fail("not needed"), metric_for_best_model="rougeL")
    assert trainer.evaluate()["eval_loss"] > 0


def test_early_stopping_ends_after_its_patience(kogpt2_folder, tmp_path):
    trainer = make(
        kogpt2_folder, tmp_path, scripted(0.5, 0.4, 0.3, 0.9), max_steps=10, eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=1, load_best_model_at_end=True, metric_for_best_model="rougeL",
        early_stopping_patience=2,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 3
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-1")


@pytest.mark.parametrize("keep", [0, 100, -1000])
def test_a_damaged_checkpoint_is_an_error(any_folder, tmp_path, keep):
    trainer = make(any_folder, tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    path = tmp_path / "checkpoint-1" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="checkpoint-1: the checkpoint cannot be read"):
        make(any_folder, tmp_path, max_steps=2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


# Ctrl-C


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_saves_after_the_step_and_says_how_to_go_on(kogpt2_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scripts/run_summarize.py", "--output_dir", "my runs"])
    before = signal.getsignal(signal.SIGINT)
    trainer = make(kogpt2_folder, tmp_path / "run")
    trainer.add_callback(At(1, interrupt, "on_step_begin"))
    with pytest.raises(Interrupted) as caught:
        trainer.train()
    assert str(caught.value) == (
        f"interrupted at step 2; its state is in {tmp_path}/run/checkpoint-2; resume with: python scripts/run_summarize.py "
        "--output_dir 'my runs' --resume_from_checkpoint last"
    )
    assert "stopping after this step" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "run/checkpoint-2/trainer_state.json").is_file()

    whole, resumed = make(kogpt2_folder, tmp_path / "whole"), make(kogpt2_folder, tmp_path / "run")
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))
    assert_same(weights(resumed.model), weights(whole.model), tolerance=1e-6)


def test_the_resume_flag_is_not_given_twice(kogpt2_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run.py", "--resume_from_checkpoint", "last"])
    trainer = make(kogpt2_folder, tmp_path)
    trainer.add_callback(At(1, interrupt, "on_step_begin"))
    with pytest.raises(Interrupted, match=r"python run\.py --resume_from_checkpoint last$"):
        trainer.train()


def test_a_second_ctrl_c_stops_at_once(kogpt2_folder, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    trainer = make(kogpt2_folder, tmp_path)
    trainer.add_callback(At(1, interrupt, "on_step_begin"))
    trainer.add_callback(At(1, interrupt, "on_step_begin"))
    with pytest.raises(KeyboardInterrupt) as caught:
        trainer.train()
    assert not isinstance(caught.value, Interrupted)
    assert not (tmp_path / "checkpoint-2").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_given_back_after_training(kogpt2_folder, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    make(kogpt2_folder, tmp_path, max_steps=1).train()
    assert signal.getsignal(signal.SIGINT) is before


# Batches by tokens


def test_batches_by_tokens_see_every_row_once_an_epoch(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path, tokens_per_batch=64, num_train_epochs=2)
    steps = seen_rows(trainer)
    trainer.train()
    rows = sorted(tuple(ids) for ids in trainer.train_dataset["input_ids"])
    half = len(steps) // 2
    for epoch in (steps[:half], steps[half:]):
        assert sorted(row for batch in epoch for row in batch) == rows
    assert max(len(batch) * max(map(len, batch)) for batch in steps) <= 64
    assert trainer.state.epoch == 2


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_by_default_a_batch_holds_the_tokens_of_its_rows_on_average(kogpt2_folder, tmp_path, batch_size):
    trainer = make(kogpt2_folder, tmp_path, tokens_per_batch=None, per_device_train_batch_size=batch_size)
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    sampler = trainer.get_train_dataloader().batch_sampler
    assert sampler.tokens_per_batch == math.ceil(batch_size * sum(lengths) / 8)
    assert not sampler.padding_free


def test_a_run_without_padding_learns_what_a_padded_one_learns(any_folder, tmp_path):
    # Every row in each step, whatever their order. Plain gradient descent: Adam's first steps blow rounding up.
    settings = {"tokens_per_batch": 10_000, "max_steps": 3, "optim": "sgd"}
    free = make(any_folder, tmp_path / "free", padding_free=True, **settings)
    assert free.get_train_dataloader().batch_sampler.padding_free
    padded = make(any_folder, tmp_path / "padded", **settings)
    assert free.train().training_loss == pytest.approx(padded.train().training_loss, abs=1e-5)
    assert_same(weights(free.model), weights(padded.model), tolerance=1e-5)


def test_rows_are_told_apart_by_positions_or_not_at_all(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path, tokens_per_batch=64, padding_free=True)
    trainer.model.forward = lambda input_ids, attention_mask=None, labels=None: None
    with pytest.raises(UserError, match=r"--padding_free: GPT2LMHeadModel takes no positions"):
        trainer.get_train_dataloader()
    with pytest.raises(UserError, match="leave out --tokens_per_batch 0"):
        make(kogpt2_folder, tmp_path, padding_free=True)


def test_a_run_resumed_in_the_middle_of_its_second_epoch_sees_the_rest_once(kogpt2_folder, tmp_path):
    settings = {"tokens_per_batch": 48, "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 1, "dropout": 0.1}
    whole = make(kogpt2_folder, tmp_path / "whole", **settings)
    steps = seen_rows(whole)
    whole.train()
    middle = len(steps) // 2 + 1  # one step into the second epoch
    again = make(kogpt2_folder, tmp_path / "again", **settings)
    rest = seen_rows(again)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{middle}"))
    assert rest == steps[middle:]
    assert_same(weights(again.model), weights(whole.model))


def test_the_engine_learns_what_the_plain_trainer_learns(any_folder, tmp_path):
    fast = make(any_folder, tmp_path / "fast", max_steps=3)
    plain = make(any_folder, tmp_path / "plain", max_steps=3, labelled_head=False, fused_gelu=False)
    assert fast.train().training_loss == pytest.approx(plain.train().training_loss, abs=1e-5)
    assert_same(weights(fast.model), weights(plain.model), tolerance=1e-4)


def test_on_cpu_a_model_with_dropout_trains_with_eager_attention(kogpt2_folder, tmp_path):
    seen = []
    trainer = make(kogpt2_folder, tmp_path, dropout=0.1)
    trainer.model.config.attn_pdrop = 0.1
    trainer.add_callback(At(1, lambda: seen.append(trainer.model.config._attn_implementation)))
    trainer.train()
    assert (seen, trainer.model.config._attn_implementation) == (["eager"], "sdpa")
    plain = make(kogpt2_folder, tmp_path / "plain")
    plain.add_callback(At(1, lambda: seen.append(plain.model.config._attn_implementation)))
    plain.train()
    assert seen == ["eager", "sdpa"]
