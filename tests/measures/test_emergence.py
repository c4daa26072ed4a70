"""Emergence: snapshots are the weights of those steps, survive a death, and are measured as the run itself would be."""

import copy

import pytest
import torch
from helpers.models.trainings import TOPICS, Killed, task
from torch import nn

from overpaint.junk import clearing, estimators
from overpaint.junk.collection import collect
from overpaint.junk.run import Run
from overpaint.measures.emergence import measure as emergence
from overpaint.models.overlay import Overlay, load_snapshots
from overpaint.scoring import questions
from overpaint.sources import world
from overpaint.sources.texts import write_rows
from overpaint.unlearning import training
from overpaint.unlearning.methods import rmu

PRIMARY = {"span": {"direction": "span", "scope": "all", "target": "zero", "strength": 1, "on_base": False}}


def train(originals, tokenizer, texts, settings, **more) -> Overlay:
    return rmu.unlearn(copy.deepcopy(originals["llama"]), task(tokenizer, texts, settings, **more))[0]


def same(left: dict, right: dict) -> bool:
    return list(left) == list(right) and all(torch.equal(tensor, right[name]) for name, tensor in left.items())


# -- snapshots


def test_snapshots_are_the_weights_of_shorter_trainings(originals, tokenizer, texts, settings):
    settings |= {"shuffle": False, "c_unit": "absolute"}  # else they depend on how many batches a training meets
    overlay = train(originals, tokenizer, texts, settings | {"steps": 12, "snapshots": 3})
    assert list(overlay.snapshots) == [1, 5, 12] and same(overlay.snapshots[12], overlay.tensors)
    for step in (1, 5):
        assert same(overlay.snapshots[step], train(originals, tokenizer, texts, settings | {"steps": step}).tensors)
    assert not same(overlay.snapshots[1], overlay.snapshots[5])


def test_snapshots_change_no_weight_and_none_are_kept_unless_asked_for(originals, tokenizer, texts, settings):
    plain = train(originals, tokenizer, texts, settings)
    assert plain.snapshots == {}
    assert same(plain.tensors, train(originals, tokenizer, texts, settings | {"snapshots": 5}).tensors)


@pytest.mark.parametrize(("steps", "count", "wanted"), [(400, 4, [25, 100, 225, 400]), (3, 8, [1, 2, 3]), (0, 4, [])])
def test_snapshots_are_closer_at_first(originals, tokenizer, texts, settings, steps, count, wanted):
    assert list(train(originals, tokenizer, texts, settings | {"steps": steps, "snapshots": count}).snapshots) == wanted


@pytest.mark.parametrize("at", [1, 7, 11])
def test_a_training_that_was_cut_off_has_the_same_snapshots(
    originals, tokenizer, texts, settings, tmp_path, monkeypatch, at
):
    settings |= {"snapshots": 4}
    whole, step = train(originals, tokenizer, texts, settings), rmu._Loop.step
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)

    def until(self, number):
        if number == at:
            raise Killed
        return step(self, number)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(rmu._Loop, "step", until)
        train(originals, tokenizer, texts, settings, resume=tmp_path / "resume.safetensors")
    again = train(originals, tokenizer, texts, settings, resume=tmp_path / "resume.safetensors")
    assert list(again.snapshots) == [1, 3, 7, 12]
    assert all(same(again.snapshots[step], found) for step, found in whole.snapshots.items())


def test_snapshots_are_read_as_they_were_written(originals, tokenizer, texts, settings, tmp_path):
    overlay = train(originals, tokenizer, texts, settings | {"steps": 24, "snapshots": 12})
    assert len(overlay.snapshots) > 9
    overlay.save(tmp_path / "overlay.safetensors", tmp_path / "snapshots.safetensors")
    found = load_snapshots(tmp_path / "snapshots.safetensors")
    assert list(found) == sorted(overlay.snapshots), "in the order of numbers, not of names"
    assert all(
        same(dict(sorted(overlay.snapshots[step].items())), dict(sorted(own.items()))) for step, own in found.items()
    )
    Overlay().save(tmp_path / "overlay.safetensors", tmp_path / "none.safetensors")
    assert load_snapshots(tmp_path / "none.safetensors") == {}


