"""The description of junk: known values on constructed shifts, and nothing where nothing is."""

import math

import pytest
import torch
from helpers.models.junk import LAYER, TOPICS, WIDTH, control, make_base, random, sampled, shifted

from overpaint.junk import diagnosis
from overpaint.junk.activations import Activations
from overpaint.junk.directions import unit
from overpaint.unlearning.methods.rmu import draw_controls


@pytest.fixture
def base() -> dict[str, Activations]:
    return make_base()


def diagnosed(base, run, controls, scale=1.0, topics=TOPICS, held=None) -> dict[tuple[str, ...], dict]:
    """The rows of `diagnose` by (topic, quantity), those of other directions than the topic's by (.., direction)."""
    found = {tokens: sampled(base, run, tokens, topics, controls) for tokens in ("last", "mean")}
    held = found["last"] if held is None else sampled(*held, topics=topics, controls=controls)
    rows = diagnosis.diagnose(found["last"], held, found["mean"], dict.fromkeys(controls, scale))
    keys = [(r["topic"], r["quantity"]) + ((r["direction"],) if r["direction"] != "topic" else ()) for r in rows]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, rows, strict=True))


# -- shares and stability


def test_a_constant_shift_has_rank_one_and_random_ones_have_not():
    assert diagnosis.rank1_share(control().expand(40, WIDTH)) == pytest.approx(1)
    assert diagnosis.rank1_share(random(40, WIDTH)) == pytest.approx(1 / 40, abs=0.02)
    both = control() + random(400, WIDTH, seed=1) / WIDTH**0.5
    assert diagnosis.rank1_share(both) == pytest.approx(0.5, abs=0.05)


def test_no_shift_has_no_rank_one_share():
    assert math.isnan(diagnosis.rank1_share(torch.zeros(40, WIDTH)))


def test_the_energy_of_the_first_k_is_that_of_the_planted_rank():
    signs = (random(400, 4, seed=1) > 0) * 2.0 - 1
    planted = signs @ torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0])) @ torch.eye(WIDTH)[:4]
    for k, share in ((1, 0.4), (2, 0.8), (4, 1.0), (8, 1.0)):
        assert diagnosis.explained(planted, k) == pytest.approx(share, abs=0.04)
    assert diagnosis.explained(control().expand(40, WIDTH), 1) == pytest.approx(1)
    assert diagnosis.explained(random(400, WIDTH), 8) < 0.2
    assert math.isnan(diagnosis.explained(torch.zeros(4, WIDTH), 1))


def test_halves_agree_on_a_constant_shift_and_not_on_random_ones(base):
    noise = {name: 5 * random(40, WIDTH, seed=index + 5) for index, name in enumerate(TOPICS.values())}
    for planted, expected in (({TOPICS["north"]: control()}, 1.0), (noise, 0.0)):
        row = diagnosed(base, shifted(base, planted), {})["north", "split_half"]
        assert row["value"] == pytest.approx(expected, abs=1e-4 if expected else 0.4)


def test_halves_are_disjoint_whole_and_drawn_from_the_seed(base):
    sample = sampled(base, base)
    halves = diagnosis._halves(sample, 0)
    for topic, rows in sample.run.items():
        parts = [{tuple(row.tolist()) for row in half.run[topic]} for half in halves]
        assert not parts[0] & parts[1] and parts[0] | parts[1] == {tuple(row.tolist()) for row in rows}
        assert torch.equal(halves[0].run[topic], diagnosis._halves(sample, 0)[0].run[topic])
        assert not torch.equal(halves[0].run[topic], diagnosis._halves(sample, 1)[0].run[topic])


# -- telling hazardous from benign


def test_the_auc_counts_pairs():
    high, low = torch.tensor([[3.0], [1.0]]), torch.tensor([[2.0], [1.0], [0.0]])
    assert diagnosis.auc(high, low).item() == pytest.approx((3 + 1.5) / 6)
    assert diagnosis.auc(high + 9, low).item() == 1 and diagnosis.auc(high - 9, low).item() == 0
    assert diagnosis.auc(low, low).item() == pytest.approx(0.5)
    values = random(300, 2, seed=2)
    assert diagnosis.auc(values[:150], values[150:]) == pytest.approx([0.5, 0.5], abs=0.1)


