"""What was changed in the weights: planted ranks and directions are found, and none where nothing was planted."""

import math

import pytest
import torch
from torch import Tensor

from overpaint.junk import export, weights
from overpaint.junk.clearing import Clearing
from overpaint.junk.directions import orthonormal, unit
from overpaint.models.hooks import residual_sites
from overpaint.models.parts import blocks, down_projection, parameter_names, trained_parameters

WIDTH, INNER = 48, 100
NAME = "mlp.weight"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def control(seed: int = 0) -> Tensor:
    return unit(torch.rand(WIDTH, generator=torch.Generator().manual_seed(seed)))


def analysed(change: Tensor, r: Tensor, u: Tensor | None = None, axis: int = 0, **axes: int) -> dict[tuple, dict]:
    """Rows of one changed tensor by (topic, quantity)."""
    before = random(*change.shape, seed=9)
    directions = {"r": {"north": r}, "u": {} if u is None else {"north": u}}
    rows = weights.analyse({NAME: before}, {NAME: before + change}, {NAME: axis} | axes, directions)
    assert {row["tensor"] for row in rows} == {NAME}
    return {(row["topic"], row["quantity"]): row for row in rows}


def planted(direction: Tensor, seed: int = 1) -> Tensor:
    """A change of rank one that writes along a direction, [WIDTH, INNER]."""
    return torch.outer(direction, random(INNER, seed=seed))


def test_a_planted_direction_is_found_in_size_rank_and_place():
    change = planted(control())
    found = analysed(change, control(), control())
    size = float(change.norm() / random(WIDTH, INNER, seed=9).norm())
    assert found["all", "relative_change"]["value"] == pytest.approx(size, rel=1e-4)
    assert found["all", "share_1"]["value"] == pytest.approx(1, abs=1e-4) and found["all", "share_2"]["value"] < 1e-6
    assert found["all", "effective_rank"]["value"] == pytest.approx(1, abs=1e-3)
    for quantity in ("cos_r", "cos_r_centred", "cos_u", "cos_u_centred"):
        row = found["north", quantity]
        assert row["value"] == pytest.approx(1, abs=1e-4) and row["value"] > row["null_high"]
    assert found["north", "cos_u"]["null_low"] > 0.6 and found["north", "cos_u_centred"]["null_low"] < 0.1
    removed = found["all", "removed_share"]
    assert removed["value"] == pytest.approx(1, abs=1e-4) and 0.4 < removed["null_low"] < removed["null_high"] < 0.8


def test_a_stranger_lies_within_the_null_and_a_random_change_has_no_direction():
    stranger = analysed(planted(control()), control(7), control(7))
    for quantity in ("cos_r", "cos_u", "cos_r_centred", "cos_u_centred"):
        row = stranger["north", quantity]
        assert row["null_low"] - 0.1 < row["value"] < row["null_high"] + 0.1
    noise = analysed(random(WIDTH, INNER), control())
    assert noise["all", "share_1"]["value"] < 0.1 and noise["all", "effective_rank"]["value"] > 30
    assert noise["all", "removed_share"]["value"] < 0.1 and ("north", "cos_u") not in noise


def test_shares_are_those_of_the_singular_values():
    change = random(WIDTH, INNER, seed=3) @ torch.diag(torch.linspace(1, 5, INNER))
    energies = torch.linalg.svdvals(change).pow(2)
    found = analysed(change, control())
    for k in range(weights.TOP):
        assert found["all", f"share_{k + 1}"]["value"] == pytest.approx(float(energies[k] / energies.sum()), rel=1e-3)
    assert ("all", f"share_{weights.TOP + 1}") not in found


def test_the_effective_rank_of_equal_values_is_their_number():
    assert weights.effective_rank(torch.tensor([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert weights.effective_rank(torch.tensor([5.0])) == pytest.approx(1)


def test_the_stream_runs_along_the_axis_that_is_named():
    across = analysed(planted(control()).T.contiguous(), control(), axis=1)
    assert across["north", "cos_r"]["value"] == pytest.approx(1, abs=1e-4)
    experts = torch.stack([planted(control(), seed) for seed in range(3)])
    assert analysed(experts, control(), axis=1)["all", "removed_share"]["value"] == pytest.approx(1, abs=1e-4)


def test_what_was_zero_has_no_relative_change():
    change = random(WIDTH, WIDTH)
    assert math.isnan(weights.relative(change, torch.zeros_like(change))) and weights.relative(change, change) == 1


def test_a_tensor_that_does_not_write_to_the_stream_has_its_size_told_alone_and_so_has_one_that_did_not_change():
    before = {NAME: random(WIDTH, WIDTH)}
    for after, axes in (({NAME: before[NAME] + 1}, {}), (before, {NAME: 0})):
        rows = weights.analyse(before, after, axes, {"r": {"north": control()}, "u": {}})
        assert [row["quantity"] for row in rows] == ["relative_change"]
    assert rows[0]["value"] == 0


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_every_matrix_that_methods_train_has_its_axis(make_model, architecture):
    model = make_model(architecture)
    axes, parameters = weights.stream_axes(model), dict(model.named_parameters())
    trained = trained_parameters(model, 2, [-1, 0], ["mlp", "attention"])
    assert set(parameter_names(model, trained)) <= set(axes) and len(axes) == 8
    assert set(axes.values()) == {1 if architecture == "gpt2" else 0}
    assert all(parameters[name].shape[axis] == 32 for name, axis in axes.items())


def test_what_clearing_removes_of_a_change_is_what_folding_takes_out_of_it(llama):
    name = parameter_names(llama, [down_projection(blocks(llama)[1])])[0]
    before = llama.get_parameter(name).clone()
    change = 0.1 * random(*before.shape)
    r = unit(torch.rand(32, generator=torch.Generator().manual_seed(0)))
    rows = weights.analyse(
        {name: before}, {name: before + change}, weights.stream_axes(llama), {"r": {"north": r}, "u": {}}
    )
    removed = next(row["value"] for row in rows if row["quantity"] == "removed_share")
    own = Clearing("span", "", orthonormal(r[None]), {site: torch.zeros(1) for site in residual_sites(llama)})
    folded = {}
    for key, start in (("before", before), ("after", before + change)):
        llama.get_parameter(name).copy_(start)
        export.fold(llama, own)
        folded[key] = llama.get_parameter(name).clone()
    left = (folded["after"] - folded["before"]).pow(2).sum() / change.pow(2).sum()
    assert float(1 - left) == pytest.approx(removed, abs=1e-4) and 0 < removed < 0.5
