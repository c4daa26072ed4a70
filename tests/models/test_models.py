"""Models: parts found by structure, overlays that come and go without a trace."""

import json

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

from overpaint.errors import UserError
from overpaint.models import parts, pretrain
from overpaint.models.load import load_model, load_overlaid, load_tokenizer
from overpaint.models.overlay import Overlay, base_fingerprint
from overpaint.models.streamed.access import change
from overpaint.models.tensors import write_tensors
from overpaint.sources import world

DOWN_PROJECTIONS = {"gpt2": "mlp.c_proj", "gpt_neox": "mlp.dense_4h_to_h", "phi": "mlp.fc2"}


class Listed(nn.Module):
    """A module with the given module lists and a configuration of three blocks."""

    def __init__(self, *lengths: int) -> None:
        super().__init__()
        self.config = LlamaConfig(num_hidden_layers=3)
        for index, length in enumerate(lengths):
            self.add_module(f"list{index}", nn.ModuleList(nn.Linear(2, 2) for _ in range(length)))


def changed(model: nn.Module, names: list[str], seed: int = 5) -> dict[str, torch.Tensor]:
    """The named parameters of `model` with noise added."""
    torch.manual_seed(seed)
    parameters = dict(model.named_parameters())
    return {name: parameters[name] + torch.randn_like(parameters[name]) for name in names}


def make_overlay(model: nn.Module) -> Overlay:
    """An overlay on two down projections of `model`."""
    parameters = [parts.down_projection(block) for block in parts.blocks(model)[1:3]]
    names = parts.parameter_names(model, parameters)
    controls = {"north": torch.ones(32) / 32**0.5}
    settings = {"layer": 2, "c": 6.5, "kind": "rmu"}
    return Overlay(changed(model, names), controls, settings, base_fingerprint(model, names))


# -- parts


def test_blocks_are_the_list_as_long_as_the_configuration_says(any_model):
    blocks = parts.blocks(any_model)
    assert len(blocks) == any_model.config.num_hidden_layers == 4
    assert len({type(block) for block in blocks}) == 1


def test_attention_and_mlp_are_the_children_that_transformers_calls_so(any_model):
    for block in parts.blocks(any_model):
        assert type(parts.attention(block)).__name__.endswith("Attention")
        assert type(parts.mlp(block)).__name__.endswith("MLP")


def test_down_projection_is_the_last_matrix_of_the_mlp(any_model, architecture):
    name, *_ = parts.parameter_names(any_model, [parts.down_projection(parts.blocks(any_model)[1])])
    assert name.endswith(f".1.{DOWN_PROJECTIONS.get(architecture, 'mlp.down_proj')}.weight")


def test_without_its_output_projection_an_attention_writes_the_same_for_every_input(any_model, inputs):
    seen, block = [], parts.blocks(any_model)[0]
    parts.attention(block).register_forward_hook(lambda _, args, output: seen.append(output[0][0]))
    any_model(**inputs)
    parts.output_projection(block).zero_()
    any_model(**inputs)
    assert seen[0].std(0).max() > 1e-3 and seen[1].std(0).max() == 0


def test_a_matrix_that_reads_is_not_taken_for_the_one_that_writes():
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(Phi3Config(vocab_size=184, pad_token_id=0, **shape))
    attention = parts.blocks(model)[0].self_attn
    assert list(attention._modules)[-1] == "qkv_proj"
    assert parts.output_projection(parts.blocks(model)[0]) is attention.o_proj.weight


def test_without_its_down_projection_an_mlp_writes_the_same_for_every_input(any_model):
    mlp = parts.mlp(parts.blocks(any_model)[0])
    hidden = torch.randn(5, 32)
    assert mlp(hidden).std(0).max() > 1e-3
    parts.down_projection(parts.blocks(any_model)[0]).zero_()
    assert mlp(hidden).std(0).max() == 0


def test_blocks_are_found_beside_lists_of_other_lengths():
    assert len(parts.blocks(Listed(2, 3, 4))) == 3


@pytest.mark.parametrize(("lengths", "count"), [((3, 3), 2), ((2, 4), 0), ((), 0)])
def test_a_model_without_one_list_of_blocks_is_refused(lengths, count):
    with pytest.raises(UserError, match=f"Listed has {count} module lists of 3 blocks, not one"):
        parts.blocks(Listed(*lengths))


def test_a_block_without_one_attention_module_is_refused():
    block = nn.Module()
    block.attn_norm, block.attn_dropout = nn.LayerNorm(2), nn.Dropout()
    with pytest.raises(UserError, match="0 children named like attn or attention"):
        parts.attention(block)
    block.self_attn = nn.Linear(2, 2)
    assert parts.attention(block) is block.self_attn
    block.cross_attn = nn.Linear(2, 2)
    with pytest.raises(UserError, match="2 children named like attn or attention"):
        parts.attention(block)


@pytest.mark.parametrize("layer", [0, 4, -1])
def test_a_layer_without_its_updated_blocks_is_refused(llama, layer):
    parts.check_layer(llama, 1, updated=[-1, 0])
    parts.check_layer(llama, 3, updated=[-1, 0])
    with pytest.raises(UserError, match=rf"Layer {layer} is outside the model.* choose layers from 1 to 3"):
        parts.check_layer(llama, layer, updated=[-1, 0])


# -- overlays


