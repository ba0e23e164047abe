"""How far a figure would move on other rows of the same kind: the percentile bootstrap over the rows, or groups of them.

The rows are drawn anew with replacement, as many as there are, and the metric is computed again; the middle 95 % of a
thousand such values is the interval (Efron & Tibshirani 1993, chapter 13; the habit of the field since Koehn 2004,
https://aclanthology.org/W04-3250). It speaks of the choice of rows alone: another seed of training moves a figure too.
Rows that share a text (questions on one paragraph) are no independent draws: they are drawn together, as a group, or the
interval would be too narrow (Davison & Hinkley 1997, section 3.8).

Every metric here is a function of sums over rows, so that nothing is tokenised or compared again for a draw.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array

RESAMPLES = 1000
OUTSIDE = 0.025  # the share of resamples below the interval, and above it

Pooled = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def intervals(
    rows: Sequence[Mapping[str, float]],
    pooled: Pooled,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Sequence[Hashable] | None = None,
) -> dict[str, list[float]]:
    """The 95 % interval [low, high] of each metric that ``pooled`` makes of sums over ``rows``; {} without rows.

    ``rows`` are n rows of k statistics, all finite. ``pooled`` takes each statistic's sums, an array [resamples],
    and returns each metric's values, an array [resamples]. One draw is made and summed at a time, so memory is n x k, or
    less where most are missing, which are zero; the first row names all.
    ``groups`` names the group of each row; as many groups are drawn as there are, each with all its rows.

    A draw for which the metric does not exist (NaN: all its texts are empty) is left out, a metric that exists for none
    too; infinity is a value like others. With one row, or one group, every draw is that one, and both ends are its value.
    """
    if not rows:
        return {}
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
        metrics = pooled(dict(zip(columns, sums.T)))
    values = {name: drawn[~np.isnan(drawn)] for name, drawn in metrics.items()}
    return {name: _middle(drawn) for name, drawn in values.items() if drawn.size}


def _middle(values: np.ndarray) -> list[float]:
    """The 25th lowest and the 25th highest of 1,000. Values that occur, because between two infinities is nothing."""
    ordered = np.sort(values)
    outside = max(int(OUTSIDE * (len(ordered) + 1)), 1)
    return [float(ordered[outside - 1]), float(ordered[-outside])]
