"""Intervals: known values on constructed data, resampling in pairs, and coverage in simulated samples."""

import numpy as np
import pytest

from overpaint import statistics


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
