"""Rows of a file, of standard input or of the command line, for prediction alone."""

from __future__ import annotations

import pytest

from tasks import get_task
from tasks.errors import UserError
from tasks.inference.inputs import input_examples, read_inputs, rows_of_lines
from tasks.reading.files import read_rows
from tests.conftest import write_rows


def read_file(task, path, column_map):
    return read_inputs(task, read_rows(path), path, column_map)


def values(task, lines):
    return [(row.values, row.where) for row in rows_of_lines(get_task(task), lines, "standard input")]


def test_a_line_is_a_text_where_one_column_is_needed():
    assert values("summarize", ["첫 문서\n", "\n", "  \n", "둘째\t문서\r\n"]) == [
        ({"document": "첫 문서"}, "standard input line 1"),
        ({"document": "둘째\t문서"}, "standard input line 4"),
    ]


def test_columns_are_parted_by_tabs():
    assert values("nli", ["비가 온다.\t날씨가 맑다.\n"]) == [
        ({"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}, "standard input line 1")
    ]


def test_a_json_object_names_its_columns_in_any_order():
    assert values("qa", ['{"question": "누가?", "context": "민준이", "id": 7}']) == [
        ({"question": "누가?", "context": "민준이", "id": 7}, "standard input line 1")
    ]


def test_a_text_that_only_begins_like_json_is_a_text():
    assert values("generate", ["{옛날} 옛적에"]) == [({"text": "{옛날} 옛적에"}, "standard input line 1")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("비가 온다.", "standard input line 2: nli needs premise TAB hypothesis, or a JSON object with these names"),
        ("a\tb\tc", "standard input line 2: nli needs premise TAB hypothesis, or a JSON object with these names"),
        ('{"premise": }', "standard input line 2: not valid JSON (Expecting value at column 13); mend it"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line, message):
    with pytest.raises(UserError) as error:
        values("nli", ["비가 온다.\t맑다.", line])
    assert str(error.value) == message


def test_rows_keep_their_ids_and_others_are_numbered(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", [{"id": 7, "document": "가"}, {"document": "나"}])
    rows = read_file(get_task("summarize"), path, None)
    assert [(row["id"], row["document"]) for row in rows] == [("7", "가"), ("row-1", "나")]


def test_a_file_needs_no_targets_and_takes_a_column_map(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", [{"body": "가", "date": "x"}])
    (row,) = read_file(get_task("summarize"), path, "document=body")
    assert row["document"] == "가"


def test_a_txt_file_is_read_by_tasks_with_one_input(tmp_path):
    (tmp_path / "in.txt").write_text("가나\n\n다라\n", "utf-8")
    rows = read_file(get_task("summarize"), str(tmp_path / "in.txt"), None)
    assert [row["document"] for row in rows] == ["가나", "다라"]


def test_nothing_to_predict_is_an_error():
    with pytest.raises(UserError, match=r"^standard input holds no rows to predict$"):
        read_inputs(get_task("summarize"), rows_of_lines(get_task("summarize"), ["\n"], "standard input"), "standard input")


def test_a_missing_column_names_those_that_are_there(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", [{"body": "가"}])
    with pytest.raises(UserError, match=r"no column 'document'.*the columns there are body"):
        read_file(get_task("summarize"), path, None)


def test_an_empty_cell_names_its_row(tmp_path):
    path = write_rows(tmp_path / "in.jsonl", [{"document": "가"}, {"document": " "}])
    task = get_task("summarize")
    with pytest.raises(UserError, match=r"in\.jsonl line 2: column 'document' is empty"):
        input_examples(task, read_file(task, path, None))


def test_examples_carry_the_prompt_and_no_completion():
    rows = read_inputs(get_task("nli"), rows_of_lines(get_task("nli"), ["가\t나"], "x"), "x")
    (example,) = input_examples(get_task("nli"), rows)
    assert (example.id, example.prompt_text, example.completion, example.references) == ("row-0", "가<sep>나<nli>", None, ())
