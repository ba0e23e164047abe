"""Batched generation: the same texts as one by one, in the order of the input, under the settings that were asked for."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
)

from tasks import get_task
from tasks.inference import generation
from tasks.inference.forward import pad
from tasks.inference.generation import CompletionOnly, RoomyLayer, decode, drawn, generate
from tasks.model.loading import generation_config
from tests.helpers.task_rows import TRAINED, rows_of

PROMPTS = [[20, 31, 42], [50], [22, 33, 44, 55, 66, 77, 88], [90, 21], [60, 61, 62, 63, 64]]


def settings(**overrides):
    return {
        "max_new_tokens": 10, "num_beams": 1, "do_sample": False, "top_k": 50, "top_p": 0.95, "temperature": 1.0,
        "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
    } | overrides  # fmt: skip


def next_logits(model, ids):
    """A plain forward pass over one sequence: no padding, no cache, no ``generate``."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]


def greedy_by_hand(model, prompt, new_tokens, eos):
    ids = list(prompt)
    for _ in range(new_tokens):
        best = next_logits(model, ids).argmax().item()
        if best == eos:
            break
        ids.append(best)
    return ids[len(prompt) :]


def test_a_padded_batch_writes_what_plain_forward_passes_choose(any_folder, make_predictor):
    predictor = make_predictor(any_folder, "generate")
    model, tokenizer = predictor.model, predictor.encoder.tokenizer
    expected = [[greedy_by_hand(model, prompt, 10, tokenizer.eos_token_id)] for prompt in PROMPTS]
    assert len({tuple(row[0]) for row in expected}) == len(PROMPTS)  # else the order of the output would not show
    for batch_size in (2, 5):
        assert generate(model, tokenizer, PROMPTS, settings(), batch_size) == expected


def test_every_beam_search_is_the_same_alone_and_in_a_batch(any_folder, make_predictor):
    predictor = make_predictor(any_folder, "generate")
    model, tokenizer = predictor.model, predictor.encoder.tokenizer
    wanted = settings(num_beams=3, num_return_sequences=2)
    alone = [generate(model, tokenizer, [prompt], wanted, 1)[0] for prompt in PROMPTS]
    assert [len(row) for row in alone] == [2] * len(PROMPTS)
    assert all(first != second for first, second in alone)
    assert generate(model, tokenizer, PROMPTS, wanted, 5) == alone


