"""KorQuAD's exact match and F1, worked by hand from the official script's rules."""

from __future__ import annotations

import unicodedata

import pytest

from tasks.metrics.korquad import Korquad, korquad_rows, normalize_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("서울특별시", "서울특별시"),
        ("서울(특별시)", "서울 특별시"),  # brackets leave a space
        ("《서울》의 <밤>", "서울 의 밤"),
        ("〈서울〉‘밤’", "서울 밤"),
        ("'서울' \"밤\"", "서울 밤"),
        ("2018-03-01", "20180301"),  # other ASCII punctuation leaves nothing
        ("3.5%", "35"),
        ("  서울 \n 시 ", "서울 시"),
        ("KBS", "kbs"),
        ("the Seoul", "the seoul"),  # SQuAD would drop the article
        ("“서울”", "“서울”"),  # curly double quotes are not in the official list
        ("「서울」", "「서울」"),
        ("?!", ""),
        ("서울😤", "서울😤"),
        (unicodedata.normalize("NFD", "서울"), "서울"),
    ],
)
def test_normalize_answer(text, expected):
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("prediction", "references", "exact_match", "f1"),
    [
        ("서울", ["서울"], 1.0, 1.0),
        ("서울에", ["서울"], 0.0, 0.8),  # 2 of 3 characters, 2 of 2
        ("서울 특별시", ["서울특별시"], 0.0, 1.0),  # white space counts in the match, not in F1
        ("서울(특별시)", ["서울 특별시"], 1.0, 1.0),
        ("시별특울서", ["서울특별시"], 0.0, 1.0),  # a bag of characters has no order
        ("1989년 2월 15일", ["1989년 2월"], 0.0, 14 / 17),  # 10 and 7 characters, 7 in common
        ("가가가", ["가"], 0.0, 0.5),  # each character is found once
        ("부산", ["서울"], 0.0, 0.0),
        ("서울", ["부산", "서울시", "서울"], 1.0, 1.0),
        ("서울에", ["부산", "서울시에"], 0.0, 6 / 7),
        ("KBS", ["kbs."], 1.0, 1.0),
        ("", ["서울"], 0.0, 0.0),
        ("?!", ["..."], 1.0, 0.0),  # both empty: the official script says so
        ("😤😤", ["😤"], 0.0, 2 / 3),
        (unicodedata.normalize("NFD", "서울"), ["서울"], 1.0, 1.0),
    ],
)
def test_rows_worked_by_hand(prediction, references, exact_match, f1):
    assert korquad_rows([prediction], [references]) == [{"exact_match": exact_match, "f1": pytest.approx(f1)}]


def test_best_reference_counts_for_each_score_by_itself():
    # The empty reference makes the match, the other one ... has nothing in common: 1 and 0.
    assert korquad_rows(["?"], [["서울", "!"]]) == [{"exact_match": 1.0, "f1": 0.0}]


def test_compute_is_a_percentage_over_the_questions():
    result = Korquad().compute(predictions=["서울", "서울에", "부산", "대구"], references=[["서울"]] * 3 + [["대전"]])
    assert result == {"exact_match": 25.0, "f1": pytest.approx(100 * (1 + 0.8 + 0 + 0.5) / 4)}
    assert {type(value) for value in result.values()} == {float}


def test_scores_do_not_depend_on_the_other_rows():
    predictions, references = ["서울", "서울에", "부산"], [["서울"], ["서울", "에서"], ["부산시"]]
    one_by_one = [korquad_rows([p], [r])[0] for p, r in zip(predictions, references, strict=True)]
    assert korquad_rows(predictions, references) == one_by_one
    assert [row["exact_match"] for row in one_by_one] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "nothing to score"),
        (["가", "나"], [["가"]], "2 predictions but 1 references"),
        (["가"], [[]], "row 1: there is no reference"),
        (["가"], ["가"], "give a list of texts"),
        ([None], [["가"]], "row 1: the prediction is None"),
    ],
)
def test_rows_that_cannot_be_scored(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        korquad_rows(predictions, references)
    with pytest.raises(ValueError):
        Korquad().compute(predictions=predictions, references=references)
