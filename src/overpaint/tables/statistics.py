"""Intervals by a crossed bootstrap, exact tests of paired answers, and their correction for a sweep.

The bootstrap has two levels: seeds of u, which are drawn first, and units (questions about one fact, one article). It
is crossed and not nested: every seed's run answers the same questions, so a resample takes one set of units for all
seeds that it drew. Units drawn anew for each seed would let a hard question out of one run and into another, and so
average away what the choice of questions does to all runs alike: such intervals are too narrow. Where a clearing was
fitted on resamples of the fitting prompts, each seed that is drawn also draws one of its fits: the third level. The
base model is one model, and is not resampled but in `over_models`. With 3 seeds percentiles know little of what seeds
do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

REPEATS = 2000
OVER_MODELS = 20_000  # resamples of base models
UNDEFINED = "undefined: the gap to base is within 2 standard errors"
# Just past that, percentiles of a ratio fail: some resamples have next to no gap. Up to LOOSE standard errors the
# interval is Fieller's, and where this is wider than WIDEST, all that was lost, points of accuracy say more.
LOOSE, WIDEST = 4, 1
WIDE = "undefined: its interval is wider than all that was lost"


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


@cache
def _fit_weights(seeds: int, fits: int, units: int) -> np.ndarray:
    """Resampling weights [1 + REPEATS, seeds * fits]: each seed that `_weights` drew draws one of its fits."""
    counts = np.rint(_weights(seeds, units)[0][1:] * seeds).astype(int)
    drawn = np.random.default_rng([seeds, fits, units]).multinomial(counts, np.full(fits, 1 / fits)) / seeds
    return np.vstack([np.full((1, seeds * fits), 1 / (seeds * fits)), drawn.reshape(REPEATS, -1)])


def means(values: np.ndarray) -> np.ndarray:
    """Mean of `values` [seeds, units] or [seeds, fits, units] in the sample and in every resample, [1 + REPEATS]."""
    over_rows, over_units = _weights(len(values), values.shape[-1])
    if values.ndim == 3:
        over_rows = _fit_weights(*values.shape)
    return ((over_units @ values.reshape(-1, values.shape[-1]).T) * over_rows).sum(1)


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

    cleared may be [seeds, fits, units], of directions fitted on resamples of their prompts. Undefined (NaN with a
    note) where the gap between base and unlearned is within 2 of its standard errors of zero, or within `LOOSE` and
    Fieller's interval is wider than `WIDEST`.
    """
    found, start = _fraction(base, unlearned, means(cleared)), means(unlearned)
    gap = means(base) - start
    if np.isnan(found.value) or abs(gap[0]) > LOOSE * gap[1:].std(ddof=1):
        return found
    low, high = fieller(means(cleared) - start, gap)
    return Estimate(np.nan, np.nan, np.nan, WIDE) if high - low > WIDEST else replace(found, low=low, high=high)