def test_sampling_follows_its_seed(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "generate")
    wanted = settings(do_sample=True, num_return_sequences=3, temperature=2.0, top_k=0, top_p=1.0)
    first, again, other = (
        generate(predictor.model, predictor.encoder.tokenizer, PROMPTS, wanted, 2, seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert all(len(row) == 3 for row in first)
    assert len({tuple(text) for text in first[0]}) > 1


def test_a_sampled_text_follows_its_name_and_not_its_batch(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "generate")
    wanted = settings(do_sample=True, num_return_sequences=2, temperature=2.0, top_k=0, top_p=1.0)
    model, tokenizer = predictor.model, predictor.encoder.tokenizer
    whole = generate(model, tokenizer, PROMPTS, wanted, 5)
    assert generate(model, tokenizer, PROMPTS, wanted, 2) == whole
    assert generate(model, tokenizer, PROMPTS[1::2], wanted, 2, names=[1, 3]) == whole[1::2]
    assert generate(model, tokenizer, PROMPTS[1::2], wanted, 2) != whole[1::2]


def test_generation_leaves_the_random_state_of_training_alone(kogpt2_folder, make_predictor):
    # It runs between epochs where a task's metric chooses the best checkpoint; seeding there would repeat the dropout.
    predictor = make_predictor(kogpt2_folder, "generate")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    generate(predictor.model, predictor.encoder.tokenizer, PROMPTS, settings(do_sample=True), 2)
    assert torch.equal(torch.rand(3), expected)


def test_a_completion_ends_before_eos(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "generate")
    tokenizer = predictor.encoder.tokenizer
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    written = torch.tensor([[9, 9, 8, eos, pad], [9, 9, eos, 7, 7], [9, 9, 5, 6, 7]])
    monkeypatch.setattr(predictor.model, "generate", lambda **_: written)
    assert generate(predictor.model, tokenizer, [[9, 9]] * 3, settings(num_beams=2), 4) == [[[8]], [[]], [[5, 6, 7]]]


def test_the_cache_works_although_the_trainer_has_switched_it_off(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "generate")
    predictor.model.config.use_cache = False
    widths, forward = [], predictor.model.forward

    @functools.wraps(forward)  # generate reads the signature
    def watched(*args, **kwargs):
        widths.append(kwargs["input_ids"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(predictor.model, "forward", watched)
    generate(predictor.model, predictor.encoder.tokenizer, [[20, 31, 42]], settings(max_new_tokens=4), 1)
    assert widths == [3, 1, 1, 1]  # without the cache: 3, 4, 5, 6


@pytest.mark.parametrize(
    ("wanted", "copies"),
    [
        ({"num_beams": 4}, 4),
        ({"do_sample": True, "num_return_sequences": 4}, 4),
        ({"do_sample": True, "num_beams": 4}, 4),
    ],
)
def test_beams_and_copies_count_against_the_tokens_of_a_batch(kogpt2_folder, make_predictor, monkeypatch, wanted, copies):
    predictor = make_predictor(kogpt2_folder, "generate")
    rows = []

    def stub(input_ids, generation_config, **_):
        rows.append(len(input_ids))
        return input_ids.repeat_interleave(generation_config.num_return_sequences, 0)

    def decoded(model, input_ids, *_, **__):
        rows.append(len(input_ids) // wanted.get("num_return_sequences", 1))
        return [[] for _ in input_ids]

    monkeypatch.setattr(predictor.model, "generate", stub)
    monkeypatch.setattr(generation, "decode", decoded)
    # 12 tokens a sequence: 4 copies of 2 prompts fit into 100 tokens, of 3 do not.
    monkeypatch.setattr(generation, "tokens_that_fit", lambda model: 100)
    generate(predictor.model, predictor.encoder.tokenizer, [[20, 21]] * 4, settings(**wanted), batch_size=4)
    assert rows == [2, 2], copies


def test_repetition_penalty_counts_what_was_written_and_not_the_prompt():
    processor = CompletionOnly(RepetitionPenaltyLogitsProcessor(2.0), prompt_length=3)
    scores = torch.tensor([[1.0, 2.0, 3.0, -1.0], [1.0, 2.0, 3.0, -1.0]])
    # Prompts 0 1 2; the first row has written 2, the second 3. A penalty halves what is positive and doubles the negative.
    ids = torch.tensor([[0, 1, 2, 2], [0, 1, 2, 3]])
    assert processor(ids, scores.clone()).tolist() == [[1.0, 2.0, 1.5, -1.0], [1.0, 2.0, 3.0, -2.0]]


def test_a_forbidden_bigram_may_repeat_the_prompt():
    processor = CompletionOnly(NoRepeatNGramLogitsProcessor(2), prompt_length=2)
    scores = torch.zeros(1, 4)
    # 1 2 stands in the prompt: after a written 1, 2 is still free.
    assert processor(torch.tensor([[1, 2, 1]]), scores.clone()).tolist() == [[0.0, 0.0, 0.0, 0.0]]
    # Written 1 2 1: now another 2 would repeat what was written.
    assert processor(torch.tensor([[1, 2, 1, 2, 1]]), scores.clone()).tolist() == [[0.0, 0.0, float("-inf"), 0.0]]


def test_before_anything_is_written_no_processor_runs():
    processor = CompletionOnly(RepetitionPenaltyLogitsProcessor(2.0), prompt_length=2)
    assert processor(torch.tensor([[0, 1]]), torch.tensor([[4.0, 4.0]])).tolist() == [[4.0, 4.0]]


def test_no_bigram_is_written_twice_where_that_is_forbidden(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "generate")
    with torch.no_grad():  # a model that repeats itself: every position says token 40, then 41
        predictor.model.transformer.wte.weight.mul_(0.01)
    wanted = settings(no_repeat_ngram_size=1, repetition_penalty=1.5, max_new_tokens=20)
    for (completion,) in generate(predictor.model, predictor.encoder.tokenizer, PROMPTS, wanted, 5):
        assert len(set(completion)) == len(completion)


def test_the_config_that_is_saved_names_every_setting_that_another_model_could_bring(kogpt2_folder, make_predictor):
    tokenizer = make_predictor(kogpt2_folder, "generate").encoder.tokenizer
    config = generation_config(settings(num_beams=2), tokenizer)
    assert (config.max_new_tokens, config.num_beams, config.do_sample, config.use_cache) == (10, 2, False, True)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 1, 3)
    assert (config.repetition_penalty, config.no_repeat_ngram_size) == (1.0, 0)
    sampled = generation_config(settings(do_sample=True, top_k=7, top_p=0.5, temperature=0.3), tokenizer)
    assert (sampled.top_k, sampled.top_p, sampled.temperature) == (7, 0.5, 0.3)


def test_a_model_without_keys_and_values_is_left_to_transformers(make_predictor, tmp_path, kogpt2_folder):
    from transformers import MambaConfig, MambaForCausalLM

    predictor = make_predictor(kogpt2_folder, "generate")
    torch.manual_seed(0)
    tokenizer = predictor.encoder.tokenizer
    model = MambaForCausalLM(
        MambaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, state_size=4, pad_token_id=3)
    ).eval()
    found = generate(model, tokenizer, [[20, 31, 42]], settings(max_new_tokens=3), 1)
    expected = greedy_by_hand(model, [20, 31, 42], 3, tokenizer.eos_token_id)
    assert found == [[expected]]


# The decode loop, whose batches shrink


ROWS = [[20, 31, 42], [60], [22, 33, 44, 55, 66], [90, 21], [23, 24, 25, 26, 27, 28, 29], [71, 72]]


def run(predictor, prompts, eos, new_tokens=8, **settings):
    ids, mask = pad(prompts, 3, "left", torch.device("cpu"))
    return decode(predictor.model, ids, mask, max_new_tokens=new_tokens, eos_token_id=eos, **settings)


class NoFloat64(TorchDispatchMode):
    """A device without float64, as Apple's GPUs are."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        made = [tensor for tensor in tree_leaves(out) if isinstance(tensor, torch.Tensor)]
        if any(tensor.dtype == torch.float64 for tensor in made):
            raise TypeError(f"{function} makes float64")
        return out


@pytest.mark.parametrize("given", [{}, {"do_sample": True, "top_p": 0.9}, {"num_beams": 2}, {"num_samples": 2}], ids=str)
@pytest.mark.parametrize("task", [name for name in TRAINED if not get_task(name).learns_labels])
def test_no_task_predicts_with_float64(kogpt2_folder, make_predictor, task, given):
    predictor = make_predictor(kogpt2_folder, task, **given)
    task = predictor.task
    rows = [row | {"id": str(n)} for n, row in enumerate(rows_of(task)[:3])]
    with NoFloat64():
        assert len(predictor.answer([task.input_example(row) for row in rows])) == 3


def test_rows_that_leave_do_not_change_the_others(any_folder, make_predictor):
    predictor = make_predictor(any_folder, "summarize")
    # A token that some rows write early and others late or never is the eos of this test.
    eos = greedy_by_hand(predictor.model, ROWS[0], 8, -1)[2]
    compared = []

    def compare(ids, logits):
        """Each row's logits with those of a plain pass over the same tokens, its padding (3) left out."""
        for row, values in zip(ids.tolist(), logits):
            expected = next_logits(predictor.model, row[next(i for i, token in enumerate(row) if token != 3) :])
            assert torch.allclose(values.log_softmax(-1), expected.log_softmax(-1), atol=2e-4)
            compared.append(len(row))
        return logits

    found = run(predictor, ROWS, eos, processors=LogitsProcessorList([compare]))
    assert found == [greedy_by_hand(predictor.model, prompt, 8, eos) for prompt in ROWS]
    assert len(set(map(len, found))) > 1  # they do end at different lengths
    assert compared.count(7) == 6  # the longest prompt has 7 tokens


def test_the_batch_shrinks(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "summarize")
    eos = greedy_by_hand(predictor.model, ROWS[0], 8, -1)[1]
    sizes = []
    plain = predictor.model.forward

    def forward(*args, **kwargs):
        sizes.append(len(kwargs["input_ids"]))
        return plain(*args, **kwargs)

    forward.__signature__ = __import__("inspect").signature(plain)
    monkeypatch.setattr(predictor.model, "forward", forward)
    run(predictor, [ROWS[0]] * 3 + ROWS[1:2], eos)
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
    found = run(predictor, ROWS, eos, allowed=lambda row, ids: [50 + row] if len(ids) < row else [eos])
    assert found == [[50 + row] * row for row in range(6)]


def test_sampling_takes_from_the_best(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "summarize")
    draws = torch.rand(6, 8, generator=torch.Generator().manual_seed(0))
    best = run(predictor, ROWS, 1, warpers=LogitsProcessorList([TopKLogitsWarper(1)]), draws=draws)
    assert best == run(predictor, ROWS, 1)
    assert best != run(predictor, ROWS, 1, draws=draws)


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
    together = run(predictor, ROWS, 1, draws=draws)
    for row, prompt in enumerate(ROWS):
        assert run(predictor, [prompt], 1, draws=draws[row : row + 1])[0] == together[row]
