"""The percentile bootstrap over rows, against intervals that are known without it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.metrics.bootstrap import intervals, paired_differences, resampled


def mean(sums):
    return {"mean": sums["value"] / sums["rows"]}


def rows(values):
    return [{"rows": 1, "value": value} for value in values]


def test_two_rows_by_hand():
    # Draws of 0 and 1 are both 0, one of each, both 1 in shares of 1/4, 1/2, 1/4: 2.5 % reach into either end.
    assert intervals(rows([0.0, 1.0]), mean, seed=1) == {"mean": [0.0, 1.0]}


def test_rare_draws_are_outside():
    # Of 4 rows, all four draws are the one that is right with 1/256 < 2.5 %, none is with 81/256, three are with 12/256.
    assert intervals(rows([1, 0, 0, 0]), mean, seed=1) == {"mean": [0.0, 0.75]}


def test_of_twenty_values_the_lowest_and_the_highest_are_the_ends():
    # 2.5 % of so few is less than one of them. Draws of one row each from 0 and 9: the ends are values that occur.
    assert intervals(rows([0.0, 9.0]), mean, seed=1, resamples=20) == {"mean": [0.0, 9.0]}


def test_the_ends_are_the_25th_values_of_a_thousand():
    def ordered(sums):
        return {"rank": np.arange(1.0, 1 + len(sums["value"]))[::-1]}

    assert intervals(rows([0.0]), ordered, seed=1) == {"rank": [25.0, 976.0]}


def test_coin_tosses_have_the_interval_of_the_normal_approximation():
    [low, high] = intervals(rows([0, 1] * 200), mean, seed=42)["mean"]
    # 1.96 standard errors of 400 tosses: 1.96 * 0.5 / 20 = 0.049
    assert low == pytest.approx(0.5 - 0.049, abs=0.006)
    assert high == pytest.approx(0.5 + 0.049, abs=0.006)


def test_it_covers_the_truth_about_as_often_as_it_says():
    draws = np.random.default_rng(0)
    found = [intervals(rows(draws.random(100) < 0.3), mean, seed=n, resamples=200)["mean"] for n in range(200)]
    covered = sum(low <= 0.3 <= high for low, high in found) / len(found)
    assert 0.90 <= covered <= 0.99


def test_a_ratio_of_sums_is_not_a_mean_of_ratios():
    # Nats over tokens: 1 / 1 and 9 / 9 are both 1, whatever is drawn.
    texts = [{"nats": 1.0, "tokens": 1}, {"nats": 9.0, "tokens": 9}]
    assert intervals(texts, lambda sums: {"nats per token": sums["nats"] / sums["tokens"]}, seed=1) == {
        "nats per token": [1.0, 1.0]
    }


def test_one_row_is_its_own_interval():
    assert intervals(rows([0.3]), mean, seed=1) == {"mean": [0.3, 0.3]}


def test_rows_of_a_group_are_drawn_together():
    values = [1.0] * 50 + [0.0] * 50
    alone = intervals(rows(values), mean, seed=1)
    assert intervals(rows(values), mean, seed=1, groups=list(range(100))) == alone  # each row its own group
    # Two groups: a quarter of the draws are all ones, a quarter all zeros.
    assert intervals(rows(values), mean, seed=1, groups=["a"] * 50 + ["b"] * 50) == {"mean": [0.0, 1.0]}
    assert intervals(rows(values), mean, seed=1, groups=["a"] * 100) == {"mean": [0.5, 0.5]}
    # As though each group were one row of its sums.
    sums = [{"value": 3.0, "rows": 2}, {"value": 1.0, "rows": 3}, {"value": 0.0, "rows": 1}]
    texts = rows([1.0, 1.0, 0.0, 2.0, 0.0, 0.0])
    assert intervals(texts, mean, seed=3, groups=["b", "a", "a", "b", "a", "c"]) == intervals(sums, mean, seed=3)


def test_no_rows_have_no_interval():
    assert intervals([], mean, seed=1) == {}


def test_the_seed_decides():
    values = rows(np.random.default_rng(0).random(50))
    first, again, other = (intervals(values, mean, seed=seed)["mean"] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first == pytest.approx(other, abs=0.02)


def test_ends_are_plain_numbers():
    assert {type(end) for end in intervals(rows([0, 1]), mean, seed=1)["mean"]} == {float}


@pytest.mark.filterwarnings("error")
def test_a_draw_without_the_metric_is_left_out():
    # Two rows, one with characters: a quarter of the draws has none, and in all others it is 3 bits a character.
    texts = [{"bits": 6.0, "characters": 2}, {"bits": 0.0, "characters": 0}]
    assert intervals(texts, lambda sums: {"bpc": sums["bits"] / sums["characters"]}, seed=1) == {"bpc": [3.0, 3.0]}


@pytest.mark.filterwarnings("error")
def test_a_metric_that_no_draw_has_is_left_out():
    texts = [{"bits": 0.0, "characters": 0}]
    assert intervals(texts, lambda sums: {"bpc": sums["bits"] / sums["characters"]}, seed=1) == {}


@pytest.mark.filterwarnings("error")
def test_infinity_is_a_value():
    def perplexity(sums):
        with np.errstate(over="ignore"):
            return {"perplexity": np.exp(sums["value"] / sums["rows"])}

    assert intervals(rows([0.0, 1e6]), perplexity, seed=1) == {"perplexity": [1.0, math.inf]}
    assert intervals(rows([1e6, 1e6]), perplexity, seed=1) == {"perplexity": [math.inf, math.inf]}


def test_a_pair_is_drawn_together():
    # Every row of the second is better by 1, however hard it is: no draw differs from that.
    hard = [0.0, 5.0, 9.0, 2.0]
    found = paired_differences(rows(hard), rows([value + 1 for value in hard]), mean, seed=1)["mean"]
    assert found == {"first": 4.0, "second": 5.0, "difference": 1.0, "interval": [1.0, 1.0], "p_value": 2 / 1001}


def test_two_that_are_the_same_do_not_differ():
    found = paired_differences(rows([1.0, 0.0]), rows([1.0, 0.0]), mean, seed=1)["mean"]
    assert (found["difference"], found["interval"], found["p_value"]) == (0.0, [0.0, 0.0], 1.0)


@pytest.mark.parametrize("gains", range(10, 30))
def test_p_is_below_5_percent_where_the_interval_leaves_out_0(gains):
    # Of 40 rows where one of the two is right, the second is right in ``gains``.
    second = [1.0] * gains + [0.0] * (40 - gains)
    found = paired_differences(rows([1 - value for value in second]), rows(second), mean, seed=7)["mean"]
    low, high = found["interval"]
    assert (found["p_value"] < 0.05) == (not low <= 0 <= high)


def test_p_is_about_that_of_the_sign_test():
    # 26 of 40 against 14 of 40: the exact two-sided sign test says 0.081.
    second = [1.0] * 26 + [0.0] * 14
    found = paired_differences(rows([1 - value for value in second]), rows(second), mean, seed=3)["mean"]
    assert found["p_value"] == pytest.approx(0.08, abs=0.03)


def test_groups_of_a_pair_are_drawn_whole():
    first, second = rows([0.0] * 4), rows([1.0, 1.0, -1.0, -1.0])
    found = paired_differences(first, second, mean, seed=1, groups=["a", "a", "b", "b"])["mean"]
    assert found["interval"] == [-1.0, 1.0]  # of two groups; of four rows the ends are the same once in eight draws each
    assert set(np.unique(resampled(second, mean, 1, groups=["a", "a", "b", "b"])["mean"])) == {-1.0, 0.0, 1.0}


def test_a_metric_that_one_of_the_two_lacks_is_left_out():
    assert paired_differences(rows([math.nan]), rows([1.0]), mean, seed=1) == {}
