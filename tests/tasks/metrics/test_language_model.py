"""Perplexity and bits per character, the unigram baseline, and the variety of samples."""

from __future__ import annotations

import math

import pytest

from tasks.metrics.language_model import LanguageModel, distinct_n, repetition, unigram_bits_per_character


def compute(rows):
    return LanguageModel().compute(
        predictions=[nats for nats, _, _ in rows],
        references=[{"tokens": tokens, "characters": characters, "unknown_tokens": 0} for _, tokens, characters in rows],
    )


def test_every_token_a_coin_toss():
    result = compute([(4 * math.log(2), 4, 8)])
    assert result == {
        "perplexity": pytest.approx(2.0),
        "bits_per_character": pytest.approx(0.5),
        "tokens_per_character": 0.5,
        "unknown_token_share": 0.0,
    }
    assert {type(value) for value in result.values()} == {float}


def test_long_texts_weigh_more():
    # 10 nats over 10 tokens, not the mean of e^4 and e^(6/9), nor of the means of the rows.
    result = compute([(4.0, 1, 2), (6.0, 9, 18)])
    assert result["perplexity"] == pytest.approx(2.718281828)
    assert result["bits_per_character"] == pytest.approx(10 / 0.69314718 / 20)
    assert result["tokens_per_character"] == 0.5


def test_bits_per_character_do_not_depend_on_the_tokenizer_but_perplexity_does():
    few, many = compute([(10.0, 2, 10)]), compute([(10.0, 10, 10)])
    assert few["bits_per_character"] == many["bits_per_character"]
    assert few["perplexity"] == pytest.approx(148.4131591)
    assert many["perplexity"] == pytest.approx(2.718281828)


def test_perplexity_too_large_for_a_float():
    assert compute([(1e6, 1, 1)])["perplexity"] == math.inf


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "nothing to score"),
        ([(1.0, 1, 1), (math.nan, 1, 1)], "row 2: the negative log-likelihood is nan"),
        ([(math.inf, 1, 1)], "row 1: the negative log-likelihood is inf"),
        ([(None, 1, 1)], "row 1: the negative log-likelihood is None"),
        ([(1.0, -1, 1)], "row 1: a count is negative"),
        ([(0.0, 0, 3)], "0 tokens and 3 characters"),
        ([(1.0, 3, 0)], "3 tokens and 0 characters"),
    ],
)
def test_rows_that_cannot_be_scored(rows, message):
    with pytest.raises(ValueError, match=message):
        compute(rows)


def test_lengths_that_differ():
    with pytest.raises(ValueError, match="Mismatch in the number"):
        LanguageModel().compute(predictions=[1.0, 2.0], references=[{"tokens": 1, "characters": 1, "unknown_tokens": 0}])


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["가"], 2.0),  # 가 and the end, one bit each, over one character
        (["가나다"], 8 / 3),  # four symbols of two bits each, over three characters
        (["가가가"], (3 * math.log2(4 / 3) + 2) / 3),
        (["가", "가"], 2.0),
        (["가나다", ""], (3 * math.log2(5) + 2 * math.log2(5 / 2)) / 3),  # an empty text has an end too
        (["😤"], 2.0),
    ],
)
def test_unigram_bits_per_character(texts, expected):
    assert unigram_bits_per_character(texts) == pytest.approx(expected)


def test_unigram_model_beats_one_that_knows_no_frequencies():
    # 6 symbols, the end included; 13 of them in the texts, on 11 characters.
    assert unigram_bits_per_character(["가나다라 가나", "다 가가"]) < math.log2(6) * 13 / 11


@pytest.mark.parametrize("texts", [[], [""]])
def test_unigram_of_nothing(texts):
    with pytest.raises(ValueError, match="no characters"):
        unigram_bits_per_character(texts)


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["비가 온다"], 1, 1.0),
        (["비가 온다 비가 온다"], 1, 0.5),
        (["비가 온다", "비가 온다"], 1, 0.5),  # over all texts together
        (["비가 온다 비가 온다"], 2, 2 / 3),
        (["비가 온다", "비가 안 온다"], 2, 1.0),  # no pair spans two texts
        (["비가"], 2, 0.0),
        ([""], 1, 0.0),
        (["😤 😤"], 1, 0.5),
    ],
)
def test_distinct_n(texts, n, expected):
    assert distinct_n(texts, n) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["하나 둘 셋 넷 다섯"], 0.0),
        (["하나 둘 셋 넷 하나 둘 셋 넷"], 1 / 5),
        (["네 네 네 네 네 네"], 2 / 3),
        (["하나 둘 셋 넷", "하나 둘 셋 넷"], 0.0),  # only within a text
        (["네 네 네 네 네 네", "하나 둘 셋 넷"], 1 / 2),  # pooled: 2 of 4, not the mean of 2/3 and 0
        (["비가 온다"], 0.0),
        (["비가 왔습니다 눈도 왔습니다 바람도 불었습니다 그래도 갔습니다"], 0.0),
    ],
)
def test_repetition(texts, expected):
    assert repetition(texts) == pytest.approx(expected)


def test_repetition_of_single_words():
    assert repetition(["네 네 아니오"], n=1) == pytest.approx(1 / 3)


@pytest.mark.parametrize("measure", [distinct_n, repetition])
def test_samples_that_cannot_be_measured(measure):
    with pytest.raises(ValueError, match="at least one text"):
        measure([], 2)
    with pytest.raises(ValueError, match="at least one text"):
        measure("비가 온다", 2)
    with pytest.raises(ValueError, match="n must be 1 or more"):
        measure(["비가 온다"], 0)
