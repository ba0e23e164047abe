"""Rows of a conversation in every shape, what is joined or left out, every bad row, the figures and their baseline."""

from __future__ import annotations

import json
import math

import pytest

from tasks import get_task
from tasks.base import Conversation, Prediction
from tasks.errors import RowError
from tasks.metrics.chat import nearest
from tasks.reading.columns import load_rows
from tasks.reading.rows import Row

TASK = get_task("chat")
ASKED, ANSWERED = {"role": "user", "content": "안녕"}, {"role": "assistant", "content": "반가워"}
SHAREGPT = [{"from": "human", "value": "안녕"}, {"from": "gpt", "value": "반가워"}]


def read(row):
    """The example of a raw row, its columns found by their names as in a file."""
    loaded = load_rows([Row(row, "a.jsonl line 1")], TASK, {}, "a.jsonl")
    return TASK.format(loaded.data[0] | {"id": "1"})


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        ({"messages": [ASKED, ANSWERED]}, [("user", "안녕")]),
        ({"messages": json.dumps([ASKED, ANSWERED])}, [("user", "안녕")]),  # a cell of a table
        ({"messages": [ASKED | {"content": [{"type": "text", "text": "안녕"}]}, ANSWERED]}, [("user", "안녕")]),
        ({"conversations": SHAREGPT}, [("user", "안녕")]),
        ({"Q": "안녕", "A": "반가워", "label": 0}, [("user", "안녕")]),
        ({"question": "안녕", "answer": "반가워"}, [("user", "안녕")]),
        ({"instruction": "안녕", "input": "", "output": "반가워"}, [("user", "안녕")]),
        ({"instruction": "옮겨라", "input": "hello", "output": "반가워"}, [("user", "옮겨라\nhello")]),
        ({"system": "반말로", "question": "안녕", "answer": "반가워"}, [("system", "반말로"), ("user", "안녕")]),
        ({"messages": [ASKED, ASKED, ANSWERED]}, [("user", "안녕\n안녕")]),
        ({"messages": [ANSWERED, ASKED, ANSWERED]}, [("user", "안녕")]),
        ({"messages": [ASKED, ANSWERED, ASKED]}, [("user", "안녕")]),
    ],
)
def test_every_shape_is_a_conversation_and_its_answer(row, asked):
    example = read(row)
    assert example.prompt == (Conversation(tuple(asked)),)
    assert (example.completion, example.references) == ("반가워", ("반가워",))


def test_what_was_joined_or_left_out_is_counted_and_said():
    rows = [[ASKED, ASKED, ANSWERED], [ANSWERED, ASKED, ANSWERED], [ASKED, ANSWERED, ASKED], [ASKED, ANSWERED]]
    notes = [read({"messages": messages}).notes for messages in rows]
    assert notes == [("turns_joined",), ("answers_left_out",), ("questions_left_out",), ()]
    assert TASK.notices({"train": {"turns_joined": 1200, "rows": 4}}) == [
        "train: 1,200 rows in which one side speaks twice in a row: these turns were joined"
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": "narrator", "content": "a"}, ANSWERED]}, "message 1 has the unknown role 'narrator'; known"),
        ({"messages": [ASKED, {"role": "system", "content": "a"}, ANSWERED]}, "message 2 is the system's, which can only"),
        ({"messages": [ASKED, {"role": "assistant", "content": " "}]}, "message 2: column 'content' is empty"),
        ({"messages": [ASKED, ["a"]]}, "message 2 is \"['a']\"; give a list of"),
        ({"messages": [ASKED]}, "the conversation has no answer after a question"),
        ({"messages": [ANSWERED]}, "the conversation has no answer after a question"),
        ({"messages": []}, "the conversation is empty"),
        ({"question": "안녕", "answer": ""}, "column 'answer' is empty"),
        ({"question": "", "answer": "반가워"}, "column 'messages' is empty"),
    ],
)
def test_bad_rows_are_refused(row, reason):
    with pytest.raises(RowError) as caught:
        TASK.format(TASK_ROW | {"messages": None} | read_columns(row))
    assert str(caught.value).startswith(reason)


TASK_ROW = {"id": "1", "answer": None, "input": None, "system": None}


def read_columns(row):
    """A raw row under the task's names, its messages in one shape."""
    column = TASK.input_columns[0]
    named = {"messages": row.get("question", row.get("messages")), "answer": row.get("answer")}
    return named | {"messages": column.read(named["messages"])}


def test_an_assistant_has_not_the_last_word_of_a_prompt():
    assert TASK.prompt(TASK_ROW | {"messages": [ASKED]}) == (Conversation((("user", "안녕"),)),)
    with pytest.raises(RowError, match=r"^the last message is not the user's"):
        TASK.prompt(TASK_ROW | {"messages": [ASKED, ANSWERED]})


def test_bits_are_over_all_characters_and_the_rest_over_rows():
    scores = [{"nll": 4 * math.log(2), "characters": 2}, {"nll": 2 * math.log(2), "characters": 4, "unfinished": True}]
    written = [
        Prediction(str(n), "", text, (right,), score)
        for n, (text, right, score) in enumerate(zip(["가나", "다"], ["가나", "라"], scores))
    ]
    figures = TASK.score(written)
    assert figures["bits_per_character"] == pytest.approx(1.0)  # 6 bits for 6 characters
    assert (figures["f1"], figures["ended"]) == (50.0, 0.5)
    assert [row["bits_per_character"] for row in TASK.row_scores(written)] == pytest.approx([2.0, 0.5])
    low, high = TASK.intervals(written, 42)["bits_per_character"]
    assert low <= 1.0 <= high


def test_the_nearest_question_shares_the_rarest_words():
    known = ["오늘 날씨가 어때?", "오늘 점심이 어때?", "지금 몇 시야?"]
    assert nearest(["점심이 뭐야?", "날씨", "몇 시", "zzz"], known) == [1, 0, 2, 0]


def test_the_baseline_answers_as_the_nearest_training_question_and_has_no_training_rows_to_measure_later():
    train = [read({"messages": [ASKED, ANSWERED, {"role": "user", "content": "몇 시야"}, {**ANSWERED, "content": "한 시"}]})]
    asked = [read({"Q": "몇 시", "A": "한 시"}), read({"Q": "안녕", "A": "그래"})]
    found = TASK.baseline(asked, train)
    assert found["baseline_f1"] == 50.0
    assert found["baseline"] == "nearest training question, bits by character unigrams"
    alone = TASK.baseline(asked)
    assert set(alone) == {"baseline", "baseline_bits_per_character"}
    assert alone["baseline_bits_per_character"] == found["baseline_bits_per_character"]
    assert {found["baseline"], alone["baseline"]} == set(TASK.baselines)
