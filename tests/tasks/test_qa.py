"""Answers in every shape, where they stand, score and baseline of question answering."""

from __future__ import annotations

import unicodedata

import pytest

from tasks import get_task
from tasks.base import Prediction, Source
from tasks.errors import RowError

TASK = get_task("qa")
CONTEXT = "민준이는 책을 빌렸다. 서연이는 책을 샀다. 책이 좋다."  # 책 at 5, 18, 25
ROW = {"id": "1", "context": CONTEXT, "question": "누가?", "answers": "민준이"}


def keep(answers):
    return TASK.format(ROW | {"answers": answers}).prompt[0].keep


def test_context_question_answer():
    example = TASK.format(ROW)
    assert example.prompt == (Source(CONTEXT, keep=(0, 3), windows=True), "<question>", "누가?", "<answer>")
    assert (example.completion, example.references) == ("민준이", ("민준이",))
    assert example.prompt_text == CONTEXT + "<question>누가?<answer>"


def test_prediction_reads_the_same_parts_without_knowing_the_answer():
    assert TASK.input_example(ROW).prompt == (Source(CONTEXT, None, True), "<question>", "누가?", "<answer>")


@pytest.mark.parametrize(
    ("answers", "references"),
    [
        ({"text": ["서연이", "민준이"], "answer_start": [13, 0]}, ("서연이", "민준이")),
        ({"text": "서연이", "answer_start": 13}, ("서연이",)),
        ({"text": ["서연이"]}, ("서연이",)),
        (["서연이", "민준이"], ("서연이", "민준이")),
        ("서연이", ("서연이",)),
        ({"text": ["서연이", "서연이"], "answer_start": [13, 13]}, ("서연이",)),  # KorQuAD dev repeats answers
        ([{"text": "서연이", "answer_start": 13}, {"text": "민준이", "answer_start": 0}], ("서연이", "민준이")),
    ],
)
def test_answers_in_every_shape(answers, references):
    example = TASK.format(ROW | {"answers": answers})
    assert (example.completion, example.references) == (references[0], references)
    assert example.prompt[0].keep == (13, 16)


@pytest.mark.parametrize(
    ("start", "place"),
    [(5, 5), (18, 18), (25, 25), (None, 5), (17, 18), (20, 18), (23, 25), (99, 25), (-3, 5)],
)
def test_of_several_occurrences_the_one_nearest_to_the_offset_is_meant(start, place):
    assert keep({"text": ["책"], "answer_start": [start]}) == (place, place + 1)


def test_offsets_that_do_not_match_the_answers_in_number_are_not_believed():
    assert keep({"text": ["책"], "answer_start": [18, 25]}) == (5, 6)


def test_space_around_an_answer_is_dropped_and_its_offset_moves():
    # " 책을" begins at 17 with its space.
    example = TASK.format(ROW | {"answers": {"text": [" 책을 "], "answer_start": [17]}})
    assert (example.completion, example.prompt[0].keep) == ("책을", (18, 20))


def test_signs_of_regular_expressions_are_only_signs():
    row = ROW | {"context": "값은 (3.5)이다. 값은 3x5다.", "answers": {"text": ["3.5"], "answer_start": [15]}}
    assert TASK.format(row).prompt[0].keep == (4, 7)


@pytest.mark.parametrize("answers", [None, [], "", " ", {"text": [], "answer_start": []}, {"text": [""]}, [3], {}])
def test_a_row_without_an_answer_is_refused(answers):
    with pytest.raises(RowError, match=r"the row has no answer; drop such rows with --skip_bad_rows"):
        TASK.format(ROW | {"answers": answers})


def test_an_answer_that_is_not_in_its_context_is_refused():
    with pytest.raises(RowError, match=r"the answer '수진이' is not in its context"):
        TASK.format(ROW | {"answers": "수진이"})


@pytest.mark.parametrize("column", ["context", "question"])
def test_an_empty_text_is_refused(column):
    with pytest.raises(RowError, match=rf"column '{column}' is empty"):
        TASK.format(ROW | {column: ""})


def test_score_by_hand():
    scores = TASK.score(
        [
            Prediction("1", "", "서연이", ("민준이", "서연이.")),  # the best of the references counts, punctuation does not
            Prediction("2", "", "책을", ("책",)),  # 1 of 2 and 1 of 1 characters: 2/3
            Prediction("3", "", None, ("책",)),
        ]
    )
    assert scores["exact_match"] == pytest.approx(100 / 3)
    assert scores["f1"] == pytest.approx(100 * (1 + 2 / 3) / 3)


def test_the_baseline_is_the_word_beside_those_of_the_question():
    row = {
        "id": "1",
        "context": "도서관에서 민준이가 책을 빌렸다.",
        "question": "도서관에서 책을 빌린 사람?",
        "answers": "민준이가",
    }
    assert TASK.baseline([TASK.format(row)]) == {
        "baseline": "word matching", "baseline_exact_match": 100.0, "baseline_f1": 100.0,
    }  # fmt: skip


def test_the_baseline_has_an_answer_where_every_word_is_in_the_question():
    row = {"id": "1", "context": "책을 빌렸다.", "question": "책을 빌렸다.", "answers": "책을"}
    assert TASK.baseline([TASK.format(row)])["baseline_exact_match"] in (0.0, 100.0)


@pytest.mark.parametrize("counted_in", ["NFC", "NFD"])
def test_decomposed_hangul_is_composed_and_offsets_follow(counted_in):
    context, answer = "부산은 항구이고 서울은 수도이다. 서울", "서울"
    start = len(unicodedata.normalize(counted_in, context[:9]))
    row = {"id": "1", "context": unicodedata.normalize("NFD", context), "question": "수도는?"}
    answers = {"text": [unicodedata.normalize("NFD", answer)], "answer_start": [start]}
    example = TASK.format(row | {"answers": answers})
    assert example.prompt[0] == Source(context, keep=(9, 11), windows=True)
    assert (example.completion, example.references, example.notes) == ("서울", ("서울",), ())
