"""The text of a summary's training sequence, its score and its baseline."""

from __future__ import annotations

import pytest

from tasks import get_task
from tasks.base import Prediction, Source
from tasks.errors import RowError

TASK = get_task("summarize")
ROW = {"id": "7", "document": "첫 문장이다. 둘째 문장이다.", "summary": " 요약문 "}


def test_document_separator_summary():
    example = TASK.format(ROW)
    assert example.prompt == (Source("첫 문장이다. 둘째 문장이다."), "<summarize>")
    assert example.prompt_text == "첫 문장이다. 둘째 문장이다.<summarize>"
    assert (example.id, example.completion, example.references) == ("7", "요약문", ("요약문",))


def test_training_and_prediction_read_the_same_prompt():
    example = TASK.input_example({"id": "7", "document": ROW["document"]})
    assert example.prompt == TASK.format(ROW).prompt
    assert (example.completion, example.references) == (None, ())


@pytest.mark.parametrize("column", ["document", "summary"])
@pytest.mark.parametrize("value", [None, "", " \n\t"])
def test_an_empty_text_is_refused(column, value):
    with pytest.raises(RowError, match=rf"column '{column}' is empty; fill it, or drop such rows with --skip_bad_rows"):
        TASK.format(ROW | {column: value})


def test_a_number_is_not_read_as_text():
    with pytest.raises(RowError, match=r"column 'document' holds int .3., not text; put it in quotes"):
        TASK.format(ROW | {"document": 3})


def prediction(text, reference):
    return Prediction("1", "", text, (reference,))


def test_score_of_the_reference_and_of_nothing():
    scores = TASK.score([prediction("비가 온다", "비가 온다"), prediction("", "비가 온다"), prediction(None, "비가 온다")])
    assert scores["rougeL"] == pytest.approx(1 / 3)
    # Words: 비가 is one of two in both; by hand precision 1/2, recall 1/2.
    assert TASK.score([prediction("비가 그친다", "비가 온다")])["rouge1_words"] == pytest.approx(0.5)


def test_the_baseline_is_the_first_sentence():
    example = TASK.format({"id": "1", "document": "비가 온다. 날씨가 맑다.", "summary": "비가 온다."})
    result = TASK.baseline([example])
    assert result["baseline"] == "lead sentence"
    assert (result["baseline_rouge1"], result["baseline_rougeL_words"]) == (1.0, 1.0)
    other = TASK.format({"id": "1", "document": "비가 온다. 날씨가 맑다.", "summary": "날씨가 맑다."})
    assert TASK.baseline([other])["baseline_rougeL_words"] == 0.0
