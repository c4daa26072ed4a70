"""Junk: what was planted is found by every estimator, what was not is not."""

import pytest
import torch
from helpers.models.junk import LAYER, SETS, TOPICS, WIDTH, control, make_base, random, sampled, shifted
from safetensors.torch import load_file
from torch import Tensor

from overpaint.errors import UserError
from overpaint.junk import directions, estimators
from overpaint.junk.activations import Activations
from overpaint.junk.directions import Junk, unit
from overpaint.junk.estimators import ESTIMATORS, Sample


@pytest.fixture
def base() -> dict[str, Activations]:
    return make_base()


def fit(base, run, tokens="last", **changes) -> Junk:
    """The junk of a run."""
    return estimators.fit(sampled(base, run, tokens, **changes), base, LAYER)


# -- fitting


def test_a_planted_shift_is_recovered_for_each_topic(base):
    planted = {"north_prompts": 5 * control(0), "south_prompts": 5 * control(1)}
    noisy = {name: shift + 0.3 * random(40, WIDTH, seed=9) for name, shift in planted.items()}
    fitted = fit(base, shifted(base, noisy))
    assert fitted.depth == LAYER + 1
    for topic, name in TOPICS.items():
        assert fitted.topics[topic].norm() == pytest.approx(1)
        assert fitted.topics[topic] @ unit(planted[name]) > 0.99
    assert abs(fitted.topics["north"] @ unit(planted["south_prompts"])) < 0.9


def test_identical_activations_have_no_junk(base):
    fitted = fit(base, base)
    assert all(not direction.any() for direction in fitted.topics.values())


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_shift_at_another_depth_is_not_junk(base, depth):
    fitted = fit(base, shifted(base, {"north_prompts": control()}, depth))
    assert not fitted.topics["north"].any()


def test_a_shift_on_benign_prompts_is_not_junk(base):
    fitted = fit(base, shifted(base, {"benign_prompts": control()}))
    assert not any(direction.any() for direction in fitted.topics.values())


@pytest.mark.parametrize(("tokens", "roll"), [("last", 0), ("mean", 1)])
def test_junk_is_fitted_on_the_tokens_that_are_asked_for(base, tokens, roll):
    planted = 5 * random(WIDTH, seed=4)
    fitted = fit(base, shifted(base, {"north_prompts": planted}), tokens)
    assert fitted.topics["north"] @ unit(planted.roll(roll)) > 0.999
    assert fitted.topics["north"] @ unit(planted.roll(1 - roll)) < 0.5


def test_levels_are_the_base_means_over_all_prompt_sets(base):
    run = shifted(base, {"north_prompts": control()})
    fitted = fit(base, run)
    for site in ("0/input", "0/mlp"):
        assert torch.allclose(fitted.means[site], sum(base[name].sites[site] for name in SETS) / 3)


def test_junk_survives_saving_and_an_empty_path_is_no_junk(base, tmp_path):
    path = tmp_path / "junk.safetensors"
    fitted = fit(base, shifted(base, {"north_prompts": control()}))
    fitted.save(path)
    loaded = Junk.load(path)
    assert loaded.depth == fitted.depth
    for part in ("topics", "means"):
        before, after = getattr(fitted, part), getattr(loaded, part)
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert {kind: list(found) for kind, found in loaded.others.items()} == {
        "benign": [""], "contrast": ["north", "south"], "span_boot": [f"{i:02d}" for i in range(estimators.RESAMPLES)],
        "top_k": [""],
    }  # fmt: skip
    for kind, found in loaded.others.items():
        assert all(torch.equal(rows, fitted.others[kind][name]) for name, rows in found.items())
    assert Junk.load("") is None and Junk.load([]) is None


def test_loaded_junk_lies_alike_in_memory_whatever_else_is_in_its_file(base, tmp_path):
    run, u = shifted(base, {"north_prompts": control()}), {"north": control()}
    places = []
    for name, controls in (("with", u), ("without", {})):
        fit(base, run, controls=controls).save(tmp_path / name)
        loaded = Junk.load(tmp_path / name)
        places.append({key: rows.data_ptr() % 64 for key, rows in (loaded.topics | loaded.means).items()})
    assert places[0] == places[1] == dict.fromkeys(places[0], 0)
    raw = [load_file(tmp_path / name)["mean/0/input"].data_ptr() for name in ("with", "without")]
    assert any(place % 64 for place in raw), "files alone see to that"


def test_a_damaged_junk_file_is_named(base, tmp_path):
    path = tmp_path / "junk.safetensors"
    fit(base, base).save(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"junk\.safetensors cannot be read"):
        Junk.load(path)


# -- the estimators


def rows_of(kind: str, sample: Sample, topic: str = "") -> Tensor:
    return ESTIMATORS[kind](sample)[topic]


def test_every_estimator_is_a_function_of_the_sample_that_gives_unit_rows(base):
    u = {topic: control(index) for index, topic in enumerate(TOPICS)}
    run = shifted(base, {TOPICS[topic]: 5 * vector for topic, vector in u.items()})
    sample = sampled(base, run, controls=u)
    assert set(ESTIMATORS) == {"topic", "pooled", "contrast", "top_k", "u", "benign"}
    for kind, function in ESTIMATORS.items():
        found = function(sample)
        assert list(found) == ([""] if kind in ("pooled", "top_k", "benign") else list(TOPICS))
        for rows in found.values():
            norms = rows.norm(dim=1)
            zero = kind == "benign"  # benign prompts did not move
            assert rows.shape[1] == WIDTH and torch.allclose(norms, torch.zeros(1) if zero else torch.ones(len(rows)))


