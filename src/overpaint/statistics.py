"""Intervals: a crossed bootstrap over seeds (outer level) and units (questions about one fact, one article)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

REPEATS = 2000
UNDEFINED = "undefined: the gap to base is within 2 standard errors"


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile interval; all NaN with a note where it is not defined."""

    value: float
    low: float
    high: float
    note: str = ""


@cache
def _weights(seeds: int, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Resampling weights [1 + REPEATS, seeds] and [1 + REPEATS, units], each row summing to 1; row 0 is the sample.

    They depend on the two counts alone, so quantities over the same units are resampled together (paired).
    """
    rng = np.random.default_rng([seeds, units])
    rows = [rng.multinomial(n, np.full(n, 1 / n), REPEATS) / n for n in (seeds, units)]
    return tuple(np.vstack([np.full((1, n), 1 / n), w]) for n, w in zip((seeds, units), rows, strict=True))


def means(values: np.ndarray) -> np.ndarray:
    """Mean of `values` [seeds, units] in the sample and in every resample, [1 + REPEATS]."""
    over_seeds, over_units = _weights(*values.shape)
    return ((over_seeds @ values) * over_units).sum(1)


def estimate(samples: np.ndarray, note: str = "") -> Estimate:
    """The estimate whose sample value comes first and whose resamples follow."""
    low, high = np.quantile(samples[1:], [0.025, 0.975])
    return Estimate(float(samples[0]), float(low), float(high), note)


def mean(values: np.ndarray, of: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> Estimate:
    """`of` the mean of `values` [seeds, units]."""
    return estimate(of(means(values)))


def ratio(numerator: np.ndarray, denominator: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """`of` the ratio of two sums over the same [seeds, units], such as nats per token."""
    return estimate(of(means(numerator) / means(denominator)))


def recovered_fraction(base: np.ndarray, unlearned: np.ndarray, cleared: np.ndarray) -> Estimate:
    """(cleared - unlearned) / (base - unlearned) of means over [seeds, units], paired by unit and seed.

    Undefined (NaN with a note) where the gap between base and unlearned is within 2 of its standard errors of zero.
    """
    start, gap = means(unlearned), means(base) - means(unlearned)
    if abs(gap[0]) <= 2 * gap[1:].std(ddof=1):
        return Estimate(np.nan, np.nan, np.nan, UNDEFINED)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may have no gap at all
        samples = (means(cleared) - start) / gap
    low, high = np.nanquantile(samples[1:], [0.025, 0.975])
    return Estimate(float(samples[0]), float(low), float(high))
