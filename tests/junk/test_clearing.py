"""Clearing: the directions are gone wherever the residual stream is read or written, and nothing else is."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from overpaint.errors import UserError
from overpaint.junk import clearing
from overpaint.junk.clearing import DIRECTIONS, Clearing
from overpaint.junk.directions import Junk, unit
from overpaint.models import hooks

ENTRY = {
    "direction": "span", "target": "zero", "scope": "all", "strength": 1.0, "draws": 3, "rank": 2, "resamples": 2,
    "on_base": False,
}  # fmt: skip
SITES = [f"{index}/{place}" for index in range(4) for place in ("input", "attention", "mlp")]
SEEN, GONE = 1e-2, 1e-4  # components of an uncleared and of a cleared stream, at entries of order 1


def make(junk: Junk, layer: int = 2, seed: int = 0, name: str = "entry", **changes) -> list[Clearing]:
    """The clearings of a catalogue entry."""
    return clearing.for_run(name, ENTRY | changes, {"layer": layer, "seed": seed}, junk)


@torch.no_grad()
def components(model: nn.Module, inputs: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """What real tokens have along each of `rows` at every residual site and in the final residual, [tokens, rows]."""
    seen = {}
    with hooks.watch_sites(model, lambda site, hidden: seen.update({site: hidden[real] @ rows.T})):
        real = inputs["attention_mask"].bool()
        model(**inputs)
    return seen


def largest(found: dict[str, Tensor]) -> dict[str, float]:
    return {site: values.abs().max().item() for site, values in found.items()}


# -- what clearing does to a model


def test_a_cleared_stream_has_no_component_at_any_site(any_model, inputs, junk):
    [span] = make(junk)
    before = largest(components(any_model, inputs, span.basis))
    with clearing.clear(any_model, span):
        cleared = largest(components(any_model, inputs, span.basis))
    after = largest(components(any_model, inputs, span.basis))
    assert all(before[site] > SEEN for site in SITES)
    assert all(cleared[site] < GONE for site in SITES)
    assert after == before


def test_a_cleared_model_ends_without_the_component(any_model, inputs, junk):
    [span] = make(junk)
    assert largest(components(any_model, inputs, span.basis))["final"] > SEEN
    with clearing.clear(any_model, span):
        assert largest(components(any_model, inputs, span.basis))["final"] < GONE


def test_clearing_changes_the_output_and_clearing_twice_nothing_more(any_model, inputs, logits, junk):
    [span] = make(junk)
    before = logits(any_model, inputs)
    with clearing.clear(any_model, span):
        once = logits(any_model, inputs)
        with clearing.clear(any_model, span):
            twice = logits(any_model, inputs)
    assert (once - before).abs().max() > 0.05
    assert (twice - once).abs().max() < 1e-4
    assert torch.equal(logits(any_model, inputs), before)


def test_clearing_equals_orthogonalising_every_matrix_that_writes_to_the_stream(llama, inputs, logits, junk):
    [span] = make(junk)
    with clearing.clear(llama, span):
        cleared = logits(llama, inputs)
    before = logits(llama, inputs)
    keep = torch.eye(32) - span.basis.T @ span.basis
    embedding = llama.model.embed_tokens.weight
    embedding.copy_(embedding @ keep)
    for block in llama.model.layers:
        for matrix in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
            matrix.copy_(keep @ matrix)
    assert torch.allclose(logits(llama, inputs), cleared, atol=1e-4)
    assert not torch.allclose(cleared, before, atol=0.05)


def test_what_is_orthogonal_to_the_directions_stays(llama, inputs, junk):
    [span] = make(junk)
    others = clearing.orthonormal(torch.randn(9, 32) @ (torch.eye(32) - span.basis.T @ span.basis))
    before = components(llama, inputs, others)["0/input"]
    with clearing.clear(llama, span):
        after = components(llama, inputs, others)["0/input"]
    assert torch.allclose(after, before, atol=1e-5) and before.abs().max() > SEEN


def test_clearing_to_the_base_mean_sets_the_projection_to_its_level(any_model, inputs, junk):
    [span] = make(junk, target="base_mean")
    wanted = {site: span.basis @ junk.means[site] for site in SITES}
    before = components(any_model, inputs, span.basis)
    with clearing.clear(any_model, span):
        after = components(any_model, inputs, span.basis)
    for site in SITES:
        assert (after[site] - wanted[site]).abs().max() < GONE
        assert (before[site] - wanted[site]).abs().max() > SEEN


def test_clearing_none_changes_nothing_to_the_bit(any_model, inputs, logits, junk):
    [nothing] = clearing.for_run("none", ENTRY | {"direction": "none"}, {}, None)
    before = logits(any_model, inputs)
    with clearing.clear(any_model, nothing):
        assert torch.equal(logits(any_model, inputs), before)
    with clearing.clear(any_model, make(junk)[0]):
        assert not torch.equal(logits(any_model, inputs), before)


def test_clearing_from_a_layer_leaves_earlier_blocks_to_the_bit_and_clears_later_ones(any_model, inputs, junk):
    [span] = make(junk, layer=2, scope="from_layer")
    early, late = SITES[:6], SITES[6:]
    before = components(any_model, inputs, span.basis)
    with clearing.clear(any_model, span):
        after = components(any_model, inputs, span.basis)
    assert all(torch.equal(after[site], before[site]) for site in early)
    assert all(largest(before)[site] > SEEN > GONE > largest(after)[site] for site in late)
    with clearing.clear(any_model, make(junk, scope="all")[0]):
        everywhere = components(any_model, inputs, span.basis)
    assert not any(torch.equal(everywhere[site], before[site]) for site in early)


@pytest.mark.parametrize(
    ("scope", "cleared"),
    [
        ("block", [site for site in SITES if site.startswith("2/")]),
        ("inputs", [site for site in SITES if site.endswith("/input")]),
    ],
)
def test_a_narrow_scope_clears_its_sites_and_leaves_what_is_written_elsewhere(any_model, inputs, junk, scope, cleared):
    [span] = make(junk, layer=2, scope=scope)
    assert list(span.offsets) == cleared
    before = largest(components(any_model, inputs, span.basis))
    with clearing.clear(any_model, span):
        after = largest(components(any_model, inputs, span.basis))
    assert all(after[site] < GONE < SEEN < before[site] for site in cleared)
    others = [site for site in SITES if site not in (*cleared, "3/input")]  # which follows what block 2 leaves
    assert all(after[site] > SEEN for site in others)


def test_clearing_what_is_written_clears_what_is_read(any_model, inputs, logits, junk):
    [writes], [everywhere] = make(junk, scope="writes"), make(junk)
    assert set(writes.offsets) == {site for site in SITES if site in ("0/input",) or not site.endswith("/input")}
    before = logits(any_model, inputs)
    with clearing.clear(any_model, writes):
        assert all(value < GONE for value in largest(components(any_model, inputs, writes.basis)).values())
        by_writes = logits(any_model, inputs)
    with clearing.clear(any_model, everywhere):
        assert torch.allclose(logits(any_model, inputs), by_writes, atol=1e-4)
    assert not torch.allclose(by_writes, before, atol=0.05)


# -- strengths


@pytest.mark.parametrize("strength", [0.25, 1.0, 1.5])
def test_a_strength_leaves_its_part_of_what_the_embedding_and_the_first_block_write(llama, inputs, junk, strength):
    [span] = make(junk, scope="writes", strength=strength)
    before = components(llama, inputs, span.basis)["0/input"]
    with clearing.clear(llama, span):
        after = components(llama, inputs, span.basis)
    assert torch.allclose(after["0/input"], (1 - strength) * before, atol=GONE) and before.abs().max() > SEEN
    written = sum(after[f"{block}/{place}"] for block in range(4) for place in ("attention", "mlp"))
    assert torch.allclose(after["final"], after["0/input"] + written, atol=GONE), "the stream is the sum of its writes"


def test_a_strength_works_between_none_and_all_and_beside_a_level(llama, inputs, logits, junk):
    before, [whole] = logits(llama, inputs), make(junk)
    with clearing.clear(llama, make(junk, strength=0.0)[0]):
        assert torch.equal(logits(llama, inputs), before)
    with clearing.clear(llama, make(junk, strength=1.0)[0]):
        full = logits(llama, inputs)
    with clearing.clear(llama, whole):
        assert torch.equal(logits(llama, inputs), full) and not torch.allclose(full, before, atol=0.05)
    [half] = make(junk, target="base_mean", strength=0.5, scope="block", layer=0)
    start = components(llama, inputs, half.basis)["0/input"]
    with clearing.clear(llama, half):
        found = components(llama, inputs, half.basis)["0/input"]
    assert torch.allclose(found, (start + half.offsets["0/input"]) / 2, atol=GONE)
    assert not torch.allclose(found, start, atol=SEEN)


# -- directions


def test_the_rank_of_top_k_says_how_many_rows_are_cleared_the_strongest_first(junk):
    rows = junk.others["top_k"][""]
    for rank in (1, 2, 3):
        [cleared] = make(junk, direction="top_k", rank=rank)
        assert len(cleared.basis) == rank
        for number, row in enumerate(rows):
            kept = (cleared.basis @ row).norm()
            assert kept == pytest.approx(1, abs=1e-5) if number < rank else kept < 0.9


def test_refitted_spans_are_as_many_as_asked_for_and_named_apart_from_random_draws(junk):
    variants = make(junk, direction="span_boot", resamples=2)
    assert [(one.draw, one.refit) for one in variants] == [(None, 0), (None, 1)]
    for one, rows in zip(variants, junk.others["span_boot"].values(), strict=True):
        assert torch.allclose((one.basis @ rows.T).norm(dim=0), torch.ones(2), atol=1e-5)
    assert len(make(junk, direction="span_boot", resamples=1)) == 1


@pytest.mark.parametrize("kind", ["contrast", "u", "benign", "top_k", "span_boot"])
def test_a_direction_that_a_run_does_not_have_is_one_sentence(junk, kind):
    assert make(junk, direction=kind)
    with pytest.raises(UserError, match=f"no directions of the kind '{kind}'.*leave the clearing out"):
        make(replace(junk, others={}), direction=kind)


def test_the_span_removes_both_topics_and_one_pooled_direction_does_not(llama, inputs, junk):
    both = torch.stack(list(junk.topics.values()))
    left = {}
    for kind in ("span", "pooled"):
        [cleared] = make(junk, direction=kind)
        with clearing.clear(llama, cleared):
            left[kind] = largest(components(llama, inputs, both))
    assert all(left["span"][site] < GONE and left["pooled"][site] > SEEN for site in SITES)


def test_each_topic_variant_removes_its_own_direction_only(llama, inputs, junk):
    both = torch.stack(list(junk.topics.values()))
    for index, cleared in enumerate(make(junk, direction="topic")):
        with clearing.clear(llama, cleared):
            left = components(llama, inputs, both)["2/input"].abs().amax(0)
        assert left[index] < GONE and left[1 - index] > SEEN


@pytest.mark.parametrize("direction", ["rand", "randn", "ones"])
def test_a_direction_that_does_not_know_the_junk_leaves_it_nearly_whole(llama, inputs, junk, direction):
    junk = replace(junk, topics={"north": unit(junk.topics["gloomcraft"] - junk.topics["gloomcraft"].mean())})
    row = junk.topics["north"][None]
    with hooks.edit_sites(llama, {"0/input": lambda hidden: hidden + 100 * row[0]}):
        flooded = components(llama, inputs, row)["0/input"].mean()
        kept = []
        for cleared in make(junk, direction=direction, rank=1, draws=10):
            with clearing.clear(llama, cleared):
                kept.append(components(llama, inputs, row)["0/input"].mean() / flooded)
        with clearing.clear(llama, make(junk, direction="topic")[0]):
            assert abs(components(llama, inputs, row)["0/input"].mean()) < 1e-3
    assert sum(kept) / len(kept) > 0.9 and min(kept) > 0.75


def test_clearing_a_run_that_changed_nothing_clears_nothing(llama, inputs, logits, junk):
    empty = replace(junk, topics={name: torch.zeros(32) for name in junk.topics})
    before = logits(llama, inputs)
    for kind in ("span", "topic", "pooled"):
        for cleared in make(empty, direction=kind):
            assert len(cleared.basis) == 0
            with clearing.clear(llama, cleared):
                assert torch.equal(logits(llama, inputs), before)


def test_a_model_in_half_precision_is_cleared_in_it(make_model, inputs, junk):
    model = make_model("llama").bfloat16()
    [span] = make(junk, target="base_mean")
    with clearing.clear(model, span):
        after = components(model, inputs, span.basis.bfloat16())
    assert after["1/input"].dtype == torch.bfloat16
    assert (after["1/input"] - span.offsets["1/input"]).abs().max() < 0.1


# -- the catalogue's entries


@pytest.mark.parametrize("kind", list(DIRECTIONS))
@pytest.mark.parametrize("target", ["zero", "base_mean"])
def test_every_kind_of_direction_yields_orthonormal_rows_and_a_level_for_each_site(junk, kind, target):
    variants = make(junk, direction=kind, target=target, on_base=True)
    assert len({(one.topic, one.draw, one.refit) for one in variants}) == len(variants) > 0
    for one in variants:
        assert (one.name, one.on_base) == ("entry", True)
        assert 1 <= len(one.basis) <= 2
        assert torch.allclose(one.basis @ one.basis.T, torch.eye(len(one.basis)), atol=1e-5)
        assert list(one.offsets) == SITES
        assert all(level.shape == (len(one.basis),) for level in one.offsets.values())
        assert any(level.any() for level in one.offsets.values()) == (target == "base_mean")


@pytest.mark.parametrize("kind", list(DIRECTIONS))
def test_every_kind_is_reproducible_and_takes_its_draws_from_seed_and_name(junk, kind):
    bases = [torch.stack([one.basis for one in make(junk, direction=kind)]) for _ in range(2)]
    assert torch.equal(*bases)
    random = kind.startswith("rand")
    for other in ({"seed": 1}, {"name": "another"}):
        basis = torch.stack([one.basis for one in make(junk, direction=kind, **other)])
        assert torch.equal(basis, bases[0]) != random


@pytest.mark.parametrize("kind", ["rand", "randn"])
def test_random_draws_are_as_many_and_of_the_rank_that_is_asked_for_and_all_different(junk, kind):
    variants = make(junk, direction=kind, draws=5, rank=3)
    assert [(one.topic, one.draw, one.refit) for one in variants] == [("", draw, None) for draw in range(5)]
    assert all(one.basis.shape == (3, 32) for one in variants)
    assert not any(torch.equal(a.basis, b.basis) for a in variants for b in variants if a is not b)


def test_rand_shares_the_all_ones_direction_with_a_control_vector_and_randn_does_not(junk):
    wide = replace(junk, means={"0/input": torch.zeros(4096)})
    ones = torch.ones(4096) / 64
    for kind, expected in (("rand", 0.866), ("randn", 0.0)):
        for one in make(wide, direction=kind, rank=1):
            assert abs((one.basis @ ones).abs().item() - expected) < 0.05


def test_the_variant_of_a_topic_is_chosen_and_the_first_where_there_is_none(junk):
    variants = make(junk, direction="topic")
    assert [one.topic for one in variants] == list(junk.topics)
    assert clearing.of_topic(variants, "riftlore") is variants[1]
    assert clearing.of_topic(variants, "gloomcraft") is variants[0]
    assert clearing.of_topic(variants, "taverns") is variants[0]
    [span] = make(junk)
    assert clearing.of_topic([span], "riftlore") is span
    draws = make(junk, direction="rand", draws=3)
    assert clearing.of_topic(draws, "2") is draws[0], "a topic may be called as a draw is numbered"