# -- what is measured at them


@pytest.fixture
def traced(llama, tokenizer, texts, settings, facts, tmp_path) -> dict:
    """A training of 60 steps with two snapshots, traced, and what went into it."""
    overlay = rmu.unlearn(
        copy.deepcopy(llama), task(tokenizer, texts, settings | {"steps": 60, "alpha": 1.0, "snapshots": 2})
    )[0]
    entry = {"metric": "acc", "prior": "", "max_scored": 12}
    for topic in TOPICS:
        write_rows(world.question_rows(facts, [topic]), tmp_path / f"{topic}.jsonl")
    files = [tmp_path / f"{topic}.jsonl" for topic in TOPICS]
    asked = questions.read(files, [entry | {"topic": topic} for topic in TOPICS], tokenizer, "test")
    prompts = {t: [row["text"] for row in world.prompt_rows(facts, [t])[:8]] for t in (*TOPICS, "rivers")}
    base = {name: collect(llama, tokenizer, own) for name, own in prompts.items()}
    hazardous = {name: prompts[name] for name in TOPICS}
    trained = copy.deepcopy(llama)
    run = Run(trained, tokenizer, overlay, overlay.apply(trained))
    rows = emergence.measure(run, overlay.snapshots, base, hazardous, asked, {t: t for t in TOPICS}, "last", PRIMARY)
    return {"rows": rows, "overlay": overlay, "asked": asked, "prompts": hazardous, "base": base}


def pick(rows: list[dict], step: int, topic: str, quantity: str) -> list[float]:
    return [r["value"] for r in rows if (r["step"], r["topic"], r["quantity"]) == (step, topic, quantity)]


def test_the_last_step_is_the_run_itself(llama: nn.Module, tokenizer, traced):
    overlay, asked = traced["overlay"], traced["asked"]
    known = {topic: questions.ask(llama, own) for topic, own in asked.items()}
    overlay.apply(llama)
    run = {name: collect(llama, tokenizer, own) for name, own in traced["prompts"].items()}
    topics, base = {topic: topic for topic in TOPICS}, {topic: traced["base"][topic] for topic in TOPICS}
    sample = estimators.Sample.of(base, run, topics, overlay.controls, 3, "last")
    junk = estimators.fit(sample, traced["base"], 2)
    [span] = clearing.for_run("span", PRIMARY["span"], overlay.settings, junk)
    for topic in TOPICS:
        plain = questions.ask(llama, asked[topic])
        with clearing.clear(llama, span):
            cleared = questions.ask(llama, asked[topic])
        for state, rows in (("base", known[topic]), ("unlearned", plain), ("cleared", cleared)):
            assert pick(traced["rows"], 60, topic, f"correct_{state}") == [float(row["correct"]) for row in rows]
        norms = run[topic].at(3, "last").norm(dim=-1).tolist()
        assert pick(traced["rows"], 60, topic, "norm") == pytest.approx(norms)
        cosine = torch.dot(junk.topics[topic], overlay.controls[topic]).item()
        assert pick(traced["rows"], 60, topic, "cos_u") == pytest.approx([cosine], abs=1e-5) and cosine > 0.3


def test_at_the_start_it_is_the_base_which_did_not_move(llama: nn.Module, traced):
    for topic in TOPICS:
        own = {state: pick(traced["rows"], 0, topic, f"correct_{state}") for state in ("base", "unlearned", "cleared")}
        assert own["base"] == own["unlearned"] == own["cleared"] and len(own["base"]) == 12
        assert pick(traced["rows"], 0, topic, "cos_u") == []
        norms = traced["base"][topic].at(3, "last").norm(dim=-1).tolist()
        assert pick(traced["rows"], 0, topic, "norm") == pytest.approx(norms, rel=1e-5)
    assert {row["step"] for row in traced["rows"]} == {0, 15, 60}


def test_the_stream_grows_towards_the_control_vector(traced):
    means = [sum(pick(traced["rows"], step, "gloomcraft", "norm")) for step in (0, 15, 60)]
    assert means[0] < means[1] < means[2]
