"""Accuracy, macro-F1, confusion matrix and the majority baseline."""

from __future__ import annotations

import json
import random

import pytest

from tasks.metrics.classification import Classification, majority_label

LABELS = ["함의", "중립", "모순"]


def compute(predictions, references, labels=LABELS):
    return Classification().compute(predictions=predictions, references=references, labels=labels)


def test_hand_worked_scores():
    references = ["함의", "함의", "함의", "중립", "중립", "모순"]
    predictions = ["함의", "함의", "중립", "중립", "모순", "모순"]
    assert compute(predictions, references) == {
        "accuracy": pytest.approx(4 / 6),
        "macro_f1": pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3),
        "per_label": {
            "함의": {"precision": 1.0, "recall": pytest.approx(2 / 3), "f1": pytest.approx(4 / 5), "support": 3},
            "중립": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
            "모순": {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        },
        "confusion_matrix": {
            "함의": {"함의": 2, "중립": 1, "모순": 0},
            "중립": {"함의": 0, "중립": 1, "모순": 1},
            "모순": {"함의": 0, "중립": 0, "모순": 1},
        },
    }


def test_label_that_occurs_nowhere_counts_as_zero():
    result = compute(["함의", "중립"], ["함의", "중립"])
    assert result["accuracy"] == 1.0
    assert result["macro_f1"] == pytest.approx(2 / 3)
    assert result["per_label"]["모순"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_label_that_is_never_predicted_or_never_right():
    result = compute(["함의", "함의"], ["함의", "모순"])
    assert result["per_label"]["모순"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert result["per_label"]["함의"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}


def test_labels_stand_in_the_order_given():
    result = compute(["중립"], ["함의"], ["모순", "함의", "중립"])
    assert list(result["per_label"]) == ["모순", "함의", "중립"]
    assert list(result["confusion_matrix"]) == ["모순", "함의", "중립"]
    assert list(result["confusion_matrix"]["함의"].items()) == [("모순", 0), ("함의", 0), ("중립", 1)]


def test_results_are_plain_numbers():
    result = compute(["함의", "중립"], ["함의", "모순"])
    assert json.loads(json.dumps(result, ensure_ascii=False)) == result
    assert type(result["accuracy"]) is float and type(result["macro_f1"]) is float
    assert {type(count) for row in result["confusion_matrix"].values() for count in row.values()} == {int}


@pytest.mark.parametrize(
    ("predictions", "references", "labels", "message"),
    [
        ([], [], LABELS, "nothing to score"),
        (["함의", "중립"], ["함의"], LABELS, "Mismatch in the number"),
        (["함의", "참"], ["함의", "중립"], LABELS, "row 2 of predictions: '참' is none of the labels 함의, 중립, 모순"),
        (["함의", "함의"], ["함의", ""], LABELS, "row 2 of references: '' is none of the labels"),
        (["함의"], ["함의"], [], "list of different labels"),
        (["함의"], ["함의"], ["함의", "함의"], "list of different labels"),
        (["함의"], ["함의"], "함의", "list of different labels"),
    ],
)
def test_rows_that_cannot_be_scored(predictions, references, labels, message):
    with pytest.raises(ValueError, match=message):
        compute(predictions, references, labels)


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (["모순", "중립", "모순"], "모순"),
        (["모순", "중립"], "중립"),  # a tie: 중립 stands first in the labels, 모순 in the rows
        (["모순", "함의", "중립"], "함의"),
    ],
)
def test_majority_label(references, expected):
    assert majority_label(references, LABELS) == expected


def test_majority_label_of_bad_rows():
    with pytest.raises(ValueError, match="no references"):
        majority_label([], LABELS)
    with pytest.raises(ValueError, match="row 2 of references: '참'"):
        majority_label(["함의", "참"], LABELS)


def test_many_labels_as_scikit_learn_has_them_and_each_row_names_its_own():
    from sklearn.metrics import accuracy_score, f1_score

    generator = random.Random(1)
    labels = [f"l{n}" for n in range(1000)]
    references = generator.choices(labels, k=400)
    predictions = [right if generator.random() < 0.6 else generator.choice(labels) for right in references]
    metric, columns = Classification(), {"predictions": predictions, "references": references, "labels": labels}
    assert max(len(row) for row in metric.rows(**columns)[1:]) <= 2  # else a thousand labels take minutes
    result = metric.compute(**columns)
    assert result["accuracy"] == pytest.approx(accuracy_score(references, predictions))
    assert result["macro_f1"] == pytest.approx(
        f1_score(references, predictions, labels=labels, average="macro", zero_division=0)
    )
    for groups in (None, [n // 2 for n in range(400)]):
        found = metric.intervals(7, groups, **columns)
        assert found["accuracy"][0] < result["accuracy"] < found["accuracy"][1]
