"""Intervals: known values on constructed data, resampling in pairs, and coverage in simulated samples."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from overpaint.tables import statistics


def correlated(seed: int, units: int = 200, seeds: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base, unlearned and cleared [seeds, units] around 1, 0.5 and 0.75 that share most of what varies by unit."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 0.2, units)
    base, unlearned, cleared = (level + shared + rng.normal(0, 0.02, (seeds, units)) for level in (1.0, 0.5, 0.75))
    return np.repeat(base[:1], seeds, 0), unlearned, cleared


def width(found: statistics.Estimate) -> float:
    return found.high - found.low


def test_the_recovered_fraction_of_constructed_data_is_known():
    base, unlearned, cleared = np.full((2, 30), 1.0), np.full((2, 30), 0.5), np.full((2, 30), 0.75)
    found = statistics.recovered_fraction(base, unlearned, cleared)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    for level, fraction in ((0.5, 0.0), (1.0, 1.0), (1.25, 1.5), (0.25, -0.5)):
        found = statistics.recovered_fraction(base, unlearned, np.full((2, 30), level))
        assert found.value == pytest.approx(fraction) and found.note == ""


def test_the_recovered_fraction_is_that_of_the_means_not_the_mean_of_fractions():
    base, unlearned, cleared = (np.array([row]) for row in ([1.0] * 20, [0.0, 0.9] * 10, [0.5, 0.9] * 10))
    found = statistics.recovered_fraction(base, unlearned, cleared)
    assert found.value == pytest.approx((0.7 - 0.45) / (1 - 0.45)) and found.low < found.value < found.high


def test_a_value_is_the_samples_own_and_lies_within_its_interval():
    base, unlearned, cleared = correlated(0)
    for values in (base, unlearned, cleared):
        found = statistics.mean(values)
        assert found.value == pytest.approx(values.mean()) and found.low < found.value < found.high
    found = statistics.recovered_fraction(base, unlearned, cleared)
    expected = (cleared.mean() - unlearned.mean()) / (base.mean() - unlearned.mean())
    assert found.value == pytest.approx(expected) and found.low < found.value < found.high


def test_without_a_gap_the_recovered_fraction_is_undefined():
    rng = np.random.default_rng(0)
    base, noise, cleared = (rng.normal(0.5, 0.2, (3, 100)) for _ in range(3))
    for unlearned in (base, noise):
        found = statistics.recovered_fraction(base, unlearned, cleared)
        assert np.isnan([found.value, found.low, found.high]).all() and "gap" in found.note
    assert statistics.recovered_fraction(base, noise - 0.3, cleared).note == "", "a clear gap is not defined either"


def loose(seed: int, gap: float, units: int = 100, back: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base, unlearned and cleared [1, units] whose gap has a standard error of 0.1 and is `gap` in truth."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=units)
    unlearned = rng.normal(0, 0.2, units)[None]
    cleared = unlearned + gap * back + rng.normal(0, 0.3, units)
    return unlearned + gap + (noise - noise.mean()) / noise.std(ddof=1), unlearned, cleared


def test_just_past_undefined_the_interval_is_fiellers_and_a_wide_one_is_undefined():
    back, gap = (
        statistics.means(part) for part in (np.array([[1.0, 3.0] * 50]), np.array([[9.0, 11.0, 11.0, 9.0] * 25]))
    )
    low, high = statistics.fieller(back, gap)
    for end in (low, high):  # by its definition
        assert abs(back[0] - end * gap[0]) == pytest.approx(1.96 * (back[1:] - end * gap[1:]).std(ddof=1), rel=1e-6)
    assert low < 0.2 < high
    found = [statistics.recovered_fraction(*loose(0, gap)) for gap in (0.15, 0.24, 0.35, 2)]
    assert found[0].note == statistics.UNDEFINED and found[1].note == statistics.WIDE and np.isnan(found[1].high)
    assert found[2].note == found[3].note == "" and width(found[2]) <= statistics.WIDEST


def test_fiellers_interval_covers_the_truth_where_a_gap_is_loose():
    def draw(rng):
        base, unlearned, cleared = loose(int(rng.integers(1 << 30)), 0.3)
        above, below = (statistics.means(part - unlearned) for part in (cleared, base))
        return statistics.Estimate(0, *statistics.fieller(above, below)), 0.5

    assert 0.9 <= coverage(150, draw) <= 1


def test_an_interval_has_no_width_where_cleared_equals_base_row_by_row():
    base, unlearned, _ = correlated(1)
    found = statistics.recovered_fraction(base, unlearned, base)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1), abs=1e-12)
    turned = statistics.recovered_fraction(base, unlearned, base[:, ::-1])
    assert turned.value == pytest.approx(1) and width(turned) > 0.01, "the same values in another order"
    assert statistics.recovered_fraction(base, unlearned, unlearned).value == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_paired_interval_is_narrower_than_an_unpaired_one_on_correlated_data(seed):
    base, unlearned, cleared = correlated(seed)
    order = np.random.default_rng(seed + 10).permutation(base.shape[1])
    paired = statistics.recovered_fraction(base, unlearned, cleared)
    unpaired = statistics.recovered_fraction(base, unlearned, cleared[:, order])
    assert paired.value == pytest.approx(unpaired.value)
    assert width(paired) < width(unpaired) / 2


def test_ratios_are_of_sums():
    nats, tokens = np.array([[10.0, 2.0, 6.0]]), np.array([[5.0, 4.0, 3.0]])
    found = statistics.ratio(nats, tokens, np.exp)
    assert found.value == pytest.approx(np.exp(18 / 12))
    assert found.low >= np.exp(0.5) - 1e-9 and found.high <= np.exp(2) + 1e-9
    assert width(statistics.ratio(3 * tokens, tokens, np.exp)) == pytest.approx(0, abs=1e-9)


def test_the_same_data_gives_the_same_interval():
    base, unlearned, cleared = correlated(2)
    again = statistics.recovered_fraction(base.copy(), unlearned.copy(), cleared.copy())
    assert statistics.recovered_fraction(base, unlearned, cleared) == again


def test_the_bootstrap_resamples_both_seeds_and_units():
    rng = np.random.default_rng(0)
    by_unit = np.repeat(rng.normal(size=(1, 40)), 5, 0)
    by_seed = np.repeat(rng.normal(size=(5, 1)), 40, 1)
    assert width(statistics.mean(by_unit)) > 0.3 and width(statistics.mean(by_seed)) > 0.3
    assert width(statistics.mean(np.ones((5, 40)))) == pytest.approx(0, abs=1e-12)


def test_weights_are_those_of_samples_with_replacement():
    seeds, units = statistics._weights(3, 50)
    assert seeds.shape == (1 + statistics.REPEATS, 3) and units.shape == (1 + statistics.REPEATS, 50)
    for weights, count in ((seeds, 3), (units, 50)):
        assert np.allclose(weights.sum(1), 1) and np.allclose(weights[0], 1 / count)
        assert np.allclose(weights * count, np.round(weights * count)) and weights[1:].std() > 0


def coverage(samples: int, draw) -> float:
    """Share of simulated samples whose 95 % interval holds the truth; `draw(rng)` is (estimate, truth)."""
    rng = np.random.default_rng(0)
    found = [draw(rng) for _ in range(samples)]
    return sum(e.low <= truth <= e.high for e, truth in found) / samples


def test_intervals_of_a_mean_cover_the_truth_at_their_rate():
    assert 0.90 <= coverage(200, lambda rng: (statistics.mean(rng.normal(0.3, 1, (1, 60))), 0.3)) <= 0.99
    assert coverage(200, lambda rng: (statistics.mean(rng.normal(0.3, 1, (1, 60))), 0.8)) < 0.1, "any truth is covered"


def test_intervals_of_accuracies_cover_the_truth_at_their_rate():
    def draw(rng):
        return statistics.mean((rng.random((1, 96)) < 0.7).astype(float)), 0.7

    assert 0.90 <= coverage(200, draw) <= 0.99


def test_intervals_of_recovered_fractions_cover_the_truth_at_their_rate():
    def draw(rng):
        skill = rng.normal(0, 0.3, 96)
        base, unlearned, cleared = (level + skill + rng.normal(0, 0.2, (1, 96)) for level in (1.0, 0.4, 0.7))
        return statistics.recovered_fraction(base, unlearned, cleared), 0.5

    assert 0.90 <= coverage(200, draw) <= 0.99


# --- levels of the bootstrap


def crossed(rng: np.random.Generator, seeds: int = 8, units: int = 40) -> np.ndarray:
    """Values that vary by unit, alike for all seeds, by seed, and by neither."""
    return rng.normal(0, 1, units) + rng.normal(0, 0.3, (seeds, 1)) + rng.normal(0, 0.5, (seeds, units))


def test_intervals_over_crossed_seeds_and_units_cover_the_truth_and_nested_ones_do_not():
    def nested(values):
        rng = np.random.default_rng(1)
        rows = rng.integers(0, len(values), (400, len(values)))
        columns = rng.integers(0, values.shape[1], (400, len(values), values.shape[1]))
        return statistics.estimate(np.append(values.mean(), values[rows[..., None], columns].mean((1, 2))))

    assert 0.90 <= coverage(200, lambda rng: (statistics.mean(crossed(rng)), 0)) <= 0.99
    assert coverage(200, lambda rng: (nested(crossed(rng)), 0)) < 0.85


def test_fits_widen_an_interval_by_their_own_scatter_only():
    base, unlearned, cleared = correlated(3)
    alike = np.repeat(cleared[:, None], 6, 1)
    plain, same = (statistics.recovered_fraction(base, unlearned, values) for values in (cleared, alike))
    assert same.value == pytest.approx(plain.value) and width(same) == pytest.approx(width(plain), rel=1e-6)
    scattered = alike + np.random.default_rng(0).normal(0, 0.1, (1, 6, 1))
    found = statistics.recovered_fraction(base, unlearned, scattered)
    assert found.value == pytest.approx((scattered.mean() - unlearned.mean()) / (base.mean() - unlearned.mean()))
    assert width(found) > 3 * width(plain)


def test_the_spread_of_fits_is_that_of_their_fractions_and_vanishes_where_they_agree():
    base, unlearned, cleared = (np.full((2, 30), level) for level in (1.0, 0.5, 0.75))
    fits = np.stack([cleared - 0.05, cleared, cleared + 0.05], 1)
    found = statistics.spread_of_fits(base, unlearned, fits)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    none = statistics.spread_of_fits(base, unlearned, np.repeat(cleared[:, None], 3, 1))
    assert none.value == pytest.approx(0, abs=1e-12)
    assert "undefined" in statistics.spread_of_fits(base, base, fits).note


def test_every_seed_that_is_drawn_draws_one_of_its_fits():
    weights = statistics._fit_weights(3, 4, 50).reshape(-1, 3, 4)
    assert np.allclose(weights.sum((1, 2)), 1) and np.allclose(weights[0], 1 / 12)
    assert np.allclose(weights.sum(2), statistics._weights(3, 50)[0])
    assert weights[1:].mean(0).std() < 0.01 < weights[1:].std()


# --- exact tests


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1), (5, 5, 1), (6, 0, 2 / 64), (0, 6, 2 / 64), (8, 2, 112 / 1024), (1, 0, 1)]
)
def test_mcnemar_is_the_test_of_a_fair_coin(gained, lost, p):
    assert statistics.mcnemar(gained, lost) == pytest.approx(p)


def test_mcnemar_rejects_nothing_at_its_rate_and_a_real_gain_nearly_always():
    rng = np.random.default_rng(0)
    counts = rng.binomial(40, 0.5, 500), rng.binomial(40, 0.8, 500)
    false, true = (np.mean([statistics.mcnemar(k, 40 - k) <= 0.05 for k in found.tolist()]) for found in counts)
    assert 0.005 < false <= 0.06 and true > 0.9


def test_a_unit_counts_once_however_many_questions_and_seeds_it_has():
    before = np.array([[0.0, 0.5, 1.0, 1.0, 0.0], [0.0, 0.5, 0.5, 1.0, 1.0]])
    after = np.array([[1.0, 0.5, 0.5, 1.0, 1.0], [1.0, 1.0, 0.5, 1.0, 0.0]])
    assert statistics.discordant(before, after) == (2, 1), "the last one gained by one seed what it lost by the other"
    assert statistics.discordant(before[:1], after[:1]) == (2, 1) and statistics.discordant(before, before) == (0, 0)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    found = statistics.holm(np.array([0.04, 0.01, 0.03, 0.5]))
    assert found == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert statistics.holm(np.array([0.02])) == pytest.approx([0.02])
    assert statistics.holm(np.array([0.6, 0.9])) == pytest.approx([1, 1])
    assert statistics.holm(np.array([])).size == 0


def test_holm_keeps_the_rate_of_a_family_that_single_tests_exceed():
    rng = np.random.default_rng(0)
    values = rng.random((2000, 6))
    single, corrected = (np.mean([f(row).min() <= 0.05 for row in values]) for f in (np.asarray, statistics.holm))
    assert corrected == pytest.approx(0.05, abs=0.015) and single > 0.2


# --- draws of a null


def test_a_value_among_draws_has_its_z_and_its_rank():
    draws = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert statistics.against_draws(2.0, draws) == pytest.approx((0, 4 / 6))
    z, p = statistics.against_draws(9.0, draws)
    assert z == pytest.approx(7 / draws.std(ddof=1)) and p == pytest.approx(1 / 6)
    assert statistics.against_draws(-1.0, draws)[1] == 1


def test_draws_that_do_not_differ_give_no_z_and_draws_of_the_null_itself_a_uniform_p():
    assert np.isnan(statistics.against_draws(1.0, np.zeros(5))[0]) and np.isnan(
        statistics.against_draws(1.0, np.zeros(1))[0]
    )
    rng = np.random.default_rng(0)
    ps = [statistics.against_draws(row[0], row[1:])[1] for row in rng.normal(size=(2000, 21))]
    assert np.mean(np.array(ps) <= 0.0477) == pytest.approx(1 / 21, abs=0.015) and np.mean(ps) == pytest.approx(
        0.52, abs=0.03
    )


# --- base models


def test_partial_rank_correlations_know_what_a_third_explains():
    rng = np.random.default_rng(4)
    third = rng.normal(size=40)
    one, other = third + 0.3 * rng.normal(size=40), third + 0.3 * rng.normal(size=40)
    rho, p = statistics.partial_rank_correlation(one, other, third)
    assert abs(rho) < 0.35 and p > 0.02 and np.corrcoef(one, other)[0, 1] > 0.8
    rho, p = statistics.partial_rank_correlation(one, -one + 0.1 * rng.normal(size=40), third)
    assert rho < -0.7 and p < 0.001


def test_what_is_unrelated_has_a_uniform_p():
    rng = np.random.default_rng(1)
    ps = [statistics.partial_rank_correlation(*rng.normal(size=(3, 12)))[1] for _ in range(60)]
    assert np.mean(np.array(ps) <= 0.1) == pytest.approx(0.1, abs=0.08) and np.mean(ps) == pytest.approx(0.5, abs=0.1)


def test_the_interval_over_base_models_covers_their_mean_as_often_as_it_says():
    """Base models with a mean of their own, answered by few: base models and units both move it."""
    rng, covered = np.random.default_rng(2), []
    for _ in range(150):
        true = rng.normal(0.5, 0.2, 8)
        samples = true[:, None] + rng.normal(0, 0.05, (8, 1)) + rng.normal(0, 0.05, (8, 201))
        samples[:, 0] = samples[:, 1:].mean(1)
        told, spread = statistics.over_models(samples)
        covered.append(told.low <= 0.5 <= told.high)
        assert spread == pytest.approx(samples[:, 0].std(ddof=1))
    assert 0.9 <= np.mean(covered) <= 1
    assert np.isnan(statistics.over_models(samples[:1])[0].value) and np.isnan(statistics.over_models(samples[:1])[1])


def test_the_t_interval_of_values_is_that_of_a_t_test():
    values = np.array([0.1, 0.4, 0.35])
    told = statistics.over_values(values)
    ends = ttest_1samp(values, 0).confidence_interval()
    assert (told.value, told.low, told.high) == pytest.approx((values.mean(), *ends))
