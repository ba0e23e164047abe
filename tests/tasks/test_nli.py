"""Labels in every spelling, the text of a training sequence, score and baseline of NLI."""

from __future__ import annotations

import pytest

from tasks import get_task
from tasks.base import Prediction, Source
from tasks.errors import RowError

TASK = get_task("nli")
ROW = {"id": "1", "premise": "비가 온다.", "hypothesis": "날씨가 맑다.", "label": "contradiction"}


def test_premise_hypothesis_label():
    example = TASK.format(ROW)
    assert example.prompt == (Source("비가 온다."), "<sep>", "날씨가 맑다.", "<nli>")
    assert (example.completion, example.references) == ("모순", ("contradiction",))
    assert TASK.input_example(ROW).prompt == example.prompt


@pytest.mark.parametrize(
    ("label", "name", "word"),
    [
        ("entailment", "entailment", "참"), ("Entailment", "entailment", "참"), (0, "entailment", "참"),
        ("0", "entailment", "참"), ("함의", "entailment", "참"), ("참", "entailment", "참"), ("e", "entailment", "참"),
        ("NEUTRAL", "neutral", "중립"), (1, "neutral", "중립"), (" 1 ", "neutral", "중립"), ("중립", "neutral", "중립"),
        ("contradiction ", "contradiction", "모순"), (2, "contradiction", "모순"), ("2", "contradiction", "모순"),
        ("모순", "contradiction", "모순"), ("거짓", "contradiction", "모순"),
    ],
)  # fmt: skip
def test_labels_in_every_spelling(label, name, word):
    example = TASK.format(ROW | {"label": label})
    assert (example.references, example.completion) == ((name,), word)


@pytest.mark.parametrize("label", [-1, 3, "maybe", "", None, "-", 0.5])
def test_an_unknown_label_is_refused_and_those_known_are_named(label):
    with pytest.raises(RowError) as error:
        TASK.format(ROW | {"label": label})
    assert str(error.value).startswith(
        f"unknown label {label!r}; known are entailment, neutral, contradiction (any case), 0, 1"
    )


def test_whole_floats_are_labels_too():
    # pandas writes a column of integers with one gap as 0.0, 1.0, 2.0.
    assert TASK.format(ROW | {"label": 2.0}).references == ("contradiction",)


@pytest.mark.parametrize("column", ["premise", "hypothesis"])
def test_an_empty_text_is_refused(column):
    with pytest.raises(RowError, match=rf"column '{column}' is empty"):
        TASK.format(ROW | {column: " "})


def predictions(*pairs):
    return [Prediction("1", "", given, (right,)) for given, right in pairs]


def test_score_by_hand():
    scores = TASK.score(
        predictions(
            ("entailment", "entailment"), ("neutral", "entailment"), ("neutral", "neutral"), ("neutral", "contradiction")
        )
    )
    assert scores["accuracy"] == 0.5
    # F1: entailment 2/3, neutral 2*1/(3+1) = 1/2, contradiction 0.
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores["confusion_matrix"]["contradiction"] == {"entailment": 0, "neutral": 1, "contradiction": 0}


def test_the_baseline_answers_the_most_frequent_label():
    examples = [TASK.format(ROW | {"label": label}) for label in (1, 1, 0, 2)]
    result = TASK.baseline(examples)
    assert (result["baseline"], result["baseline_accuracy"]) == ("majority label", 0.5)
    assert result["baseline_macro_f1"] == pytest.approx((2 * 2 / (4 + 2)) / 3)


@pytest.mark.parametrize("label", ["2.0", "2.00", " 2 ", 2.0])
def test_a_number_that_a_spreadsheet_made_of_a_label(label):
    row = {"id": "1", "premise": "비가 온다.", "hypothesis": "날씨가 맑다.", "label": label}
    assert get_task("nli").format(row).references == ("contradiction",)
