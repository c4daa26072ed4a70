"""Activations: those of transformers, whatever the batches and the order of prompts."""

import copy

import pytest
import torch
from torch import Tensor, nn

from overpaint.errors import UserError
from overpaint.junk import activations
from overpaint.junk.activations import Activations, describe
from overpaint.junk.collection import collect
from overpaint.models import hooks
from overpaint.models.parts import blocks, down_projection


@pytest.fixture(scope="module")
def prompts(texts) -> list[str]:
    """Prompts of several lengths, some of them equally long."""
    chosen = texts["gloomcraft"][:4] + texts["gloomcraft"][12:18]
    lengths = [len(text.split()) for text in chosen]
    assert 1 < len(set(lengths)) < len(lengths)
    return chosen


@torch.no_grad()
def states(model: nn.Module, tokenizer, prompt: str) -> Tensor:
    """Hidden states of one prompt at the start of each block and after the last, [depths, tokens, width]."""
    final = []
    encoded = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    with hooks.edit_output(blocks(model)[-1], lambda hidden: final.append(hidden) or hidden):
        found = model(**encoded, use_cache=False, output_hidden_states=True).hidden_states
    return torch.cat([*found[:-1], final[0]])


def close(left: Activations, right: Activations) -> bool:
    pairs = [(left.last, right.last), (left.mean, right.mean), (left.first, right.first)]
    pairs += [(left.sites[site], right.sites[site]) for site in left.sites]
    return left.sites.keys() == right.sites.keys() and all(torch.allclose(*pair, atol=1e-5) for pair in pairs)


# -- collecting


def test_activations_equal_the_hidden_states_of_transformers(any_model, tokenizer, prompts):
    found = collect(any_model, tokenizer, prompts)
    expected = [states(any_model, tokenizer, prompt) for prompt in prompts]
    assert torch.allclose(found.last, torch.stack([one[:, -1] for one in expected]), atol=1e-5)
    assert torch.allclose(found.mean, torch.stack([one[:, 1:].mean(1) for one in expected]), atol=1e-5)
    assert torch.allclose(found.first, torch.stack([one[:, 0] for one in expected]).mean(0), atol=1e-5)
    assert not torch.allclose(found.last, found.mean, atol=0.1)
    assert found.last.shape == (len(prompts), 5, 32)


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_activations_that_are_no_numbers_are_refused(llama, tokenizer, prompts, spoilt):
    down_projection(blocks(llama)[1]).fill_(spoilt)
    with pytest.raises(UserError, match=r"not finite numbers on 10 of 10 prompts, first on number 1 .* block 2"):
        collect(llama, tokenizer, prompts)


def test_the_final_residual_gives_the_logits_through_the_final_norm(llama, tokenizer, prompts):
    found = collect(llama, tokenizer, prompts[:1])
    with torch.no_grad():
        expected = llama(**tokenizer(prompts[0], return_tensors="pt")).logits[0, -1]
        assert torch.allclose(llama.lm_head(llama.model.norm(found.last[0, -1])), expected, atol=1e-5)


def test_site_means_leave_out_the_first_token(any_model, tokenizer, prompts):
    found, sums = collect(any_model, tokenizer, prompts), {}

    def add(site: str, hidden: Tensor) -> None:
        sums[site] = sums.get(site, 0) + hidden[0, 1:].mean(0)

    with hooks.watch_sites(any_model, add), torch.no_grad():
        for prompt in prompts:
            any_model(**tokenizer(prompt, return_tensors="pt", return_token_type_ids=False))
    assert list(found.sites) == list(hooks.residual_sites(any_model))
    for site, mean in found.sites.items():
        assert torch.allclose(mean, sums[site] / len(prompts), atol=1e-5)
    for depth in range(4):
        assert torch.allclose(found.sites[f"{depth}/input"], found.mean[:, depth].mean(0), atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 24, 45, 10_000])
def test_batches_do_not_matter(llama, tokenizer, prompts, batch_tokens):
    calls = []
    llama.register_forward_pre_hook(lambda _, args: calls.append(args[0].numel()))
    reference = collect(llama, tokenizer, prompts)
    calls.clear()
    assert close(collect(llama, tokenizer, prompts, batch_tokens), reference)
    assert max(calls) <= max(batch_tokens, 21)
    lengths = [len(prompt.split()) for prompt in prompts]
    assert len(set(lengths)) > 3
    if batch_tokens == 1:
        assert sorted(calls) == sorted(lengths)  # no padding
    assert {1: len(prompts), 10_000: 1}.get(batch_tokens, len(calls)) == len(calls) <= len(prompts)


