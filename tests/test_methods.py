"""Every unlearning method through one test: it runs, says what it changed, and its overlay says it again."""

import copy

import pytest
import torch

from overpaint import methods, models
from overpaint.errors import UserError

QUANTITIES = {"topic", "step", "quantity", "value"}


def test_methods_are_the_modules_of_their_package():
    assert methods.names() == sorted(methods.names())
    assert {"base", "rmu"} <= set(methods.names())


@pytest.mark.parametrize("name", methods.names())
def test_every_method_unlearns(name, originals, llama, tokenizer, texts, inputs, logits, settings, tmp_path):
    retain = texts["retain"]
    forget = {topic: own for topic, own in texts.items() if topic != "retain"}
    settings |= {"kind": name, "method": name}
    overlay, history = methods.get(name).unlearn(llama, tokenizer, forget, retain, settings)
    assert overlay.settings.items() >= settings.items()
    assert all(set(row) == QUANTITIES for row in history)
    assert all(control.norm() == pytest.approx(1) for control in overlay.controls.values())

    overlay.save(tmp_path / "overlay.safetensors")
    base = copy.deepcopy(originals["llama"])
    before = logits(base, inputs)
    own = models.Overlay.load(tmp_path / "overlay.safetensors").apply(base)
    assert all(torch.equal(tensor, llama.state_dict()[key]) for key, tensor in base.state_dict().items())
    assert torch.equal(logits(base, inputs), before) == (name == "base")
    models.restore(base, own)
    assert torch.equal(logits(base, inputs), before)


def test_the_base_is_a_method_that_changes_nothing(llama, originals, tokenizer):
    overlay, history = methods.get("base").unlearn(llama, tokenizer, {}, [], {"kind": "base"})
    assert (overlay.tensors, overlay.controls, history) == ({}, {}, [])
    expected = originals["llama"].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in llama.state_dict().items())


@pytest.mark.parametrize("unknown", ["rnu", "", "base.rmu", "__init__"])
def test_an_unknown_method_is_refused_with_the_names_that_there_are(unknown):
    with pytest.raises(UserError, match=f"no method '{unknown}': use one of {', '.join(methods.names())}"):
        methods.get(unknown)
