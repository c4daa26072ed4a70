"""Models read part by part: to the bit what they are whole, and no more in memory than is asked for."""

import copy
import json

import pytest
import torch
from helpers.models.evaluations import NONE
from helpers.models.trainings import task
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MixtralConfig

from overpaint.errors import UserError
from overpaint.jobs.provenance import GIVEN, NOTED
from overpaint.junk import clearing
from overpaint.junk.collection import collect
from overpaint.junk.run import Run
from overpaint.measures.agreement import measure as agreement
from overpaint.models import load
from overpaint.models.hooks import edit_sites, residual_sites
from overpaint.models.overlay import Overlay, base_fingerprint, copies, replaced
from overpaint.models.parts import blocks, down_projection, parameter_names
from overpaint.models.streamed import passes
from overpaint.models.streamed.access import change, held, parts
from overpaint.models.streamed.passes import Inputs, Pass, State, logits, through
from overpaint.scoring.evaluation import Benchmark, evaluate_clearings
from overpaint.sources import world
from overpaint.sources.texts import write_rows
from overpaint.unlearning.methods import rmu


@pytest.fixture
def streams(monkeypatch):
    """streams(folder, dtype="float32"): the model of a folder, read part by part."""

    def read(folder, dtype="float32"):
        monkeypatch.setitem(GIVEN, "residency", "streamed")
        return load.load_model(folder, dtype)

    return read


@pytest.fixture
def both(any_model, streams, tmp_path):
    """A model of each architecture in turn, whole and streamed from shards."""
    any_model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    return any_model, streams(tmp_path)


def in_memory(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.is_meta}


@torch.no_grad()
def forward(model, inputs):
    return model(**inputs, use_cache=False).logits


def span(model, junk):
    settings = {"direction": "span", "scope": "all", "target": "zero", "strength": 1, "on_base": False}
    return clearing.expand("span", settings, junk, 2, 0)[0]


def test_logits_are_those_of_the_whole_model_to_the_bit_and_nothing_stays(both, inputs):
    whole, streamed = both
    assert torch.equal(forward(streamed, inputs), forward(whole, inputs)) and not in_memory(streamed)
    assert streamed.device == whole.device and streamed.dtype == whole.dtype


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_experts_and_tied_weights_are_read_as_transformers_reads_them(
    streams, tokenizer, inputs, tmp_path, dtype, tied
):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    experts = {"num_local_experts": 4, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    model = AutoModelForCausalLM.from_config(MixtralConfig(**sizes, **experts, tie_word_embeddings=tied))
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    whole = load.load_model(tmp_path, dtype)
    assert torch.equal(forward(streams(tmp_path, dtype), inputs), forward(whole, inputs))


def test_a_held_block_stays_and_is_let_go_by_its_last_holder(both):
    _, streamed = both
    with held(streamed, [1, 2]), held(streamed, [2]):
        assert len({name.split(".")[2] for name in in_memory(streamed)}) == 2
    assert not in_memory(streamed)


def test_what_is_changed_stays_changed_and_what_is_replaced_comes_back(both, inputs):
    whole, streamed = both
    names = parameter_names(whole, [down_projection(blocks(whole)[index]) for index in (1, 2)])
    other = {name: torch.randn_like(tensor) for name, tensor in copies(whole, names).items()}
    assert base_fingerprint(streamed, names) == base_fingerprint(whole, names)
    before = forward(whole, inputs)
    with replaced(streamed, other):
        with replaced(whole, other):
            changed = forward(whole, inputs)
        assert torch.equal(forward(streamed, inputs), changed) and not torch.equal(changed, before)
    assert torch.equal(forward(streamed, inputs), before)
    with held(streamed, [1]):
        change(streamed, other)
        assert torch.equal(forward(streamed, inputs), changed)
    overlay = Overlay(other, base=base_fingerprint(whole, names))
    assert overlay.apply(whole).keys() == set(names)
    with pytest.raises(UserError, match="another base model"):
        overlay.apply(streamed)


@pytest.mark.parametrize("wrong", ["missing", "extra", "shape", "nan"])
def test_other_tensors_than_the_models_are_one_sentence(llama, streams, inputs, tmp_path, wrong):
    llama.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    tensors |= {
        "missing": {},
        "extra": {"model.layers.1.mlp.odd.weight": torch.ones(2)},
        "shape": {name: tensors[name].T.contiguous()[1:]},
        "nan": {name: tensors[name] * float("nan")},
    }[wrong]
    if wrong == "missing":
        del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"odd|down_proj") as caught:
        forward(streams(tmp_path), inputs)
    assert str(caught.value).count(": ") == 1


def test_a_model_is_streamed_where_it_does_not_fit(llama, tmp_path, monkeypatch):
    llama.save_pretrained(tmp_path)
    monkeypatch.setitem(GIVEN, "residency", "auto")
    assert not parts(load.load_model(tmp_path)) and NOTED["residency"] == "whole"
    monkeypatch.setattr(load, "memory", lambda device: (tmp_path / "model.safetensors").stat().st_size)
    assert parts(load.load_model(tmp_path)) and NOTED["residency"] == "streamed"


# -- many passes


