"""Plain text: the training sequence, the sample's beginning, score and baseline."""

from __future__ import annotations

import math

import pytest

from tasks import get_task
from tasks.base import BOS, Prediction, Source
from tasks.errors import RowError

TASK = get_task("generate")


def test_the_whole_text_is_learnt():
    example = TASK.format({"id": "1", "text": " 비가 온다. "})
    assert (example.prompt, example.completion, example.references) == ((BOS,), " 비가 온다. ", (" 비가 온다. ",))


def test_a_prompt_is_the_beginning_and_may_be_empty():
    assert TASK.input_example({"id": "1", "text": "옛날"}).prompt == (BOS, "옛날")
    assert TASK.input_example({"id": "1", "text": ""}).prompt == (BOS,)


def test_an_empty_text_is_nothing_to_learn():
    with pytest.raises(RowError, match=r"column 'text' is empty"):
        TASK.format({"id": "1", "text": " "})


def test_a_sample_begins_with_five_words_half_of_the_text_at_most():
    def beginning(text):
        return TASK.sample_example(TASK.format({"id": "1", "text": text})).prompt

    assert beginning("하나 둘\n셋  넷 다섯 여섯 " * 2) == (BOS, Source("하나 둘 셋 넷 다섯"))
    assert beginning("하나 둘 셋 넷 다섯") == (BOS, Source("하나 둘"))
    assert beginning(f"{'가' * 50} 나") == (BOS, Source("가" * 40))
    assert beginning("가" * 50) == (BOS,)


def test_white_space_after_a_beginning_does_not_count():
    assert TASK.prompt({"text": "나는 밥을 \n"}) == (BOS, "나는 밥을")


def prediction(text, nll, tokens, characters, unknown=0):
    scores = {"nll": nll, "tokens": tokens, "characters": characters, "unknown_tokens": unknown}
    return Prediction("1", "", text, ("x",), scores)


def test_score_by_hand():
    # 4 ln 2 + 8 ln 2 nats over 3 + 3 tokens and 6 + 6 characters: 2 bits a token, 1 bit a character.
    scores = TASK.score([prediction("가 나 가 나", 4 * math.log(2), 3, 6), prediction(None, 8 * math.log(2), 3, 6, 3)])
    assert scores["unknown_token_share"] == 0.5
    assert scores["perplexity"] == pytest.approx(4.0)
    assert scores["bits_per_character"] == pytest.approx(1.0)
    assert scores["tokens_per_character"] == 0.5
    assert (scores["samples"], scores["repetition"]) == (1, 0.0)
    assert (scores["distinct_1"], scores["distinct_2"]) == (0.5, pytest.approx(2 / 3))


def test_without_samples_nothing_is_said_about_them():
    assert "distinct_1" not in TASK.score([prediction(None, 1.0, 1, 1)])


def test_the_baseline_knows_only_how_often_characters_occur():
    # Symbols of 가나 and its end: three of equal share, log2(3) bits each, over two characters.
    result = TASK.baseline([TASK.format({"id": "1", "text": "가나"})])
    assert result["baseline"] == "character unigrams"
    assert result["baseline_bits_per_character"] == pytest.approx(3 * math.log2(3) / 2)
