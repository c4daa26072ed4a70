"""Exported models: plain transformers loads them and computes what base, overlay and hooks compute."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig

from overpaint.errors import UserError
from overpaint.junk import clearing, export
from overpaint.junk.clearing import Clearing
from overpaint.junk.directions import orthonormal
from overpaint.models.hooks import residual_sites, watch_sites
from overpaint.models.parts import blocks, down_projection

FOLDED = ["llama", "mistral", "qwen2", "gpt2", "gpt_neox", "phi", "qwen3", "olmo"]


def everywhere(model, rank: int = 2, seed: int = 0) -> Clearing:
    """Directions of no meaning, cleared to zero at every site."""
    width = model.config.hidden_size
    basis = orthonormal(torch.randn(rank, width, generator=torch.Generator().manual_seed(seed)))
    return Clearing("span", "", basis, {site: torch.zeros(rank) for site in residual_sites(model)})


def nothing() -> Clearing:
    return Clearing("none", "", torch.empty(0, 0), {})


def cleared(model, own: Clearing, inputs, logits) -> torch.Tensor:
    with clearing.clear(model, own):
        return logits(model, inputs)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", FOLDED)
def test_a_folder_gives_the_logits_of_base_overlay_and_hooks(
    make_model, tokenizer, inputs, logits, tmp_path, architecture, tied
):
    model = make_model(architecture, tie_word_embeddings=tied)
    down_projection(blocks(model)[1]).mul_(1.5)  # an overlay
    own = everywhere(model)
    expected, uncleared = cleared(model, own, inputs, logits), logits(model, inputs)
    export.export(model, tokenizer, [own], tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.allclose(logits(loaded, inputs), expected, atol=1e-5)
    assert not torch.allclose(uncleared, expected, atol=1e-2)
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("strength", [0.5, 1.5])
@pytest.mark.parametrize("architecture", FOLDED)
def test_a_strength_in_the_weights_equals_one_at_every_write(make_model, inputs, logits, architecture, strength):
    model = make_model(architecture)
    own = everywhere(model)
    writes = {site: level for site, level in own.offsets.items() if site == "0/input" or not site.endswith("/input")}
    partly = replace(own, offsets=writes, strength=strength)
    expected, whole = (cleared(model, one, inputs, logits) for one in (partly, own))
    export.fold(model, partly)
    assert torch.allclose(logits(model, inputs), expected, atol=1e-4)
    assert not torch.allclose(whole, expected, atol=1e-2)


def test_the_stream_of_a_folded_model_never_holds_the_cleared_directions(make_model, inputs):
    for architecture in FOLDED:
        model, seen = make_model(architecture), {}
        own = everywhere(model)
        before = {}
        with watch_sites(model, before.__setitem__), torch.no_grad():
            model(**inputs)
        export.fold(model, own)
        with watch_sites(model, seen.__setitem__), torch.no_grad():
            model(**inputs)
        assert max((hidden @ own.basis.T).abs().max() for hidden in seen.values()) < 1e-5
        assert min((hidden @ own.basis.T).abs().max() for hidden in before.values()) > 1e-2


def test_the_clearing_none_exports_the_model_as_it_is(any_model, tokenizer, inputs, logits, tmp_path):
    expected = logits(any_model, inputs)
    export.export(any_model, tokenizer, [nothing()], tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), inputs), expected)


def test_experts_are_folded_too(tokenizer, inputs, logits, tmp_path):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape["num_key_value_heads"] = 2
    config = MixtralConfig(vocab_size=len(tokenizer), num_local_experts=4, initializer_range=0.15, **shape)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    assert down_projection(blocks(model)[0]).shape == (4, 32, 48)
    own = everywhere(model)
    expected = cleared(model, own, inputs, logits)
    export.export(model, tokenizer, [own], tmp_path)
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), inputs), expected, atol=1e-5)


def test_each_architecture_is_folded_or_refused(architecture):
    assert (architecture in FOLDED) != (architecture in {"gemma2", "gemma3", "olmo2"})


def test_norms_after_the_parts_of_a_block_are_refused(make_model, tokenizer, tmp_path):
    for model in map(make_model, ("gemma2", "gemma3", "olmo2")):
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.5 * torch.rand_like(parameter)
        with pytest.raises(UserError, match=f"cannot be folded into the weights of {type(model).__name__}.*`none`"):
            export.export(model, tokenizer, [everywhere(model)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_clearings_that_weights_cannot_express_are_refused(llama, tokenizer, tmp_path):
    own, before = everywhere(llama), copy.deepcopy(llama.state_dict())
    late = Clearing("late", "", own.basis, {s: v for s, v in own.offsets.items() if not s.startswith("0/")})
    mean = Clearing("mean", "", own.basis, {site: torch.ones(2) for site in own.offsets})
    part = replace(own, name="part", strength=0.5)
    for refused in (late, mean, part):
        with pytest.raises(UserError, match=f"'{refused.name}' spares some blocks or leaves the base's mean"):
            export.export(llama, tokenizer, [refused], tmp_path)
    with pytest.raises(UserError, match="'span' has 2 variants"):
        export.export(llama, tokenizer, [own, own], tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.state_dict().items())