def test_junk_tells_hazardous_prompts_from_benign_ones_in_the_run_and_not_in_the_base(base):
    run = shifted(base, {name: 8 * control(index) for index, name in enumerate(TOPICS.values())})
    held = make_base(100)
    moved = shifted(held, {name: 8 * control(index) for index, name in enumerate(TOPICS.values())})
    found = diagnosed(base, run, {}, held=(held, moved))
    for topic in TOPICS:
        assert found[topic, "auc"]["value"] > 0.99 and abs(found[topic, "auc_base"]["value"] - 0.5) < 0.2
        assert found[topic, "auc"]["null_low"] > found[topic, "auc_base"]["null_high"], "rand shares the all-ones part"
        centred = found[topic, "auc_centred"]
        assert centred["value"] > 0.95 > centred["null_high"] and centred["null_low"] < 0.5, "which centring takes away"
        null = found[topic, "auc_base"]
        assert null["null_low"] < 0.5 < null["null_high"]


def test_the_auc_is_that_of_held_prompts(base):
    run = shifted(base, dict.fromkeys(TOPICS.values(), 20 * control()))
    held = make_base(100)
    assert diagnosed(base, run, {}, held=(held, held))["north", "auc"]["value"] < 0.7
    assert diagnosed(base, run, {})["north", "auc"]["value"] > 0.99


# -- cosines


def test_centring_removes_the_all_ones_component_only():
    vector, ones = control(), torch.ones(WIDTH)
    assert vector @ ones > 5 and abs(diagnosis.centre(vector) @ ones) < 1e-4
    assert torch.allclose(diagnosis.centre(diagnosis.centre(vector)), diagnosis.centre(vector), atol=1e-6)


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
    assert not {("north", q) for q in ("cos_u", "cos_u_centred", "attained", "cos_other_topic")} & set(found)
    both = diagnosed(base, shifted(base, {"north_prompts": control()}), {"north": control()})
    assert {("north", q) for q in ("cos_u", "cos_u_centred", "attained", "cos_other_topic")} <= set(both)


def test_every_direction_is_described_and_what_they_share_stands_between_them(base):
    u = {topic: control(index) for index, topic in enumerate(TOPICS)}
    moved = {TOPICS[topic]: 20 * vector for topic, vector in u.items()}
    run = shifted(base, moved | {"benign_prompts": random(WIDTH, seed=50) / 4})
    found = diagnosed(base, run, u)
    assert found["north", "cos_u"]["value"] == pytest.approx(1, abs=1e-5)
    assert found["north", "cos_contrast"]["value"] > 0.95 and abs(found["north", "cos_benign"]["value"]) < 0.5
    mean = unit(control(0) + control(1))
    assert found["north", "cos_pooled"]["value"] == pytest.approx(float(mean @ control(0)), abs=1e-4)
    assert found["north", "cos_u", "contrast"]["value"] > 0.95
    assert ("north", "cos_topic", "contrast") not in found and ("north", "split_half", "u") not in found
    assert found["north", "cos_other_topic", "u"]["value"] == pytest.approx(float(control(0) @ control(1)), abs=1e-5)
    assert found["north", "cos_u", "pooled"]["value"] == pytest.approx(float(mean @ control(0)), abs=1e-4)
    assert ("north", "cos_u", "u") not in found, "u with itself"
    assert abs(found["north", "cos_u_centred", "benign"]["value"]) < 0.3


def test_the_cosine_with_all_ones_is_that_of_rand_for_u_and_nothing_for_a_centred_shift(base):
    for planted, expected in ((control(), 0.866), (diagnosis.centre(control()), 0.0)):
        row = diagnosed(base, shifted(base, {TOPICS["north"]: planted}), {})["north", "cos_ones"]
        assert (
            row["value"] == pytest.approx(expected, abs=0.03) and 0.8 < row["null_low"] < 0.866 < row["null_high"] < 0.9
        )


def test_positions_are_compared(base):
    vector = random(WIDTH, seed=4)  # at the other position it stands turned by one place
    row = diagnosed(base, shifted(base, {TOPICS["north"]: vector}), {})["north", "cos_tokens"]
    assert row["value"] == pytest.approx(float(unit(vector) @ unit(vector.roll(1))), abs=1e-4)
    flat = diagnosed(base, shifted(base, {TOPICS["north"]: torch.ones(WIDTH)}), {})["north", "cos_tokens"]
    assert flat["value"] == pytest.approx(1, abs=1e-5)