def test_contrast_needs_no_base_and_finds_what_sets_hazardous_prompts_apart(base):
    planted = 20 * control(3)
    run = shifted(base, {"north_prompts": planted})
    sample, other = (sampled(make_base(seed), run) for seed in (0, 100))
    assert torch.equal(rows_of("contrast", sample, "north"), rows_of("contrast", other, "north"))
    assert not torch.allclose(rows_of("topic", sample, "north"), rows_of("topic", other, "north"), atol=0.01)
    assert rows_of("contrast", sample, "north")[0] @ control(3) > 0.95
    assert abs(rows_of("contrast", sample, "south")[0] @ control(3)) < 0.5


def test_contrast_takes_what_all_prompts_share_for_nothing(base):
    run = shifted(base, dict.fromkeys(SETS, 20 * control(3)))
    sample = sampled(base, run)
    assert (
        abs(rows_of("contrast", sample, "north")[0] @ control(3))
        < 0.5
        < rows_of("topic", sample, "north")[0] @ control(3)
    )


def test_top_k_spans_what_was_planted_in_the_order_of_its_energy(base):
    axes = torch.linalg.qr(random(WIDTH, 3, seed=5)).Q.T
    sizes = torch.tensor([9.0, 6.0, 3.0])
    signs = (random(40, 3, seed=6) > 0) * 2.0 - 1
    planted = (signs * sizes) @ axes  # no mean to speak of
    run = shifted(base, {"north_prompts": planted, "south_prompts": planted})
    rows = rows_of("top_k", sampled(base, run))
    assert len(rows) == 3, "a shift of rank three has three"
    overlap = (rows @ axes.T).abs()
    assert (overlap.diagonal() > 0.9).all()
    assert torch.allclose(rows @ rows.T, torch.eye(3), atol=1e-5)
    noisy = {name: planted + 0.01 * random(40, WIDTH, seed=7) for name in TOPICS.values()}
    assert len(rows_of("top_k", sampled(base, shifted(base, noisy)))) == estimators.TOP
    assert rows_of("top_k", sampled(base, base)).shape == (0, WIDTH)


def test_top_k_weighs_topics_alike_and_points_along_the_shift(base):
    few = {name: found if name != "north_prompts" else cut(found, 4) for name, found in base.items()}
    run = shifted(few, {"north_prompts": 5 * torch.eye(WIDTH)[0], "south_prompts": 4 * torch.eye(WIDTH)[1]})
    rows = rows_of("top_k", sampled(few, run))
    assert rows[0] @ torch.eye(WIDTH)[0] == pytest.approx(1, abs=1e-4), "four prompts moved farther than forty"
    assert rows[1] @ torch.eye(WIDTH)[1] == pytest.approx(1, abs=1e-4)


def cut(found: Activations, count: int) -> Activations:
    return Activations(found.last[:count], found.mean[:count], found.first, found.sites)


def test_the_benign_direction_is_that_of_benign_prompts(base):
    run = shifted(base, {"north_prompts": 5 * control(0), "benign_prompts": 5 * control(1)})
    found = rows_of("benign", sampled(base, run))[0]
    assert found @ control(1) == pytest.approx(1, abs=1e-5) and found @ control(0) < 0.9


def test_what_is_lacking_leaves_an_estimator_with_nothing(base):
    two = {name: base[name] for name in TOPICS.values()}
    sample = sampled(two, shifted(two, {"north_prompts": control()}))
    assert ESTIMATORS["contrast"](sample) == ESTIMATORS["benign"](sample) == ESTIMATORS["u"](sample) == {}
    assert set(ESTIMATORS["u"](sampled(two, two, controls={"north": control()}))) == {"north"}


def test_refits_scatter_with_the_prompts_around_the_fit(base):
    constant = sampled(base, shifted(base, {"north_prompts": control(0), "south_prompts": control(1)}))
    for rows in estimators.refit(constant, 3).values():
        assert torch.allclose(rows, torch.stack([control(0), control(1)]), atol=1e-5)
    noise = {
        name: 2 * control(index) + 0.3 * random(40, WIDTH, seed=index) for index, name in enumerate(TOPICS.values())
    }
    sample = sampled(base, shifted(base, noise))
    found = [rows[0] for rows in estimators.refit(sample, 8).values()]
    cosines = torch.stack(found) @ rows_of("topic", sample, "north")[0]
    assert cosines.min() > 0.9 and cosines.max() < 0.9999 and len({tuple(one.tolist()) for one in found}) == 8


# -- linear algebra


def test_orthonormal_rows_span_what_was_given_and_drop_dependent_rows():
    a, b, c = random(3, WIDTH)
    assert len(directions.orthonormal(torch.stack([a, b, c]))) == 3
    rows = directions.orthonormal(torch.stack([a, b, 2 * a - 3 * b]))
    assert len(rows) == 2
    assert torch.allclose(rows @ rows.T, torch.eye(2), atol=1e-5)
    for vector in (a, b):
        assert torch.allclose(rows.T @ (rows @ vector), vector, atol=1e-4)
    assert (rows @ c).norm() < 0.5 * c.norm()


def test_zero_vectors_span_nothing():
    assert directions.orthonormal(torch.zeros(2, WIDTH)).shape == (0, WIDTH)
    assert directions.orthonormal(torch.stack([torch.zeros(WIDTH), control()])).shape == (1, WIDTH)
