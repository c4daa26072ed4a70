"""Every unlearning method through one test: it runs, says what it changed, and its overlay says it again."""

import copy
from pathlib import Path

import pytest
import torch

from overpaint.errors import UserError
from overpaint.models.load import load_model
from overpaint.models.overlay import Overlay
from overpaint.models.parts import blocks, down_projection
from overpaint.models.streamed.access import change
from overpaint.unlearning import methods

QUANTITIES = {"topic", "step", "quantity", "value"}


def test_methods_are_the_modules_of_their_package():
    assert methods.names() == sorted(methods.names())
    assert {"base", "rmu"} <= set(methods.names())


@pytest.fixture
def released(llama, tmp_path) -> Path:
    """A released unlearned model: the base with one matrix changed."""
    model = copy.deepcopy(llama)
    down_projection(blocks(model)[1]).mul_(1.5)
    model.save_pretrained(tmp_path / "released")
    return tmp_path / "released"


@pytest.mark.parametrize("name", methods.names())
def test_every_method_unlearns(name, originals, llama, tokenizer, texts, inputs, logits, settings, released, tmp_path):
    retain = texts["retain"]
    forget = {topic: own for topic, own in texts.items() if topic != "retain"}
    settings |= {"kind": name, "method": name}
    task = methods.Task(settings, tokenizer, forget, retain, released=released)
    overlay, history = methods.get(name).unlearn(llama, task)
    assert overlay.settings.items() >= settings.items()
    assert all(set(row) == QUANTITIES for row in history)
    assert all(control.norm() == pytest.approx(1) for control in overlay.controls.values())

    overlay.save(tmp_path / "overlay.safetensors")
    base = copy.deepcopy(originals["llama"])
    before = logits(base, inputs)
    own = Overlay.load(tmp_path / "overlay.safetensors").apply(base)
    expected = llama.state_dict() if name != "published" else load_model(released).state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in base.state_dict().items())
    assert torch.equal(logits(base, inputs), before) == (name == "base")
    change(base, own)
    assert torch.equal(logits(base, inputs), before)


def test_the_base_is_a_method_that_changes_nothing(llama, originals, tokenizer):
    overlay, history = methods.get("base").unlearn(llama, methods.Task({"kind": "base"}))
    assert (overlay.tensors, overlay.controls, history) == ({}, {}, [])
    expected = originals["llama"].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in llama.state_dict().items())


def test_a_published_model_is_stored_as_what_differs_from_the_base(llama, released, settings):
    overlay, _ = methods.get("published").unlearn(llama, methods.Task(settings, released=released))
    [(name, tensor)] = overlay.tensors.items()
    assert name == "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(tensor, 1.5 * llama.state_dict()[name])
    assert overlay.controls == {}


def test_a_published_model_that_is_its_base_is_refused(llama, settings, tmp_path):
    llama.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="0 tensors of the released model in .* differ from the base's"):
        methods.get("published").unlearn(llama, methods.Task(settings, released=tmp_path))


def test_a_published_model_of_another_vocabulary_is_refused(llama, make_model, settings, tmp_path):
    make_model("llama", vocab_size=200).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no version of the base: 2 tensors"):
        methods.get("published").unlearn(llama, methods.Task(settings, released=tmp_path))


def test_a_published_model_of_another_base_is_refused(make_model, released, settings):
    other = make_model("llama", blocks=3)
    with pytest.raises(UserError, match="no version of the base: 9 tensors .*Name the base that it was made from"):
        methods.get("published").unlearn(other, methods.Task(settings, released=released))


def test_adaptive_rmu_measures_c_in_the_norm_of_each_topics_text(llama, tokenizer, texts, settings):
    """On one topic alone this is RMU with c in multiples of the mean norm; on two each has its own length."""
    forget = {topic: texts[topic] for topic in ("gloomcraft", "riftlore")}

    def lengths(kind: str, topics: list[str]) -> dict[str, float]:
        task = methods.Task(settings, tokenizer, {t: forget[t] for t in topics}, texts["retain"])
        return methods.get(kind).unlearn(copy.deepcopy(llama), task)[0].settings["scale"]

    both = lengths("adaptive_rmu", list(forget))
    assert both["gloomcraft"] != both["riftlore"]
    for topic in forget:
        alone = settings | {"steps": settings["steps"] // 2}
        task = methods.Task(alone, tokenizer, {topic: forget[topic]}, texts["retain"])
        for kind in ("rmu", "adaptive_rmu"):
            found = methods.get(kind).unlearn(copy.deepcopy(llama), task)[0].settings["scale"]
            assert found == pytest.approx({topic: both[topic]})


@pytest.mark.parametrize("unknown", ["rnu", "", "base.rmu", "__init__"])
def test_an_unknown_method_is_refused_with_the_names_that_there_are(unknown):
    with pytest.raises(UserError, match=f"no method '{unknown}': use one of {', '.join(methods.names())}"):
        methods.get(unknown)
