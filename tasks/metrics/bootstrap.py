"""How far a figure would move on other rows of the same kind: the percentile bootstrap over the rows, or groups of them.

The rows are drawn anew with replacement, as many as there are, and the metric is computed again; the middle 95 % of a
thousand such values is the interval (Efron & Tibshirani 1993, chapter 13; the habit of the field since Koehn 2004,
https://aclanthology.org/W04-3250). It speaks of the choice of rows alone: another seed of training moves a figure too.
Rows that share a text (questions on one paragraph) are no independent draws: they are drawn together, as a group, or the
interval would be too narrow (Davison & Hinkley 1997, section 3.8).

Every metric here is a function of sums over rows, so that nothing is tokenised or compared again for a draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_array

RESAMPLES = 1000
OUTSIDE = 0.025  # the share of resamples below the interval, and above it

Pooled = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def resampled(
    rows: Sequence[Mapping[str, float]],
    pooled: Pooled,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, np.ndarray]:
    """The value of each metric that ``pooled`` makes of sums over ``rows`` in each resample, an array [resamples].

    ``rows`` are n rows of k statistics, all finite; there has to be one. ``pooled`` takes each statistic's sums, an array
    [resamples], and returns each metric's values, an array [resamples]. One draw is made and summed at a time, so memory is
    n x k, or less where most are missing, which are zero; the first row names all. ``groups`` names the group of each row;
    as many groups are drawn as there are, each with all its rows. As many rows in the same groups give the same draws.
    """
    owners = range(len(rows)) if groups is None else groups
    lines = {owner: line for line, owner in enumerate(dict.fromkeys(owners))}
    columns = {name: column for column, name in enumerate(rows[0])}
    amounts = [value for row in rows for value in row.values()]
    places = [(lines[own], columns[name]) for row, own in zip(rows, owners, strict=True) for name in row]
    statistics = coo_array((amounts, np.array(places).T), (len(lines), len(columns)), dtype=np.float64)  # adds up groups
    statistics = statistics.toarray() if len(amounts) > statistics.shape[0] * statistics.shape[1] / 4 else statistics.tocsr()
    draws = np.random.default_rng(seed)
    sums = np.empty((resamples, len(columns)))
    for resample in range(resamples):
        drawn = draws.integers(len(lines), size=len(lines))
        sums[resample] = np.bincount(drawn, minlength=len(lines)) @ statistics
    with np.errstate(divide="ignore", invalid="ignore"):
        return dict(pooled(dict(zip(columns, sums.T))))


def intervals(
    rows: Sequence[Mapping[str, float]],
    pooled: Pooled,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, list[float]]:
    """The 95 % interval [low, high] of each metric, from ``resampled``; {} without rows.

    A draw for which the metric does not exist (NaN: all its texts are empty) is left out, a metric that exists for none
    too; infinity is a value like others. With one row, or one group, every draw is that one, and both ends are its value.
    """
    if not rows:
        return {}
    metrics = resampled(rows, pooled, seed, resamples, groups)
    values = {name: drawn[~np.isnan(drawn)] for name, drawn in metrics.items()}
    return {name: _middle(drawn) for name, drawn in values.items() if drawn.size}


def paired_differences(
    first: Sequence[Mapping[str, float]],
    second: Sequence[Mapping[str, float]],
    pooled: Pooled,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, dict[str, Any]]:
    """{metric: ``first``, ``second``, their ``difference``, its 95 % ``interval``, ``p_value``} of two systems on n rows.

    Row i of both is about the same input, and each draw takes the same rows of both: what makes a row hard cancels out
    (Koehn 2004). ``p_value`` is two-sided: twice the share of draws on the rarer side of 0, those at 0 included, with one
    added to draws and to their number, so that it is never 0 (Davison & Hinkley 1997, section 4.2.3). Over 1,000 draws it is
    below 0.05 exactly where the interval leaves out 0. A metric that does not exist for a system, or for any draw, is left
    out.
    """
    sums = [{name: np.array([math.fsum(row.get(name, 0) for row in rows)]) for name in rows[0]} for rows in (first, second)]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [{name: float(value) for name, [value] in pooled(each).items()} for each in sums]
        drawn = [resampled(rows, pooled, seed, groups=groups) for rows in (first, second)]
        found = {name: drawn[1][name] - drawn[0][name] for name in drawn[0]}
    differences = {}
    for name, all_draws in found.items():
        draws = all_draws[~np.isnan(all_draws)]
        difference = values[1][name] - values[0][name]
        if not draws.size or math.isnan(difference):
            continue
        rarer = min((draws <= 0).sum(), (draws >= 0).sum())
        differences[name] = {
            "first": values[0][name], "second": values[1][name], "difference": difference, "interval": _middle(draws),
            "p_value": min(1.0, 2 * (1 + int(rarer)) / (1 + draws.size)),
        }  # fmt: skip
    return differences


def _middle(values: np.ndarray) -> list[float]:
    """The 25th lowest and the 25th highest of 1,000. Values that occur, because between two infinities is nothing."""
    ordered = np.sort(values)
    outside = max(int(OUTSIDE * (len(ordered) + 1)), 1)
    return [float(ordered[outside - 1]), float(ordered[-outside])]
