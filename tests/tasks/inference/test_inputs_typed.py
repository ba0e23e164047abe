"""What is typed at a terminal, and the shapes in which predictions are written."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tasks import get_task
from tasks.base import Prediction
from tasks.inference import inputs

NLI = get_task("nli")
SURE = Prediction("row-0", "", "neutral", scores={"entailment": -3.0, "neutral": -1.0, "contradiction": -3.0})
ROW = {"id": "row-0", "premise": '비가 "많이" 온다,\n정말', "hypothesis": "날씨가 맑다."}


def typed(task: str, *lines: str, monkeypatch) -> tuple[dict | None, list[str]]:
    """The row that typing ``lines`` gives, then Ctrl-D for ever, and what was asked."""
    rest, asked = iter(lines), []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        line = next(rest, None)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr("builtins.input", answer)
    row = inputs.typed_row(get_task(task))
    return row and row.values, [prompt for prompt in asked if prompt]


@pytest.mark.parametrize("end", [("",), (".",), ()])
def test_a_pasted_article_with_blank_lines_is_one_document(monkeypatch, end):
    lines = ("첫 문단이다.", "", "둘째 문단이다.", *end)
    row, asked = typed("summarize", *lines, monkeypatch=monkeypatch)
    assert (row, asked) == ({"document": "첫 문단이다.\n\n둘째 문단이다."}, ["document: "])


def test_a_question_ends_with_enter_after_a_context_of_several_lines(monkeypatch):
    row, asked = typed("qa", "서울은 수도다.", "", "부산은 항구다.", ".", "수도는?", monkeypatch=monkeypatch)
    assert row == {"context": "서울은 수도다.\n\n부산은 항구다.", "question": "수도는?"}
    assert asked == ["context: ", "question: "]


@pytest.mark.parametrize(("task", "lines"), [("nli", ()), ("nli", ("",)), ("nli", ("비가 온다.",)), ("summarize", ("",))])
def test_nothing_or_ctrl_d_at_an_empty_field_quits(monkeypatch, task, lines):
    assert typed(task, *lines, monkeypatch=monkeypatch)[0] is None


def test_json_is_a_whole_row_and_braces_alone_are_text(monkeypatch):
    given = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
    assert typed("nli", json.dumps(given), monkeypatch=monkeypatch) == (given, ["premise: "])
    assert typed("summarize", "{참고} 글이다.", ".", monkeypatch=monkeypatch)[0] == {"document": "{참고} 글이다."}


def test_probabilities_are_the_softmax_of_the_labels_scores():
    assert NLI.probabilities(SURE.scores) == pytest.approx(
        {"neutral": 0.786986, "entailment": 0.106507, "contradiction": 0.106507}, abs=1e-6
    )
    assert get_task("qa").probabilities({"mean_logprob": -1.0}) == {}
    assert inputs.as_line(NLI, SURE) == "neutral (neutral 0.79, entailment 0.11, contradiction 0.11)"
    assert inputs.as_row(NLI, ROW, [SURE])["probabilities"]["neutral"] == 0.786986


@pytest.mark.parametrize(("form", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_csv_is_csv_whatever_a_cell_holds(form, delimiter):
    text = "".join(inputs.as_lines(NLI, [ROW], [[SURE]], form))
    (row,) = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    assert row == ROW | {
        "prediction": "neutral", "probability_entailment": "0.106507", "probability_neutral": "0.786986",
        "probability_contradiction": "0.106507",
    }  # fmt: skip
