"""Decoding in batches that shrink, against plain forward passes over one sequence after another."""

from __future__ import annotations

import torch
from transformers import LogitsProcessorList, TopKLogitsWarper

from tasks.inference.decoding import RoomyLayer, decode, drawn
from tasks.inference.forward import pad

PROMPTS = [[20, 31, 42], [60], [22, 33, 44, 55, 66], [90, 21], [23, 24, 25, 26, 27, 28, 29], [71, 72]]


def next_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1]


def by_hand(model, prompt, new_tokens, eos):
    """Greedy, without cache, batch or padding."""
    ids = list(prompt)
    for _ in range(new_tokens):
        token = next_logits(model, ids).argmax().item()
        if token == eos:
            break
        ids.append(token)
    return ids[len(prompt) :]


def run(predictor, prompts, eos, new_tokens=8, **settings):
    ids, mask = pad(prompts, 3, "left", torch.device("cpu"))
    return decode(predictor.model, ids, mask, max_new_tokens=new_tokens, eos_token_id=eos, **settings)


def test_rows_that_leave_do_not_change_the_others(any_folder, make_predictor):
    predictor = make_predictor(any_folder, "summarize")
    # A token that some rows write early and others late or never is the eos of this test.
    eos = by_hand(predictor.model, PROMPTS[0], 8, -1)[2]
    compared = []

    def compare(ids, logits):
        """Each row's logits with those of a plain pass over the same tokens, its padding (3) left out."""
        for row, values in zip(ids.tolist(), logits):
            expected = next_logits(predictor.model, row[next(i for i, token in enumerate(row) if token != 3) :])
            assert torch.allclose(values.log_softmax(-1), expected.log_softmax(-1), atol=2e-4)
            compared.append(len(row))
        return logits

    found = run(predictor, PROMPTS, eos, processors=LogitsProcessorList([compare]))
    assert found == [by_hand(predictor.model, prompt, 8, eos) for prompt in PROMPTS]
    assert len(set(map(len, found))) > 1  # they do end at different lengths
    assert compared.count(7) == 6  # the longest prompt has 7 tokens


def test_the_batch_shrinks(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "summarize")
    eos = by_hand(predictor.model, PROMPTS[0], 8, -1)[1]
    sizes = []
    plain = predictor.model.forward

    def forward(*args, **kwargs):
        sizes.append(len(kwargs["input_ids"]))
        return plain(*args, **kwargs)

    forward.__signature__ = __import__("inspect").signature(plain)
    monkeypatch.setattr(predictor.model, "forward", forward)
    run(predictor, [PROMPTS[0]] * 3 + PROMPTS[1:2], eos)
    assert sizes[0] == 4 and sizes[-1] == 1


def test_a_layer_with_room_holds_what_a_stock_layer_holds():
    layer = RoomyLayer(6)
    first, second = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 1, 5)
    layer.update(first, first)
    keys, values = layer.update(second, second)
    assert torch.equal(keys, torch.cat([first, second], dim=2)) and torch.equal(values, keys)
    assert layer.get_seq_length() == 5
    layer.batch_select_indices(torch.tensor([1]))
    assert torch.equal(layer.update(second[1:], second[1:])[0][:, :, :5], keys[1:])


def test_only_allowed_tokens_are_written(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "summarize")
    eos = 1
    found = run(predictor, PROMPTS, eos, allowed=lambda row, ids: [50 + row] if len(ids) < row else [eos])
    assert found == [[50 + row] * row for row in range(6)]


def test_sampling_takes_from_the_best(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "summarize")
    draws = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    best = run(predictor, PROMPTS, 1, warpers=LogitsProcessorList([TopKLogitsWarper(1)]), draws=draws)
    assert best == run(predictor, PROMPTS, 1)
    assert best != run(predictor, PROMPTS, 1, draws=draws)


def test_a_token_is_drawn_where_the_number_lies():
    # Probabilities 0.5, 0, 0.25, 0.25, 0.
    logits = torch.tensor([0.5, 0.0, 0.25, 0.25, 0.0]).log()
    numbers = torch.tensor([0.0, 0.49, 0.5, 0.74, 0.75, 1 - 2**-24])
    assert drawn(logits.expand(6, 5), numbers).tolist() == [0, 0, 2, 2, 3, 3]


def test_draws_follow_the_distribution():
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1)) * 2
    found = drawn(logits.expand(20_000, 50), torch.rand(20_000, generator=torch.Generator().manual_seed(2)))
    shares = torch.bincount(found, minlength=50) / 20_000
    assert (shares - logits.softmax(-1)).abs().max() < 0.015


def test_a_row_has_the_same_text_in_every_batch(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "summarize")
    draws = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    together = run(predictor, PROMPTS, 1, draws=draws)
    for row, prompt in enumerate(PROMPTS):
        assert run(predictor, [prompt], 1, draws=draws[row : row + 1])[0] == together[row]
