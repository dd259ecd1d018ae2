"""What can be said of samples: exact percentiles, and ratios of medians with their bootstrap intervals."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: How often the samples are drawn anew, and which part of the outcomes an interval holds.
RESAMPLES = 2000
LEVEL = 0.95

#: One seed for all: the same samples give the same interval.
SEED = 20190131


@dataclass(frozen=True)
class Estimate:
    """A figure and how far it may be off.

    Attributes
    ----------
    value : float
    low, high : float
        The bootstrap interval of `LEVEL`.
    """

    value: float
    low: float
    high: float


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that so many percent of the samples do not exceed; nothing is interpolated."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def estimate(
    statistic: Callable[[Sequence[Sequence[float]]], float], *series: Sequence[float], paired: bool = False
) -> Estimate:
    """Estimate a statistic of some series of samples.

    Parameters
    ----------
    statistic : Callable
        Of the list of series.
    *series : sequence of float
    paired : bool
        Whether the samples of one place belong together; then they are drawn together, so that a drift of the machine
        which all of them share does not widen the interval.
    """
    chance = random.Random(SEED)  # noqa: S311 - no secret
    outcomes = []
    for _ in range(RESAMPLES):
        if paired:
            places = chance.choices(range(len(series[0])), k=len(series[0]))
            drawn = [[one[place] for place in places] for one in series]
        else:
            drawn = [chance.choices(one, k=len(one)) for one in series]
        outcomes.append(statistic(drawn))
    outcomes.sort()
    tail = (1 - LEVEL) / 2
    low, high = outcomes[int(tail * RESAMPLES)], outcomes[math.ceil((1 - tail) * RESAMPLES) - 1]
    return Estimate(statistic(series), low, high)


def median(samples: Sequence[float]) -> Estimate:
    """The median."""
    return estimate(lambda series: statistics.median(series[0]), samples)


def ratio(ours: Sequence[float], plain: Sequence[float]) -> Estimate:
    """The ratio of the medians of paired samples."""
    return estimate(_ratio_of_medians, ours, plain, paired=True)


def difference(ours: Sequence[float], plain: Sequence[float]) -> Estimate:
    """The difference of the medians of paired samples."""
    return estimate(
        lambda series: statistics.median(series[0]) - statistics.median(series[1]), ours, plain, paired=True
    )


def pair_ratio(ours: Sequence[float], plain: Sequence[float]) -> float:
    """The median of the pairs' ratios."""
    return statistics.median(a / b for a, b in zip(ours, plain, strict=True))


def percentile_ratio(ours: Sequence[float], plain: Sequence[float], percent: float) -> Estimate:
    """The ratio of a percentile of two series that are not paired."""
    return estimate(lambda series: percentile(series[0], percent) / percentile(series[1], percent), ours, plain)


def _ratio_of_medians(series: Sequence[Sequence[float]]) -> float:
    return statistics.median(series[0]) / statistics.median(series[1])
