"""Batches by length and their padding; log-probabilities against plain passes over one sequence; windows of a long text."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.inference.forward import (
    batches_by_length,
    choice_logprobs,
    pad,
    rows_of,
    text_windows,
    token_logprobs,
    tokens_that_fit,
)
from tasks.inference.generation import generate

PAIRS = [([20, 31, 42], [50, 51]), ([60], [61, 62, 63, 64, 65]), ([22, 33, 44, 55, 66], [77]), ([90, 21], [22, 23, 24])]


def by_hand(model, context, target):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*context, *target]]), use_cache=False).logits[0]
    logprobs = logits.log_softmax(dim=-1)
    return [logprobs[len(context) - 1 + i, token].item() for i, token in enumerate(target)]


class Plain(torch.nn.Module):
    """A model whose forward knows no ``logits_to_keep`` and returns all logits."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.device = model.device

    def forward(self, input_ids, attention_mask, use_cache):
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)
        return SimpleNamespace(logits=output.logits)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_each_token_has_the_log_probability_of_a_plain_forward_pass(any_folder, make_predictor, batch_size):
    predictor = make_predictor(any_folder, "generate")
    pad = predictor.encoder.tokenizer.pad_token_id
    expected = [by_hand(predictor.model, *pair) for pair in PAIRS]
    for model in (predictor.model, Plain(predictor.model)):
        assert ("logits_to_keep" in inspect.signature(model.forward).parameters) == (model is predictor.model)
        found = token_logprobs(model, PAIRS, pad, batch_size)
        assert [len(row) for row in found] == [2, 5, 1, 3]
        for row, wanted in zip(found, expected):
            assert row == pytest.approx(wanted, abs=2e-4)


def test_the_head_runs_only_where_some_row_needs_it(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "generate")
    kept, forward = [], predictor.model.forward

    def watched(input_ids=None, attention_mask=None, use_cache=None, logits_to_keep=0):
        kept.append(logits_to_keep)
        return forward(input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=logits_to_keep)

    monkeypatch.setattr(predictor.model, "forward", watched)
    token_logprobs(predictor.model, [([20] * 30, [21]), ([20] * 28, [21, 22])], 3, 8)
    # Widths 30 and 29; the first wanted position is the 28th.
    assert kept == [3]


def test_log_probabilities_of_all_tokens_sum_to_one(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "generate")
    vocabulary = predictor.model.config.vocab_size
    rows = token_logprobs(predictor.model, [([20, 31], [token]) for token in range(vocabulary)], 3, 256)
    assert torch.tensor([row[0] for row in rows]).exp().sum().item() == pytest.approx(1.0, abs=1e-4)


def test_nothing_to_score_gives_nothing(kogpt2_folder, make_predictor):
    assert token_logprobs(make_predictor(kogpt2_folder, "generate").model, [], 3, 8) == []


def test_windows_of_a_text_by_hand():
    assert text_windows([0], list(range(1, 11)), max_length=4) == [
        ([0], [1, 2, 3]),
        ([2, 3], [4, 5]),
        ([4, 5], [6, 7]),
        ([6, 7], [8, 9]),
        ([7, 8, 9], [10]),  # the last one is as long as the others: what is left over is context
    ]


def test_a_text_that_fits_is_one_window():
    assert text_windows([0], [1, 2, 3], max_length=4) == [([0], [1, 2, 3])]
    assert text_windows([0], [1], max_length=4) == [([0], [1])]


@pytest.mark.parametrize("max_length", [2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 40])
def test_windows_cover_every_token_once_with_half_a_window_before_it(max_length, length):
    text = list(range(1, length + 1))
    windows = text_windows([0], text, max_length)
    assert [token for _, target in windows for token in target] == text
    for number, (context, target) in enumerate(windows):
        assert target
        assert len(context) + len(target) <= max_length
        whole = [*context, *target]
        assert whole == list(range(whole[0], whole[0] + len(whole)))  # the context is what stands right before
        assert number == 0 or len(context) >= max_length // 2


@pytest.mark.parametrize("choices", [[[7], [8], [9]], [[7], [8, 12], [9, 13, 14]], [[7, 11, 5], [7, 11, 6]]])
def test_choices_have_the_log_probability_of_their_tokens(any_folder, make_predictor, choices):
    predictor = make_predictor(any_folder, "nli")
    prompts = [[4, 9, 30, 21, 6], [8, 12], [5, 17, 40, 22, 31, 11, 9], [33]]
    pad = predictor.encoder.tokenizer.pad_token_id
    found = choice_logprobs(predictor.model, prompts, choices, pad, 3)
    pairs = [(prompt, choice) for prompt in prompts for choice in choices]
    expected = [sum(row) for row in token_logprobs(predictor.model, pairs, pad, 1)]
    assert [value for row in found for value in row] == pytest.approx(expected, abs=2e-4)


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


def test_a_processor_scores_sixteen_rows_where_none_are_given():
    on = {kind: SimpleNamespace(device=torch.device(kind)) for kind in ("cpu", "cuda")}
    assert [rows_of(on["cpu"], None), rows_of(on["cpu"], 50)] == [16, 50]
    assert [rows_of(on["cuda"], None), rows_of(on["cuda"], 5)] == [4096, 5]


def test_a_processor_writes_many_short_texts_together_and_few_long_ones(make_predictor, kogpt2_folder, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "summarize")
    rows, settings = [], predictor.settings | {"max_new_tokens": 2}
    predictor.model.register_forward_pre_hook(lambda model, _, given: rows.append(len(given["input_ids"])), with_kwargs=True)
    monkeypatch.setattr("tasks.inference.generation.MAX_TOKENS", 60)
    for length, most in ((3, 12), (28, 2)):  # and two new tokens each
        rows.clear()
        generate(predictor.model, predictor.encoder.tokenizer, [[20] * length] * 13, settings)
        assert max(rows) == most
