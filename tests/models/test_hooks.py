"""Hooks: edits reach every residual site, leave no trace, and parts of a forward equal the whole."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, Glm4Config, MambaConfig, OPTConfig

from overpaint.errors import UserError
from overpaint.models import hooks
from overpaint.models.parts import attention, blocks, down_projection, parameter_names
from overpaint.models.streamed.passes import Inputs, Pass, through

SITES = [f"{index}/{place}" for index in range(4) for place in ("input", "attention", "mlp")]


def count_calls(model: nn.Module) -> list[int]:
    """A list that goes on counting how often each block has run to its end."""
    calls = [0] * len(blocks(model))

    def counter(index: int):
        def hook(*_):
            calls[index] += 1

        return hook

    for index, block in enumerate(blocks(model)):
        block.register_forward_hook(counter(index))
    return calls


def hook_count(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


# -- edits


def test_every_block_has_three_residual_sites(any_model):
    assert list(hooks.residual_sites(any_model)) == SITES


def test_an_edit_at_any_site_changes_the_output_and_leaves_no_trace(any_model, inputs, logits):
    before, shift = logits(any_model, inputs), torch.randn(32)
    for site in SITES:
        with hooks.edit_sites(any_model, {site: lambda hidden: hidden + 5 * shift}):
            assert (logits(any_model, inputs) - before).abs().max() > 0.01, site
        assert torch.equal(logits(any_model, inputs), before), site
        assert hook_count(any_model) == 0


def test_an_edit_that_returns_what_it_got_changes_nothing(any_model, inputs, logits):
    before = logits(any_model, inputs)
    with hooks.edit_sites(any_model, {site: lambda hidden: hidden for site in SITES}):
        assert hook_count(any_model) == len(SITES)
        assert torch.equal(logits(any_model, inputs), before)


def test_edits_are_removed_after_an_error_in_the_context(any_model, inputs, logits):
    before = logits(any_model, inputs)
    with pytest.raises(ZeroDivisionError), hooks.edit_sites(any_model, {site: torch.zeros_like for site in SITES}):
        assert not torch.allclose(logits(any_model, inputs), before, atol=0.01)
        raise ZeroDivisionError
    assert hook_count(any_model) == 0
    assert torch.equal(logits(any_model, inputs), before)


@pytest.mark.parametrize("site", ["1/input", "1/attention", "1/mlp"])
def test_edits_are_removed_after_an_error_in_an_edit(any_model, inputs, logits, site):
    before = logits(any_model, inputs)

    def broken(hidden):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), hooks.edit_sites(any_model, {"0/input": torch.neg, site: broken}):
        logits(any_model, inputs)
    assert hook_count(any_model) == 0
    assert torch.equal(logits(any_model, inputs), before)


def test_an_unknown_site_leaves_no_edits_behind(llama):
    with pytest.raises(KeyError), hooks.edit_sites(llama, {"0/input": torch.neg, "9/input": torch.neg}):
        pass
    assert hook_count(llama) == 0


def test_replacing_a_block_input_replaces_everything_before_it(any_model, inputs, logits):
    torch.manual_seed(0)
    fixed, moved = torch.randn(*inputs["input_ids"].shape, 32), 5 * torch.randn(32)
    scores = []
    for shift in (0, moved):
        edits = {"1/mlp": lambda hidden, shift=shift: hidden + shift, "2/input": lambda hidden: fixed}
        with hooks.edit_sites(any_model, edits):
            scores.append(logits(any_model, inputs))
    assert torch.equal(*scores)


def test_silencing_an_mlp_equals_zeroing_its_down_projection(any_model, inputs, logits):
    before = logits(any_model, inputs)
    with hooks.edit_sites(any_model, {"2/mlp": torch.zeros_like}):
        silenced = logits(any_model, inputs)
    weight = down_projection(blocks(any_model)[2])
    [name] = parameter_names(any_model, [weight])
    weight.zero_()
    bias = dict(any_model.named_parameters()).get(name.removesuffix("weight") + "bias")
    if bias is not None:
        bias.zero_()
    assert torch.allclose(logits(any_model, inputs), silenced, atol=1e-5)
    assert not torch.allclose(silenced, before, atol=1e-2)


def test_edits_apply_in_the_order_in_which_they_are_entered(llama, inputs):
    seen = []
    edit = hooks.edit_input(blocks(llama)[1], lambda hidden: hidden * 0 + 7)
    with edit, hooks.watch_sites(llama, lambda site, hidden: seen.append((site, hidden))), torch.no_grad():
        llama(**inputs)
    assert (dict(seen)["1/input"] == 7).all() and not (dict(seen)["0/input"] == 7).all()


class Keyword(nn.Module):
    """Takes hidden states by name and returns a tuple."""

    def forward(self, scale, hidden_states):
        return scale * hidden_states, "rest"


def test_edits_know_hidden_states_by_name_and_in_tuples():
    module, ones = Keyword(), torch.ones(2)
    with hooks.edit_input(module, lambda hidden: hidden + 1), hooks.edit_output(module, lambda hidden: hidden * 10):
        output, rest = module(scale=3, hidden_states=ones)
    assert torch.equal(output, 60 * ones) and rest == "rest"
    assert torch.equal(module(scale=3, hidden_states=ones)[0], 3 * ones)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_write_of_each_architecture_is_at_a_site(originals, architecture, dtype):
    model = copy.deepcopy(originals[architecture]).to(dtype)
    hooks.check_sites(model)
    assert hook_count(model) == 0


def test_a_model_with_a_norm_behind_a_site_is_refused():
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = Glm4Config(vocab_size=184, num_key_value_heads=2, head_dim=8, pad_token_id=0, **shape)
    model = AutoModelForCausalLM.from_config(config).eval()
    for block in blocks(model):  # norms as a trained model has them: no two of their weights are equal
        block.post_mlp_layernorm.weight.data.uniform_(0.2, 2)
    with pytest.raises(UserError, match="Glm4ForCausalLM writes to its residual stream elsewhere"):
        hooks.check_sites(model)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (MambaConfig(hidden_size=32, num_hidden_layers=3, vocab_size=184, state_size=4), "0 children named like attn"),
        (OPTConfig(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=48, vocab_size=184,
                   word_embed_proj_dim=32), "0 children named like mlp"),
    ],
)  # fmt: skip
def test_a_model_without_attention_and_mlp_in_its_blocks_is_refused(config, sentence):
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UserError, match=f"{sentence}.* cannot be found by structure"):
        hooks.check_sites(model)


# -- watching


def test_watching_sees_each_site_once_with_what_transformers_reports(any_model, inputs, residuals):
    seen = []
    with hooks.watch_sites(any_model, lambda site, hidden: seen.append((site, hidden.clone()))), torch.no_grad():
        any_model(**inputs)
    assert sorted(site for site, _ in seen) == sorted([*SITES, "final"])
    states = residuals(any_model, inputs)
    for index, expected in enumerate(states):
        assert torch.equal(dict(seen)[f"{index}/input"], expected)
    assert all(hidden.shape == states[0].shape for _, hidden in seen)
    assert not torch.equal(dict(seen)["final"], states[-1])


def test_watching_changes_nothing(any_model, inputs, logits):
    before = logits(any_model, inputs)
    with hooks.watch_sites(any_model, lambda site, hidden: None):
        assert torch.equal(logits(any_model, inputs), before)
    assert hook_count(any_model) == 0


def test_the_final_residual_is_what_the_final_norm_reads(llama, inputs):
    seen, read = {}, []
    llama.model.norm.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    with hooks.watch_sites(llama, seen.__setitem__), torch.no_grad():
        llama(**inputs)
    assert torch.equal(seen["final"], read[0])


# -- parts of a forward


@pytest.mark.parametrize("start", [0, 1, 3])
def test_running_up_to_a_block_gives_its_input_and_runs_nothing_from_it_on(any_model, inputs, residuals, start):
    expected = residuals(any_model, inputs)[start]
    ran = count_runs(any_model)
    assert torch.equal(through(any_model, [Pass(Inputs(inputs))], stop=start)[0], expected)
    assert ran == [1] * start + [0] * (4 - start)


@pytest.mark.parametrize(("start", "layer"), [(0, 0), (1, 1), (0, 2), (1, 2), (2, 3)])
def test_running_some_blocks_gives_the_states_of_the_whole_model(any_model, inputs, residuals, start, layer):
    seen = {}
    with hooks.watch_sites(any_model, seen.__setitem__), torch.no_grad():
        any_model(**inputs)
    states = [*residuals(any_model, inputs), seen["final"]]
    ran = count_runs(any_model)
    after = hooks.run_span(any_model, layer, {"attention_mask": inputs["attention_mask"]}, start, states[start])
    assert torch.allclose(after, states[layer + 1], atol=1e-6)
    assert not torch.allclose(after, states[layer], atol=1e-2)
    assert ran == [int(start <= index <= layer) for index in range(4)]
    assert torch.allclose(hooks.run_span(any_model, layer, inputs), states[layer + 1], atol=1e-6)


def test_gradients_reach_the_blocks_of_a_span_and_no_other(llama, inputs, residuals):
    entering = residuals(llama, inputs)[1]
    llama.requires_grad_(True)
    hooks.run_span(llama, 2, {"attention_mask": inputs["attention_mask"]}, 1, entering).sum().backward()
    reached = [any(p.grad is not None for p in block.parameters()) for block in llama.model.layers]
    assert reached == [False, True, True, False]


def test_a_stopped_forward_leaves_no_trace(any_model, inputs, logits):
    before = logits(any_model, inputs)
    [entering] = through(any_model, [Pass(Inputs(inputs))], stop=2)
    with torch.no_grad():
        hooks.run_span(any_model, 2, {"attention_mask": inputs["attention_mask"]}, 2, entering)
    assert hook_count(any_model) == 0
    assert torch.equal(logits(any_model, inputs), before)


def test_running_blocks_that_attend_to_different_windows_gives_the_states_of_the_whole_model(
    make_model, inputs, residuals
):
    model = make_model("gemma2", sliding_window=4)
    states = residuals(model, inputs)
    after = hooks.run_span(model, 2, {"attention_mask": inputs["attention_mask"]}, 1, states[1])
    assert torch.equal(after, states[3])
    assert not torch.allclose(after, residuals(make_model("gemma2", sliding_window=64), inputs)[3], atol=1e-4)


def count_runs(model: nn.Module) -> list[int]:
    """How often the attention of each block has run; skipped blocks are called, but do not run theirs."""
    runs = [0] * len(blocks(model))
    for index, block in enumerate(blocks(model)):
        attention(block).register_forward_hook(lambda *_, i=index: runs.__setitem__(i, runs[i] + 1))
    return runs