def test_passes_share_what_they_have_in_common_and_end_as_forwards_do(any_model, inputs, tokenizer):
    names = parameter_names(any_model, [down_projection(blocks(any_model)[2])])
    row = torch.nn.functional.normalize(torch.randn(32), dim=0)

    def edit(hidden):
        return hidden - 0.7 * (hidden @ row)[..., None] * row

    everywhere = dict.fromkeys(residual_sites(any_model), edit)
    outside = parameter_names(any_model, [any_model.get_input_embeddings().weight])
    states = [
        State(),
        State({name: torch.randn_like(tensor) for name, tensor in copies(any_model, names).items()}),
        State(edits=everywhere),
        State(edits={site: edit for site in everywhere if int(site[0]) >= 2}),
        State({name: 2 * tensor for name, tensor in copies(any_model, outside).items()}),
    ]
    given = [Inputs(dict(inputs)), Inputs({"input_ids": inputs["input_ids"][:1, 3:]})]
    asked = [Pass(one, state) for one in given for state in states]
    seen = []
    hidden = through(any_model, asked, lambda number, block, states: seen.append((number, block)))
    assert sorted(seen) == [(number, block) for number in range(len(asked)) for block in range(4)]
    for one, states_of in zip(asked, hidden, strict=True):
        with replaced(any_model, one.state.tensors), edit_sites(any_model, one.state.edits):
            expected = forward(any_model, one.inputs.given)
        assert torch.equal(logits(any_model, one, states_of), expected)
    assert len({tuple(states_of.flatten()[:3].tolist()) for states_of in hidden[: len(states)]}) == len(states)


def test_a_pass_may_begin_in_the_middle_and_meets_hooks_once(any_model, inputs):
    halved = [lambda hidden: hidden / 2] * 2
    begun = {}
    with edit_sites(any_model, dict(zip(("1/input", "3/mlp"), halved, strict=True))):
        given = Inputs(inputs)
        [final] = through(any_model, [Pass(given)], lambda _, block, states: begun.update({block: states}))
        [again] = through(any_model, [Pass(given, State(), 2, begun[1])])
        expected = forward(any_model, inputs)
    assert torch.equal(again, final) and torch.equal(logits(any_model, Pass(given), final), expected)


def test_runs_that_share_blocks_run_them_once(llama, inputs, monkeypatch):
    counted = []
    run = passes._run
    monkeypatch.setattr(passes, "_run", lambda *given: counted.append(1) or run(*given))
    late = [State(edits={"3/input": lambda hidden: hidden}) for _ in range(5)]
    through(llama, [Pass(given, state) for given in [Inputs(inputs)] for state in late])
    assert len(counted) == 3 + 5


def test_little_memory_makes_more_rounds_of_the_same(llama, inputs, monkeypatch):
    items = [Inputs(dict(inputs)) for _ in range(4)]

    def sizes(room: int) -> list[int]:
        monkeypatch.setattr(passes, "room", lambda device: room)
        return [len(some) for some in passes.fitting(llama, items, lambda one: [Pass(one), Pass(one)])]

    assert sizes(1) == [1, 1, 1, 1] and sizes(2**40) == [4]


# -- what studies do with them


def test_rmu_trains_the_same_and_holds_its_blocks_alone(both, tokenizer, texts, settings):
    whole, streamed = both
    (one, history), (other, again) = (
        rmu.unlearn(model, task(tokenizer, texts, settings | {"layer": 2}))
        for model in (copy.deepcopy(whole), streamed)
    )
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors | other.tensors)
    assert one.base == other.base and history == again
    assert len({name.split(".")[2] for name in in_memory(streamed)}) == 2, "the trained blocks, 1 and 2"


def test_activations_are_the_same(both, tokenizer, texts):
    one, other = (collect(model, tokenizer, texts["gloomcraft"][:8], batch_tokens=32) for model in both)
    assert torch.equal(one.last, other.last) and torch.equal(one.mean, other.mean)
    assert all(torch.equal(one.sites[site], other.sites[site]) for site in one.sites)


def test_answers_and_distances_are_the_same_under_every_clearing(both, tokenizer, facts, junk, tmp_path):
    write_rows(world.question_rows(facts, ["gloomcraft"]), tmp_path / "questions.jsonl")
    write_rows(world.text_rows(facts, ["gloomcraft"]), tmp_path / "text.jsonl")
    asked = [
        Benchmark("questions", "gloomcraft", tmp_path / "questions.jsonl", "acc", max_scored=12),
        Benchmark("text", "gloomcraft", tmp_path / "text.jsonl", "perplexity", max_scored=2),
    ]
    found = []
    for model in both:
        names = parameter_names(model, [down_projection(blocks(model)[2])])
        own = copies(model, names)
        change(model, {name: tensor + 0.3 for name, tensor in own.items()})
        run = Run(model, tokenizer, base_tensors=own)
        plan = [(NONE, asked), (span(model, junk), asked)]
        found.append((evaluate_clearings(run, plan, "test"), agreement.measure(run, plan, "test")))
    (answers, distances), (again, distances_again) = found
    assert json.dumps(distances) == json.dumps(distances_again)
    for row, other in zip(answers, again, strict=True):
        assert row | {"scores": [], "nll": 0} == other | {"scores": [], "nll": 0}
        assert [*row["scores"], row["nll"]] == pytest.approx([*other["scores"], other["nll"]], abs=1e-4)
    assert len({row["nll"] for row in answers}) > len(answers) / 2, "clearing changes what is answered"
