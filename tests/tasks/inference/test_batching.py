"""Batches by length, and padding on either side."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import torch
from transformers import AutoModelForCausalLM

from tasks.inference.batching import batches_by_length, pad, tokens_that_fit
from tasks.inference.generation import generate


def test_the_longest_come_first_and_equals_keep_their_order():
    assert list(batches_by_length([3, 9, 3, 7, 9], batch_size=2, max_tokens=1000)) == [[1, 4], [3, 0], [2]]


def test_a_batch_counts_its_padding_against_the_limit_of_tokens():
    # 10 + 10 would be 20, over the limit; 5 and 4 cost two times 5, which is the limit.
    assert list(batches_by_length([4, 10, 5], batch_size=8, max_tokens=10)) == [[1], [2, 0]]


def test_a_sequence_over_the_limit_is_a_batch_of_its_own():
    assert list(batches_by_length([50, 1, 60], batch_size=8, max_tokens=10)) == [[2], [0], [1]]


def test_nothing_gives_no_batch():
    assert list(batches_by_length([], batch_size=4, max_tokens=10)) == []


def test_padding_on_the_left_and_on_the_right():
    ids, mask = pad([[5, 6], [7, 8, 9]], 3, "left", torch.device("cpu"))
    assert ids.tolist() == [[3, 5, 6], [7, 8, 9]]
    assert mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    ids, mask = pad([[5, 6], [7, 8, 9]], 3, "right", torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 3], [7, 8, 9]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_the_mask_goes_by_place_and_not_by_value():
    # A token equal to pad is text where it stands in the sequence: many models pad with eos.
    _, mask = pad([[3, 3], [3]], 3, "right", torch.device("cpu"))
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_memory_bounds_a_batch_by_what_its_tokens_keep(kogpt2_folder, monkeypatch):
    # 2 layers, 2 heads of 16, 32 wide, float32: (2 * 2 * 64 + 16 * 32) * 4 bytes a token, in half of 30,720.
    model = AutoModelForCausalLM.from_pretrained(kogpt2_folder, dtype=torch.float32)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=30_720))
    assert tokens_that_fit(model) == 5
    assert tokens_that_fit(model.to(torch.bfloat16)) == 10
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert tokens_that_fit(model) == 5
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    assert tokens_that_fit(model) == 1


def test_fewer_rows_are_written_together_where_memory_is_short(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "summarize", batch_size=None)
    rows: list[int] = []
    predictor.model.register_forward_pre_hook(lambda model, _, given: rows.append(len(given["input_ids"])), with_kwargs=True)
    prompts = [[20 + i, 21, 22] for i in range(6)]
    settings = predictor.settings | {"max_new_tokens": 2}
    together = generate(predictor.model, predictor.encoder.tokenizer, prompts, settings)
    assert rows[0] == 6
    monkeypatch.setattr("tasks.inference.generation.tokens_that_fit", lambda model: 10)  # two rows of three and two tokens
    rows.clear()
    assert generate(predictor.model, predictor.encoder.tokenizer, prompts, settings) == together
    assert max(rows) == 2
