"""Forms of Korean text, with the code points spelled out where they look the same."""

from __future__ import annotations

import unicodedata

import pytest

from tasks.text import as_typed, comparable, holds_a_word

NFKC_LAUGH = "\u110f\u110f\u110f \u1112\u1112"  # what KoGPT2 makes of ㅋㅋㅋ ㅎㅎ


def test_letters_that_stand_alone_are_those_that_people_type():
    assert as_typed(NFKC_LAUGH) == "\u314b\u314b\u314b \u314e\u314e"
    assert as_typed("\u1169\u11aa \u1100\u1161\u11ab") == "\u3157\u3133 간"  # a vowel, a final cluster, a whole syllable
    assert as_typed("한\u119e미") == "한\u318d미"  # the middle dot of old keyboards


def test_syllables_of_old_hangul_stay():
    assert as_typed("\u1112\u119e\u11ab글") == "\u1112\u119e\u11ab글"


@pytest.mark.parametrize("letter", [chr(code) for code in range(0x3131, 0x3164)])
def test_every_letter_comes_back(letter):
    assert as_typed(unicodedata.normalize("NFKC", letter)) == letter


def test_one_form_to_compare():
    assert comparable("5㎞ … ① ㅋ") == comparable("5km ... 1 \u110f") == "5km ... 1 \u314b"
    assert comparable(unicodedata.normalize("NFD", "한국")) == "한국"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("가", True), ("ㅋ", True), ("1", True), ("a.", True), ("ㆍ", False), ("·", False), ("ㅤ", False), ("ʼ", False)],
)
def test_what_is_a_word(text, expected):
    assert holds_a_word(text) is expected
