"""The word-counting classifier: learns from pieces of words, and answers anything."""

from __future__ import annotations

from tasks.metrics.word_counting import word_counting

TRAIN = [("사과를 먹었다", "과일"), ("배를 먹었다", "과일"), ("사과가 익었다", "과일"), ("버스를 탔다", "탈것")]


def test_pieces_of_words_decide_whatever_particle_follows():
    assert word_counting(TRAIN, ["사과는 달다", "버스에 올랐다"]) == ["과일", "탈것"]


def test_a_text_of_which_nothing_is_known_gets_the_most_frequent_label():
    assert word_counting(TRAIN, ["xyz", "뷁"]) == ["과일", "과일"]


def test_one_letter_is_a_text_too():
    assert word_counting([("a", "x"), ("b", "y")], ["b", "a"]) == ["y", "x"]
