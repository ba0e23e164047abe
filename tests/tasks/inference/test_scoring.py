"""Log-probabilities against plain forward passes over one sequence, and the windows of a long text."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch

from tasks.inference.scoring import choice_logprobs, text_windows, token_logprobs

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