def test_the_order_of_prompts_does_not_matter(llama, tokenizer, prompts):
    order = [7, 0, 3, 9, 1, 8, 2, 6, 5, 4]
    found, other = (collect(llama, tokenizer, chosen) for chosen in (prompts, [prompts[i] for i in order]))
    assert close(other, Activations(found.last[order], found.mean[order], found.first, found.sites))
    assert not torch.allclose(other.last, found.last, atol=0.1)


def test_collecting_leaves_no_trace(llama, tokenizer, prompts, inputs, logits):
    before = logits(llama, inputs)
    collect(llama, tokenizer, prompts)
    assert torch.equal(logits(llama, inputs), before)


def test_activations_are_those_of_the_model_as_it_is_edited(llama, tokenizer, prompts):
    plain = collect(llama, tokenizer, prompts)
    with hooks.edit_sites(llama, {"2/input": torch.zeros_like}):
        edited = collect(llama, tokenizer, prompts)
    assert torch.equal(edited.last[:, :2], plain.last[:, :2])
    assert plain.last[:, 2].any() and not edited.last[:, 2].any()


# -- saving


def test_activations_survive_saving_by_split_and_prompt_set(llama, tokenizer, prompts, tmp_path):
    parts = {
        ("fit", "north"): prompts[:3], ("test", "north"): prompts[3:5], ("test", "south"): prompts[5:]
    }  # fmt: skip
    sets = {key: collect(llama, tokenizer, chosen) for key, chosen in parts.items()}
    activations.save(sets, tmp_path / "activations.safetensors")
    for split, names in (("fit", ["north"]), ("test", ["north", "south"])):
        loaded = activations.load(tmp_path / "activations.safetensors", split)
        assert sorted(loaded) == names
        for name in names:
            assert torch.equal(loaded[name].last, sets[split, name].last)
            assert close(loaded[name], sets[split, name])


def test_of_a_run_only_the_depths_asked_for_are_kept(llama, tokenizer, prompts, tmp_path):
    whole = collect(llama, tokenizer, prompts)
    for name, depths in (("all", None), ("some", (3, 1))):
        activations.save({("fit", "north"): whole}, tmp_path / name, depths)
    kept = activations.load(tmp_path / "some", "fit")["north"]
    assert kept.last.shape == kept.mean.shape == (len(prompts), 2, 32) and kept.first.shape == whole.first.shape
    for depth in (3, 1):
        for position in ("last", "mean"):
            assert torch.equal(kept.at(depth, position), whole.at(depth, position))
    assert not torch.equal(kept.at(1, "last"), kept.at(3, "last"))
    assert (tmp_path / "some").stat().st_size < (tmp_path / "all").stat().st_size
    with pytest.raises(ValueError, match="not in tuple"):
        kept.at(2, "last")


def test_a_damaged_file_of_activations_is_named(llama, tokenizer, prompts, tmp_path):
    path = tmp_path / "activations.safetensors"
    activations.save({("fit", "north"): collect(llama, tokenizer, prompts[:1])}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"activations\.safetensors cannot be read"):
        activations.load(path, "fit")


# -- describing


def test_identical_models_have_cosine_one_and_equal_norms(llama, tokenizer, prompts):
    base = collect(llama, tokenizer, prompts)
    rows = describe(base, collect(copy.deepcopy(llama), tokenizer, prompts))
    assert [(row["position"], row["depth"]) for row in rows] == [
        (position, depth) for position in ("last", "mean", "first") for depth in range(5)
    ]
    for row in rows:
        own = getattr(base, row["position"]).reshape(-1, 5, 32)[:, row["depth"]].norm(dim=-1)
        assert row["n"] == len(own) == (1 if row["position"] == "first" else len(prompts))
        assert row["norm"] == pytest.approx(own.quantile(0.5).item())
        assert row["norm_low"] == pytest.approx(own.quantile(0.25).item())
        assert row["norm_high"] == pytest.approx(own.quantile(0.75).item())
        assert [row[f"cosine{end}"] for end in ("", "_low", "_high")] == pytest.approx([1, 1, 1])


def test_another_model_differs_from_where_it_was_changed(llama, tokenizer, prompts):
    base = collect(llama, tokenizer, prompts)
    weight = down_projection(blocks(llama)[1])
    weight += 0.5 * torch.randn_like(weight)
    for row in describe(collect(llama, tokenizer, prompts), base):
        if row["depth"] < 2:
            assert row["cosine"] == pytest.approx(1)
        else:
            assert row["cosine"] < 0.99 and row["cosine_low"] <= row["cosine"] <= row["cosine_high"]


def test_a_scaled_model_has_cosine_one_and_other_norms(llama, tokenizer, prompts):
    base = collect(llama, tokenizer, prompts)
    double = Activations(2 * base.last, 2 * base.mean, 2 * base.first, base.sites)
    for row, single in zip(describe(double, base), describe(base, base), strict=True):
        assert row["cosine"] == pytest.approx(1)
        assert row["norm"] == pytest.approx(2 * single["norm"])