def test_the_base_attains_nothing_of_what_the_run_does(base):
    u = {topic: control(index) for index, topic in enumerate(TOPICS)}
    found = diagnosed(base, shifted(base, {TOPICS[topic]: 6 * vector for topic, vector in u.items()}), u, scale=10)
    for topic in TOPICS:
        difference = found[topic, "attained"]["value"] - found[topic, "attained_base"]["value"]
        assert difference == pytest.approx(0.6, abs=1e-5) and abs(found[topic, "attained_base"]["value"]) < 0.1


def test_what_was_not_fitted_on_has_its_own_share_and_size(base):
    u, held = {topic: control(index) for index, topic in enumerate(TOPICS)}, make_base(100)
    run = shifted(base, {TOPICS[topic]: 6 * vector for topic, vector in u.items()})
    names = list(TOPICS.values())
    half = {name: 3 * control(i) + 3 * random(len(held[name].last), WIDTH) for i, name in enumerate(names)}
    found = diagnosed(base, run, u, scale=10, held=(held, shifted(held, half)))
    for topic in TOPICS:
        assert found[topic, "rank1_share"]["value"] == pytest.approx(1)
        assert found[topic, "rank1_share_held"]["value"] < 0.1
        reached = {end: found[topic, f"attained{end}"]["value"] for end in ("", "_held")}
        gone = {end: value - found[topic, f"attained_base{end}"]["value"] for end, value in reached.items()}
        assert gone == pytest.approx({"": 0.6, "_held": 0.3}, abs=0.15)
        assert gone[""] == pytest.approx(0.6, abs=1e-5)
    same = diagnosed(base, run, u, scale=10)
    assert same["north", "attained"] | {"quantity": "attained_held"} == same["north", "attained_held"]


def test_null_vectors_are_the_u_of_no_run():
    drawn = {name: torch.rand(2, WIDTH, generator=diagnosis.fresh(name)) for name in ("junk", "weights")}
    assert not torch.equal(*drawn.values())
    for seed in range(1000):
        us = draw_controls(["a", "b"], WIDTH, "uniform", seed)
        assert not any(torch.allclose(unit(row), us[topic]) for rows in drawn.values() for row in rows for topic in us)
    [one] = draw_controls(["a"], WIDTH, "uniform", 1).values()
    assert torch.allclose(control(1), one), "and by a small number they would be"


# -- over depth


def sites(*shifts: torch.Tensor) -> dict[str, torch.Tensor]:
    found = {f"{depth}/input": shift for depth, shift in enumerate(shifts)}
    return found | {"0/mlp": torch.full((WIDTH,), 99.0)}


def over_depth(*shifts: torch.Tensor) -> dict[tuple, float]:
    base, run = (
        {"north_prompts": Activations(torch.zeros(1), torch.zeros(1), torch.zeros(1), sites(*own))}
        for own in ([torch.ones(WIDTH)] * len(shifts), [1 + shift for shift in shifts])
    )
    rows = diagnosis.depths(base, run, {"north": "north_prompts"}, {"north": control(0)})
    assert {row["topic"] for row in rows} == {"north"}
    return {(row["quantity"], row["depth"], row["other_depth"]): row["value"] for row in rows}


def test_the_mean_shifts_at_all_depths_are_compared_with_each_other_and_with_u():
    zero, first, other = torch.zeros(WIDTH), 2 * control(0), 3 * torch.eye(WIDTH)[0]
    found = over_depth(zero, first, 2 * first, other)
    assert [found["norm", depth, None] for depth in range(4)] == pytest.approx([0, 2, 4, 3], abs=1e-5)
    assert found["cosine", 1, 2] == pytest.approx(1, abs=1e-5) and found["cosine", 3, 3] == pytest.approx(1, abs=1e-5)
    assert found["cosine", 1, 3] == pytest.approx(float(control(0)[0]), abs=1e-4)
    assert found["cos_u", 1, None] == pytest.approx(1, abs=1e-5)
    assert not [key for key in found if key[1] == 0 and key[0] != "norm"], "a depth that did not move has no direction"
    assert set(found) == {("norm", d, None) for d in range(4)} | {("cos_u", d, None) for d in (1, 2, 3)} | {
        ("cosine", d, e) for d in (1, 2, 3) for e in (1, 2, 3) if d <= e
    }  # fmt: skip


def test_a_run_that_changed_nothing_has_norms_of_nothing_alone():
    found = over_depth(torch.zeros(WIDTH), torch.zeros(WIDTH))
    assert found == {("norm", 0, None): 0, ("norm", 1, None): 0}
