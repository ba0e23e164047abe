"""The parts of the training engine: each gives the loss and the gradients of the plain model."""

from __future__ import annotations

import copy
import platform

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import RandomSampler
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from tasks.model.speedups import fuse_gelu, head_on_labels_only, keep_freed_memory
from tasks.training.batches import SharedBatchSampler, TokenBudgetSampler
from tasks.training.collator import CompletionCollator, PaddingFreeCollator
from tests.conftest import tokenizer_of


def batch(vocabulary: int) -> dict[str, torch.Tensor]:
    """Three padded rows of different lengths, the loss on their last tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (3, 9), generator=generator)
    labels, mask = ids.clone(), torch.ones_like(ids)
    for row, (prompt, length) in enumerate(((4, 9), (2, 6), (7, 8))):
        labels[row, :prompt] = labels[row, length:] = -100
        mask[row, length:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def loss_and_gradients(model, inputs):
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.item(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


def check_same(one, other):
    assert one[0] == pytest.approx(other[0], abs=1e-5)
    assert one[1].keys() == other[1].keys()
    for name in one[1]:
        torch.testing.assert_close(one[1][name], other[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("items", [None, 17])
def test_the_head_on_labelled_positions_alone_learns_the_same(any_folder, items):
    plain = AutoModelForCausalLM.from_pretrained(any_folder, dtype=torch.float32).train()
    fast = copy.deepcopy(plain)
    assert head_on_labels_only(fast)
    inputs = batch(plain.config.vocab_size) | ({} if items is None else {"num_items_in_batch": items})
    check_same(loss_and_gradients(fast, inputs), loss_and_gradients(plain, inputs))


def test_without_labels_the_model_is_as_it_was(kogpt2_folder):
    plain = AutoModelForCausalLM.from_pretrained(kogpt2_folder).eval()
    fast = copy.deepcopy(plain)
    head_on_labels_only(fast)
    inputs = {name: value for name, value in batch(100).items() if name != "labels"}
    torch.testing.assert_close(fast(**inputs).logits, plain(**inputs).logits, atol=0, rtol=0)


def test_a_model_whose_logits_are_capped_keeps_its_own_forward():
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.5,
        )
    )  # fmt: skip
    before = model.forward
    assert not head_on_labels_only(model)
    assert model.forward == before


def test_autocast_reaches_the_base_model_and_the_head(kogpt2_folder):
    model = AutoModelForCausalLM.from_pretrained(kogpt2_folder).train()
    head_on_labels_only(model)
    kinds = []
    model.lm_head.register_forward_hook(lambda module, given, made: kinds.append(made.dtype))
    model.transformer.h[0].mlp.c_fc.register_forward_hook(lambda module, given, made: kinds.append(made.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(**batch(100))
    assert kinds == [torch.bfloat16, torch.bfloat16]


def test_the_fused_gelu_learns_the_same(kogpt2_folder):
    plain = AutoModelForCausalLM.from_pretrained(kogpt2_folder).train()
    fast = copy.deepcopy(plain)
    assert fuse_gelu(fast) == 2  # one a layer
    check_same(loss_and_gradients(fast, batch(100)), loss_and_gradients(plain, batch(100)))
    assert fast.config.activation_function == "gelu_new"


ROWS = [
    {"input_ids": [20, 21, 22, 23, 24, 1], "labels": [-100, -100, 22, 23, 24, 1]},
    {"input_ids": [30, 1], "labels": [-100, 1]},
    {"input_ids": [40, 41, 42, 1], "labels": [-100, 41, 42, 1]},
]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rows_without_padding_learn_what_padded_rows_learn(any_folder, attention):
    model = AutoModelForCausalLM.from_pretrained(any_folder, attn_implementation=attention, dtype=torch.float32).train()
    model.config.use_cache = False  # as the Trainer sets it
    tokenizer = tokenizer_of(any_folder)
    padded, free = CompletionCollator(tokenizer)(ROWS), PaddingFreeCollator(tokenizer)(ROWS)
    expected = loss_and_gradients(model, padded)
    check_same(loss_and_gradients(model, free), expected)
    head_on_labels_only(model)
    check_same(loss_and_gradients(model, free), expected)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("collator", [CompletionCollator, PaddingFreeCollator])
def test_neighbours_in_a_batch_cannot_see_each_other(any_folder, attention, collator):
    model = AutoModelForCausalLM.from_pretrained(any_folder, attn_implementation=attention, dtype=torch.float32).eval()
    make = collator(tokenizer_of(any_folder))
    last = {"input_ids": ROWS[2]["input_ids"], "labels": ROWS[2]["labels"]}
    losses = []
    for neighbour in (ROWS[0]["input_ids"], [70, 71, 72, 73, 74, 1]):
        batch = make([{"input_ids": neighbour, "labels": [-100] * 6}, last])
        with torch.no_grad():
            losses.append(model(**batch, use_cache=False).loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_glibc_takes_the_settings_that_keep_freed_memory(monkeypatch):
    assert keep_freed_memory() is (platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert keep_freed_memory() is False


# Batches


LENGTHS = [5 + (7 * n) % 60 for n in range(500)]


def test_a_batch_stays_within_its_tokens_and_every_row_comes_once():
    sampler = TokenBudgetSampler(LENGTHS, 256, epochs=3)
    for epoch in range(3):
        batches = sampler.plan(epoch)
        assert sorted(row for rows in batches for row in rows) == list(range(500))
        assert max(len(rows) * max(LENGTHS[row] for row in rows) for rows in batches) <= 256
        assert len(batches) == len(sampler)


def test_little_is_padding():
    batches = TokenBudgetSampler(LENGTHS, 1024).plan(0)
    padded = sum(len(rows) * max(LENGTHS[row] for row in rows) for rows in batches)
    assert sum(LENGTHS) / padded > 0.9


def test_without_padding_batches_are_filled_by_the_sum_in_shuffled_order():
    sampler = TokenBudgetSampler(LENGTHS, 256, epochs=2, padding_free=True)
    batches = sampler.plan(1)
    assert sorted(row for rows in batches for row in rows) == list(range(500))
    sizes = [sum(LENGTHS[row] for row in rows) for rows in batches]
    assert max(sizes) <= 256
    assert sum(sizes) / len(sizes) > 200
    spread = [max(LENGTHS[row] for row in rows) - min(LENGTHS[row] for row in rows) for rows in batches]
    assert sum(spread) / len(spread) > 20  # short rows beside long ones


def test_a_row_longer_than_the_budget_stands_alone_without_padding_too():
    batches = TokenBudgetSampler([3, 100, 3, 3], 10, padding_free=True).plan(0)
    assert batches[0] == [1]
    assert sorted(row for rows in batches[1:] for row in rows) == [0, 2, 3]


def test_epochs_differ_and_seeds_differ_and_a_plan_comes_again():
    sampler, other = TokenBudgetSampler(LENGTHS, 256, epochs=2), TokenBudgetSampler(LENGTHS, 256, epochs=2, seed=7)
    assert sampler.plan(0) != sampler.plan(1)
    assert sampler.plan(0) != other.plan(0)
    assert sampler.plan(1) == TokenBudgetSampler(LENGTHS, 256, epochs=2).plan(1)


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_processes_share_the_rows_without_overlap_in_as_many_steps(world_size):
    samplers = [TokenBudgetSampler(LENGTHS, 256, epochs=2, rank=rank, world_size=world_size) for rank in range(world_size)]
    for epoch in (0, 1):
        seen = []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            batches = list(sampler)
            assert len(batches) == len(sampler) == len(samplers[0])
            seen += [row for rows in batches for row in rows]
        assert sorted(seen) == list(range(500))


def test_an_epoch_that_was_not_planned_has_as_many_batches():
    sampler = TokenBudgetSampler(LENGTHS, 64, epochs=1)
    for epoch in range(20):
        batches = sampler.plan(epoch)
        assert len(batches) == len(sampler)
        assert sorted(row for rows in batches for row in rows) == list(range(500))


def test_the_largest_batch_comes_first():
    rows = TokenBudgetSampler([3, 100, 3, 3], 10).plan(0)[0]
    assert rows == [1]


def test_one_row_for_two_processes_leaves_one_of_them_without():
    assert TokenBudgetSampler([4], 16, world_size=2).plan(0) == [[0], []]


def test_two_processes_take_the_steps_of_one_that_accumulates():
    one = TokenBudgetSampler(LENGTHS, 256, epochs=2, accumulation=2)
    two = [TokenBudgetSampler(LENGTHS, 256, epochs=2, rank=rank, world_size=2) for rank in range(2)]
    for epoch in (0, 1):
        one.set_epoch(epoch)
        for sampler in two:
            sampler.set_epoch(epoch)
        batches = list(one)
        assert len(batches) % 2 == 0
        assert batches == [rows for step in zip(*two) for rows in step]


@pytest.mark.parametrize(("rows", "shares"), [(8, [[0, 2], [4, 6]]), (5, [[0, 2], [4]]), (1, [[0]])])
def test_batches_of_rows_are_dealt_out(rows, shares):
    first, second = (SharedBatchSampler(range(rows), 2, rank=rank, world_size=2) for rank in range(2))
    assert list(first) == shares and len(first) == len(second) == len(shares)
    assert [row for batch in second for row in batch] == list(range(1, rows, 2))
    whole = SharedBatchSampler(range(rows), 2, world_size=2, drop_last=True)
    assert len(whole) == len(list(whole)) == rows // 4


def test_batches_of_rows_are_shuffled_by_seed_and_epoch_as_accelerate_shuffles():
    batches = SharedBatchSampler(RandomSampler(range(20)), 20, seed=7)
    torch.manual_seed(0)  # of no account
    expected = SeedableRandomSampler(range(20), data_seed=7)
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        expected.set_epoch(epoch)
        assert list(batches) == [list(expected)]