def fieller(above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """Ends of Fieller's 95 % set (1954) of a ratio of means, from these in the sample and in its resamples.

    All t at which above - t below is within 1.96 standard errors of 0: an interval where `below` is further from it.
    """
    (var_above, both), (_, var_below) = 1.96**2 * np.cov(above[1:], below[1:])
    a, b, c = below[0] ** 2 - var_below, above[0] * below[0] - both, above[0] ** 2 - var_above
    root = np.sqrt(max(b * b - a * c, 0.0))
    return float((b - root) / a), float((b + root) / a)


def spread_of_fits(base: np.ndarray, unlearned: np.ndarray, cleared: np.ndarray) -> Estimate:
    """Standard deviation over fits of the recovered fraction; cleared is [seeds, fits, units] with two fits or more."""
    return _fraction(
        base, unlearned, np.stack([means(fit) for fit in cleared.swapaxes(0, 1)]), lambda x: x.std(0, ddof=1)
    )


def _fraction(
    base: np.ndarray, unlearned: np.ndarray, cleared: np.ndarray, of: Callable[[np.ndarray], np.ndarray] = lambda x: x
) -> Estimate:
    """`of` the recovered fractions of `cleared` [.., 1 + REPEATS], means in the sample and its resamples."""
    start, gap = means(unlearned), means(base) - means(unlearned)
    if abs(gap[0]) <= 2 * gap[1:].std(ddof=1):
        return Estimate(np.nan, np.nan, np.nan, UNDEFINED)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may have no gap at all
        samples = of((cleared - start) / gap)
    low, high = np.nanquantile(samples[1:], [0.025, 0.975])
    return Estimate(float(samples[0]), float(low), float(high))


def over_models(samples: np.ndarray, level: float = 0.05) -> tuple[Estimate, float]:
    """Mean over base models with its interval at 1 - `level`, and the standard deviation between them.

    samples: a number of each base model in the sample and in its resamples of seeds and units, [models, 1 + REPEATS],
    without models in which it is not defined. The standard error is that of a hierarchical bootstrap, which draws base
    models and, of each that is drawn, one of its own resamples; what these add to the spread that is seen between
    models makes it slightly large. The interval is of t with models - 1 degrees of freedom: percentiles of few models
    are too narrow, and never wider than their range.
    """
    from scipy.stats import t

    count = len(samples)
    if count < 2:
        return Estimate(np.nan, np.nan, np.nan, "undefined: fewer than two base models"), np.nan
    rng = np.random.default_rng(count)
    drawn, within = (rng.integers(*ends, (OVER_MODELS, count)) for ends in ((0, count), (1, samples.shape[1])))
    error = np.nanmean(samples[drawn, within], 1).std() * np.sqrt(count / (count - 1))
    value, half = float(samples[:, 0].mean()), float(t.ppf(1 - level / 2, count - 1) * error)
    return Estimate(value, value - half, value + half), float(samples[:, 0].std(ddof=1))


def over_values(values: np.ndarray) -> Estimate:
    """Mean of numbers of base models [models] with its t interval."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def discordant(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Numbers of units that gained and lost correct answers from `before` to `after`, [seeds, units] each.

    Answers to several questions about a unit, and by several seeds, depend on each other and count together: a unit
    gained where more of them are right than before. With one of each these are the cells of McNemar's test.
    """
    change = (after - before).sum(0)
    return int((change > 1e-9).sum()), int((change < -1e-9).sum())


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test: that of a fair coin for the discordant units, 1 where there are none."""
    from scipy.stats import binomtest  # half a second, of which the other tables have no use

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def signed_rank(changes: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test of independent changes [n], 1 where nothing changed."""
    from scipy.stats import wilcoxon

    changes = np.round(changes, 9)  # sums of shares that are equal but for rounding are ties
    return float(wilcoxon(changes).pvalue) if changes.any() else 1.0


def holm(values: np.ndarray) -> np.ndarray:
    """The p of a family of tests, corrected by Holm's method (1979), in their order."""
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(1, steps)[np.argsort(order)]


def against_draws(value: float, draws: np.ndarray) -> tuple[float, float]:
    """z of a value among draws of a null, NaN where these do not differ, and its empirical p, one-sided.

    p = (1 + draws that reach the value) / (1 + draws): with 20 draws never below 1/21 = 0.048.
    """
    spread = draws.std(ddof=1) if len(draws) > 1 else 0.0
    z = (value - draws.mean()) / spread if spread > 0 else np.nan
    return float(z), float((1 + (draws >= value - 1e-12).sum()) / (1 + len(draws)))


def partial_rank_correlation(one: np.ndarray, other: np.ndarray, given: np.ndarray) -> tuple[float, float]:
    """Spearman's correlation of two variables [n] less what a third explains of either, and its two-sided p.

    p: share of 9,999 orders of what is left of `one`, and the true one, whose correlation is as far from 0.
    """
    from scipy.stats import permutation_test, rankdata

    ranks = [rankdata(values) for values in (one, other, given)]
    left = [values - np.polyval(np.polyfit(ranks[2], values, 1), ranks[2]) for values in ranks[:2]]
    first, second = (values / np.linalg.norm(values) for values in left)

    def correlation(order: np.ndarray, axis: int) -> np.ndarray:
        return (order * second).sum(axis)  # what is left has a mean of 0

    test = permutation_test(
        (first,), correlation, permutation_type="pairings", n_resamples=9999, rng=0, vectorized=True
    )
    return float(test.statistic), float(test.pvalue)