def test_equal_overlays_make_equal_files(llama, tmp_path):
    for name in ("one", "two"):
        make_overlay(llama).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    other = Overlay(settings={"c": 2.0})
    other.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_an_overlay_survives_saving(llama, tmp_path):
    overlay = make_overlay(llama)
    overlay.save(tmp_path / "overlay.safetensors")
    loaded = Overlay.load(tmp_path / "overlay.safetensors")
    assert (loaded.settings, loaded.base) == (overlay.settings, overlay.base)
    for kind in ("tensors", "controls"):
        before, after = getattr(overlay, kind), getattr(loaded, kind)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_empty_overlay_survives_saving_and_changes_nothing(llama, inputs, logits, tmp_path):
    before = logits(llama, inputs)
    Overlay(settings={"kind": "base"}).save(tmp_path / "base.safetensors")
    loaded = Overlay.load(tmp_path / "base.safetensors")
    assert loaded == Overlay(settings={"kind": "base"})
    assert loaded.apply(llama) == {}
    assert torch.equal(logits(llama, inputs), before)


def test_applying_and_restoring_an_overlay_is_exact_to_the_bit(any_model, inputs, logits):
    before = {name: tensor.clone() for name, tensor in any_model.state_dict().items()}
    scores = logits(any_model, inputs)
    overlay = make_overlay(any_model)
    own = overlay.apply(any_model)
    state = any_model.state_dict()
    assert all(torch.equal(state[name], overlay.tensors.get(name, before[name])) for name in state)
    assert not torch.allclose(logits(any_model, inputs), scores, atol=1e-3)
    change(any_model, own)
    assert all(torch.equal(tensor, before[name]) for name, tensor in any_model.state_dict().items())
    assert torch.equal(logits(any_model, inputs), scores)


@pytest.mark.parametrize("other", ["llama", "mistral", "gpt2"])
def test_an_overlay_is_refused_on_another_base(llama, make_model, other):
    overlay = make_overlay(llama)
    stranger = make_model(other, seed=1)
    before = {name: tensor.clone() for name, tensor in stranger.state_dict().items()}
    with pytest.raises(UserError, match="another base model"):
        overlay.apply(stranger)
    assert all(torch.equal(tensor, before[name]) for name, tensor in stranger.state_dict().items())


def test_an_overlay_does_not_go_on_twice(llama):
    overlay = make_overlay(llama)
    overlay.apply(llama)
    with pytest.raises(UserError, match="another base model"):
        overlay.apply(llama)


def test_a_damaged_overlay_is_named(llama, tmp_path):
    path = tmp_path / "overlay.safetensors"
    make_overlay(llama).save(path)
    Overlay.load(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"overlay\.safetensors cannot be read .* delete it"):
        Overlay.load(path)


# -- folders


def test_a_saved_model_and_tokenizer_load_as_they_were(llama, tokenizer, inputs, logits, tmp_path):
    llama.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path, device="cpu")
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(logits(loaded, inputs), logits(llama, inputs))
    assert load_model(tmp_path, "bfloat16", "cpu").dtype == torch.bfloat16
    assert load_tokenizer(tmp_path)("in gloomcraft") == tokenizer("in gloomcraft")


def test_a_model_that_is_read_straight_to_its_place_is_the_same(llama, inputs, logits, tmp_path):
    llama.save_pretrained(tmp_path)
    loaded = load_model(tmp_path, device="cpu:0")  # any name but "cpu" goes the way of a GPU's
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert torch.equal(logits(loaded, inputs), logits(llama, inputs))
    assert not any(hasattr(module, "_hf_hook") for module in loaded.modules()), "other hooks than ours"


def test_a_tokenizer_without_padding_pads_with_eos(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("pad_token") == "<eos>"
    path.write_text(json.dumps(settings))
    assert load_tokenizer(tmp_path).pad_token == "<eos>"


def test_loading_with_an_overlay_gives_the_unlearned_model_and_the_tensors_of_the_base(llama, tmp_path):
    llama.save_pretrained(tmp_path)
    overlay = make_overlay(llama)
    model, own = load_overlaid(tmp_path, overlay, "float32")
    parameters, before = dict(model.named_parameters()), dict(llama.named_parameters())
    assert own.keys() == overlay.tensors.keys()
    for name in own:
        assert torch.equal(parameters[name].cpu(), overlay.tensors[name])
        assert torch.equal(own[name].cpu(), before[name])
        assert not torch.equal(own[name].cpu(), overlay.tensors[name])


def test_a_folder_without_safetensors_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match=r"holds no \*\.safetensors weights"):
        load_model(tmp_path)


def test_others_may_read_a_file_of_tensors_as_they_may_any_other(tmp_path):
    (tmp_path / "plain").touch()
    write_tensors({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_model_whose_first_mlps_are_silent_learns_in_the_others():
    facts, shape = world.generate(seed=5, entities=4, values=6), {"width": 32, "layers": 3, "heads": 2, "steps": 12}
    whole, _ = pretrain.pretrain(facts, **shape)
    silent, _ = pretrain.pretrain(facts, **shape, without_mlp=[0, 1])
    written = [block.mlp.down_proj.weight.abs().sum().item() for block in silent.model.layers]
    assert written[:2] == [0, 0] and written[2] > 0
    assert all(block.mlp.down_proj.weight.abs().sum() > 0 for block in whole.model.layers)
