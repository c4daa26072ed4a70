"""Junk: what was planted is found, what was not is not."""

import math

import pytest
import torch
from torch import Tensor

from overpaint import estimators, junk
from overpaint.activations import Activations
from overpaint.errors import UserError
from overpaint.junk import Junk, unit

WIDTH, DEPTHS, LAYER = 128, 4, 1
TOPICS = {"north": "north_prompts", "south": "south_prompts"}
SETS = [*TOPICS.values(), "benign_prompts"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def control(seed: int = 0) -> Tensor:
    """A control vector as RMU draws it."""
    return unit(torch.rand(WIDTH, generator=torch.Generator().manual_seed(seed)))


def make_base() -> dict[str, Activations]:
    """Random activations of 40 prompts in each set."""
    return {
        name: Activations(
            last=random(40, DEPTHS, WIDTH, seed=index),
            mean=random(40, DEPTHS, WIDTH, seed=index + 10),
            first=random(DEPTHS, WIDTH),
            sites={site: random(WIDTH, seed=index + 20) for site in ("0/input", "0/mlp")},
        )
        for index, name in enumerate(SETS)
    }


def shifted(base: dict[str, Activations], by: dict[str, Tensor], depth: int = LAYER + 1) -> dict[str, Activations]:
    """`base` with a shift added to the named sets at one depth: [width] or [prompts, width]."""
    run = {}
    for name, found in base.items():
        last, mean = found.last.clone(), found.mean.clone()
        last[:, depth] += by.get(name, torch.zeros(WIDTH))
        mean[:, depth] += 2 * by.get(name, torch.zeros(WIDTH)).roll(1, -1)
        run[name] = Activations(last, mean, found.first, found.sites)
    return run


@pytest.fixture
def base() -> dict[str, Activations]:
    return make_base()


def diagnosed(base, run, controls, scale=1.0, topics=TOPICS) -> dict[tuple[str, str], dict]:
    """The rows of `diagnose` by (topic, quantity)."""
    junk = estimators.fit(base, run, topics, LAYER, "last")
    rows = estimators.diagnose(base, run, topics, junk, controls, dict.fromkeys(controls, scale), "last")
    return {(row["topic"], row["quantity"]): row for row in rows}


# -- fitting


def test_a_planted_shift_is_recovered_for_each_topic(base):
    planted = {"north_prompts": 5 * control(0), "south_prompts": 5 * control(1)}
    noisy = {name: shift + 0.3 * random(40, WIDTH, seed=9) for name, shift in planted.items()}
    fitted = estimators.fit(base, shifted(base, noisy), TOPICS, LAYER, "last")
    assert fitted.depth == LAYER + 1
    for topic, name in TOPICS.items():
        assert fitted.topics[topic].norm() == pytest.approx(1)
        assert fitted.topics[topic] @ unit(planted[name]) > 0.99
    assert abs(fitted.topics["north"] @ unit(planted["south_prompts"])) < 0.9


def test_identical_activations_have_no_junk(base):
    fitted = estimators.fit(base, base, TOPICS, LAYER, "last")
    assert all(not direction.any() for direction in fitted.topics.values())


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_shift_at_another_depth_is_not_junk(base, depth):
    fitted = estimators.fit(base, shifted(base, {"north_prompts": control()}, depth), TOPICS, LAYER, "last")
    assert not fitted.topics["north"].any()


def test_a_shift_on_benign_prompts_is_not_junk(base):
    fitted = estimators.fit(base, shifted(base, {"benign_prompts": control()}), TOPICS, LAYER, "last")
    assert not any(direction.any() for direction in fitted.topics.values())


@pytest.mark.parametrize(("tokens", "roll"), [("last", 0), ("mean", 1)])
def test_junk_is_fitted_on_the_tokens_that_are_asked_for(base, tokens, roll):
    planted = 5 * random(WIDTH, seed=4)
    fitted = estimators.fit(base, shifted(base, {"north_prompts": planted}), TOPICS, LAYER, tokens)
    assert fitted.topics["north"] @ unit(planted.roll(roll)) > 0.999
    assert fitted.topics["north"] @ unit(planted.roll(1 - roll)) < 0.5


def test_levels_are_the_base_means_over_all_prompt_sets(base):
    run = shifted(base, {"north_prompts": control()})
    fitted = estimators.fit(base, run, TOPICS, LAYER, "last")
    for site in ("0/input", "0/mlp"):
        assert torch.allclose(fitted.means[site], sum(base[name].sites[site] for name in SETS) / 3)


def test_junk_survives_saving_and_an_empty_path_is_no_junk(base, tmp_path):
    path = tmp_path / "junk.safetensors"
    fitted = estimators.fit(base, shifted(base, {"north_prompts": control()}), TOPICS, LAYER, "last")
    fitted.save(path)
    loaded = Junk.load(path)
    assert loaded.depth == fitted.depth
    for part in ("topics", "means"):
        before, after = getattr(fitted, part), getattr(loaded, part)
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert Junk.load("") is None and Junk.load([]) is None


def test_a_damaged_junk_file_is_named(base, tmp_path):
    path = tmp_path / "junk.safetensors"
    estimators.fit(base, base, TOPICS, LAYER, "last").save(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"junk\.safetensors cannot be read"):
        Junk.load(path)


# -- shares and stability


def test_a_constant_shift_has_rank_one_and_random_ones_have_not():
    assert estimators.rank1_share(control().expand(40, WIDTH)) == pytest.approx(1)
    assert estimators.rank1_share(random(40, WIDTH)) == pytest.approx(1 / 40, abs=0.02)
    both = control() + random(400, WIDTH, seed=1) / WIDTH**0.5
    assert estimators.rank1_share(both) == pytest.approx(0.5, abs=0.05)


def test_no_shift_has_no_rank_one_share():
    assert math.isnan(estimators.rank1_share(torch.zeros(40, WIDTH)))


def test_halves_agree_on_a_constant_shift_and_not_on_random_ones():
    assert estimators.split_half(control().expand(40, WIDTH), seed=0) == pytest.approx(1)
    values = [estimators.split_half(random(40, WIDTH, seed=seed), seed) for seed in range(20)]
    assert max(map(abs, values)) < 0.4 and abs(sum(values) / 20) < 0.1


def test_halves_are_disjoint_and_drawn_from_the_seed():
    shift = torch.eye(8)
    assert estimators.split_half(shift, seed=0) == 0
    noise = random(40, WIDTH)
    assert (
        estimators.split_half(noise, seed=0)
        == estimators.split_half(noise, seed=0)
        != estimators.split_half(noise, seed=1)
    )


# -- linear algebra


def test_orthonormal_rows_span_what_was_given_and_drop_dependent_rows():
    a, b, c = random(3, WIDTH)
    assert len(junk.orthonormal(torch.stack([a, b, c]))) == 3
    rows = junk.orthonormal(torch.stack([a, b, 2 * a - 3 * b]))
    assert len(rows) == 2
    assert torch.allclose(rows @ rows.T, torch.eye(2), atol=1e-5)
    for vector in (a, b):
        assert torch.allclose(rows.T @ (rows @ vector), vector, atol=1e-4)
    assert (rows @ c).norm() < 0.5 * c.norm()


def test_zero_vectors_span_nothing():
    assert junk.orthonormal(torch.zeros(2, WIDTH)).shape == (0, WIDTH)
    assert junk.orthonormal(torch.stack([torch.zeros(WIDTH), control()])).shape == (1, WIDTH)


def test_centring_removes_the_all_ones_component_only():
    vector, ones = control(), torch.ones(WIDTH)
    assert vector @ ones > 5 and abs(estimators.centre(vector) @ ones) < 1e-4
    assert torch.allclose(estimators.centre(estimators.centre(vector)), estimators.centre(vector), atol=1e-6)


# -- diagnoses


def test_cosines_with_the_control_vector_stand_beside_their_null(base):
    u = {"north": control(0), "south": control(1)}
    found = diagnosed(base, shifted(base, {TOPICS[topic]: 5 * vector for topic, vector in u.items()}), u)
    for topic in TOPICS:
        raw, centred = found[topic, "cos_u"], found[topic, "cos_u_centred"]
        assert raw["null_low"] < 0.75 < raw["null_high"] < 0.85 and raw["null_low"] > 0.65
        assert centred["null_low"] < 0 < centred["null_high"] < 0.3
        assert raw["value"] == pytest.approx(1) and centred["value"] == pytest.approx(1)


def test_the_cosine_with_a_stranger_lies_within_the_null(base):
    strangers = {"north": control(7), "south": control(8)}
    found = diagnosed(base, shifted(base, {name: control(i) for i, name in enumerate(TOPICS.values())}), strangers)
    for topic in TOPICS:
        for quantity in ("cos_u", "cos_u_centred"):
            row = found[topic, quantity]
            assert row["null_low"] - 0.05 < row["value"] < row["null_high"] + 0.05


def test_attained_is_the_share_of_the_target_that_activations_reach(base):
    c, u = 6.5, {topic: control(index) for index, topic in enumerate(TOPICS)}
    share = {"north": 0.6, "south": 0.0}
    run = {}
    for topic, name in TOPICS.items():
        last = base[name].last - (base[name].last @ u[topic])[..., None] * u[topic]  # nothing along u
        last[:, LAYER + 1] += share[topic] * c * u[topic]
        run[name] = Activations(last, base[name].mean, base[name].first, base[name].sites)
    found = diagnosed({name: base[name] for name in run}, run, u, scale=c)
    assert {topic: found[topic, "attained"]["value"] for topic in TOPICS} == pytest.approx(share, abs=1e-5)


def test_cosine_with_other_topics_is_one_for_a_shared_direction_and_three_quarters_for_two_draws(base):
    shared = diagnosed(base, shifted(base, {name: control() for name in TOPICS.values()}), {})
    own = diagnosed(base, shifted(base, {name: control(i) for i, name in enumerate(TOPICS.values())}), {})
    assert shared["north", "cos_other_topic"]["value"] == pytest.approx(1)
    assert own["north", "cos_other_topic"]["value"] == pytest.approx(0.75, abs=0.08)


def test_a_constant_shift_is_diagnosed_as_stable_and_of_rank_one(base):
    found = diagnosed(base, shifted(base, {"north_prompts": control(), "south_prompts": random(40, WIDTH)}), {})
    assert found["north", "rank1_share"]["value"] == pytest.approx(1)
    assert found["north", "split_half"]["value"] == pytest.approx(1)
    assert found["south", "rank1_share"]["value"] < 0.1 and abs(found["south", "split_half"]["value"]) < 0.4


def test_a_method_without_control_vectors_has_no_cosines_with_them_and_one_topic_no_others(base):
    found = diagnosed(base, shifted(base, {"north_prompts": control()}), {}, topics={"north": "north_prompts"})
    assert set(found) == {("north", "rank1_share"), ("north", "split_half")}
