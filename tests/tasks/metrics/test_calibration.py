"""Temperature and expected calibration error, by hand and where they can say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.metrics.calibration import calibrate, calibration_error, fit_temperature


def test_expected_calibration_error_by_hand():
    # Confidences 0.9 (right), 0.9 (wrong) and 0.6 (right): |1 - 1.8| and |1 - 0.6|, over three rows.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    assert calibration_error(probabilities, np.array([0, 1, 1])) == pytest.approx((0.8 + 0.4) / 3)


@pytest.mark.parametrize(("odds", "hits"), [(4.0, 3), (0.5, 3)])
def test_the_temperature_makes_confidence_what_hits_are(odds, hits):
    # Every row has the same scores and 3 of 4 are right, so softmax(odds / temperature) has to be 3/4: odds / T = log 3.
    values, right = np.array([[odds, 0.0]] * 4), np.array([0] * hits + [1] * (4 - hits))
    assert fit_temperature(values, right) == pytest.approx(odds / math.log(3), rel=0.01)


def rows(count: int, wrong: int) -> tuple[list[dict[str, float]], list[str]]:
    """Rows that are sure of "a"; every ``wrong``-th is "b"."""
    return [{"a": -0.01, "b": -4.6}] * count, ["b" if n % wrong == 0 else "a" for n in range(count)]


def test_a_half_is_fitted_and_the_other_one_measured():
    found = calibrate(*rows(400, 4), seed=1)
    assert (found["rows_fitted"], found["rows_measured"]) == (200, 200)
    assert found["temperature"] > 3
    assert found["expected_calibration_error"] < 0.1 < 0.2 < found["expected_calibration_error_before"]
    assert calibrate(*rows(400, 4), seed=1) == found
    assert calibrate(*rows(400, 4), seed=2) != found


def test_nothing_is_sharpened_where_no_row_is_wrong():
    assert calibrate(*rows(40, 41)[:1], ["a"] * 40, seed=1)["temperature"] == 1.0


def test_few_rows_and_unknown_labels():
    assert calibrate(*rows(19, 4), seed=1) is None
    assert calibrate([], [], seed=1) is None
    scores, references = rows(40, 4)
    found = calibrate(scores, ["x" if label == "b" else label for label in references], seed=1)
    assert (found["temperature"], found["rows_measured"]) == (1.0, 20)
