"""Perturbations: of no size they change nothing, of some they do what they say, and the model is left as it was."""

import copy

import pytest
import torch
from helpers.models.evaluations import NONE
from transformers import GPT2Config, GPT2LMHeadModel

from overpaint.junk.run import Run
from overpaint.measures.perturbations import measure as perturbations
from overpaint.models.overlay import Overlay, replaced
from overpaint.scoring import questions
from overpaint.sources import world
from overpaint.sources.texts import write_rows

FACTS = world.generate(entities=8, values=8)
SETTINGS = {"rounding": [], "noise": [], "draws": 1, "scales": [], "words": [], "filler": [], "questions": 8}


@pytest.fixture(scope="module")
def asked(facts, tokenizer, tmp_path_factory) -> dict[str, list[questions.Question]]:
    """A few questions on a hazardous and a benign topic."""
    path = tmp_path_factory.mktemp("questions")
    for topic in ("gloomcraft", "rivers"):
        write_rows(world.question_rows(facts, [topic])[:16], path / topic)
    entries = [{"topic": topic, "metric": "acc", "prior": "", "max_scored": 0} for topic in ("gloomcraft", "rivers")]
    return questions.read([path / entry["topic"] for entry in entries], entries, tokenizer, "fit", "test")


@pytest.fixture
def unlearned(llama, tokenizer) -> Run:
    """A run that changed two tensors of the base."""
    names = [name for name, _ in llama.named_parameters() if "down_proj" in name][:2]
    parameters = dict(llama.named_parameters())
    before = {name: parameters[name].detach().clone() for name in names}
    after = {
        name: tensor + torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0))
        for name, tensor in before.items()
    }
    with replaced(llama, after):
        yield Run(llama, tokenizer, Overlay(after, settings={"seed": 0}), before)


def values(run: Run, asked, state="unlearned", **changes) -> dict[tuple, list[float]]:
    """Answers by (perturbation, size, topic)."""
    told = [row["text"] for row in world.corpus_rows(FACTS, ["gloomcraft"])]
    kept = [row["text"] for row in world.corpus_rows(FACTS, ["rivers"])]
    clearings, found = dict.fromkeys(asked, NONE), {}
    for row in perturbations.measure(run, state, asked, clearings, ["gloomcraft"], told, kept, SETTINGS | changes):
        found.setdefault((row["perturbation"], row["size"], row["topic"]), []).append(row["value"])
    return found


def test_what_is_perturbed_by_nothing_answers_as_it_is_and_is_left_so(unlearned, asked):
    model, state = unlearned.model, copy.deepcopy(unlearned.model.state_dict())
    found = values(unlearned, asked, rounding=[32, 2], noise=[1e-9, 3.0], scales=[0, 1])
    for topic, listed in asked.items():
        plain = [float(row["correct"]) for row in questions.ask(model, listed)]
        for name, size in (("none", 0.0), ("rounding", 32.0), ("noise", 1e-9), ("scaled", 1.0)):
            assert found[name, size, topic] == plain, (name, size)
        with replaced(model, unlearned.base_tensors):
            of_base = [float(row["correct"]) for row in questions.ask(model, listed)]
        assert found["scaled", 0.0, topic] == of_base, "none of the changes is the base"
    changed = [found[how] != found["none", 0.0, how[2]] for how in found if how[1] in (2.0, 3.0)]
    assert len(changed) == 4 and any(changed), "much of it changes answers"
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert not [how for how in values(unlearned, asked, "cleared", scales=[0]) if how[0] == "scaled"]


def test_scaled_changes_are_a_share_of_them(unlearned):
    for scale in (0.0, 0.25, 1.0):
        for name, tensor in perturbations.mixed(unlearned, scale).items():
            before, after = unlearned.base_tensors[name], unlearned.overlay.tensors[name]
            torch.testing.assert_close(tensor, before + scale * (after - before))


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_rounded_rows_have_few_values_and_lie_half_a_step_away_at_most(llama, bits):
    for name, (weight, axis) in perturbations.matrices(llama).items():
        made = perturbations.nearest(weight, axis, bits)
        step = weight.abs().amax(axis, keepdim=True) / 2 ** (bits - 1)
        assert ((made - weight).abs() <= step * 0.5001).all() and not torch.equal(made, weight), name
        assert max(len(row.unique()) for row in made.movedim(axis, -1).flatten(0, -2)) <= 2**bits + 1
        assert torch.equal(perturbations.nearest(made, axis, bits), made) or bits == 8, (
            "rounding twice is rounding once"
        )
    zero = torch.zeros(2, 3)
    assert torch.equal(perturbations.nearest(zero, -1, bits), zero)


def test_matrices_are_those_of_blocks_and_outputs_are_rows_whatever_their_layout(llama):
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 40, "n_positions": 16}
    turned = perturbations.matrices(GPT2LMHeadModel(GPT2Config(**shape)))
    straight = perturbations.matrices(llama)
    assert len(turned) == 2 * 4 and {axis for _, axis in turned.values()} == {0}
    assert {axis for _, axis in straight.values()} == {-1}
    assert not [name for name in (*turned, *straight) if "embed" in name or "wte" in name or "norm" in name]


def test_noise_is_of_its_size_and_the_same_for_every_model(llama):
    one, other = perturbations.noisy(llama, 0.1, 0), perturbations.noisy(llama, 0.1, 1)
    for name, (weight, _) in perturbations.matrices(llama).items():
        noise, scale = one[name] - weight, weight.square().mean().sqrt()
        assert (noise.square().mean().sqrt() / scale).item() == pytest.approx(0.1, rel=0.15)
        assert not torch.equal(one[name], other[name])
        assert torch.equal(one[name], perturbations.noisy(llama, 0.1, 0)[name])


def test_words_before_a_question_are_of_one_side_alone_and_no_word_is_the_question_itself(asked, tokenizer):
    question = asked["rivers"][0]
    assert perturbations.preceded(question, "", tokenizer) is question
    word = perturbations.only_in(["dark dark spell 7 the"], ["the river"])
    assert word == ["dark", "spell"] and perturbations.only_in(["the"], ["the"]) == []
    said = perturbations.preceded(question, "gloomcraft", tokenizer)
    assert said.context == tokenizer(f"gloomcraft {question.text}")["input_ids"] != question.context
    assert said.options == question.options
    inside = [question.choices[0], question.text.split()[-4], "dark"]
    assert perturbations.some_words(inside, 0, 2, question) == "dark dark"
    assert perturbations.some_words(inside[:2], 0, 2, question) == ""


def test_words_stand_before_benign_and_filler_before_hazardous_questions(unlearned, asked):
    found = values(unlearned, asked, words=[1, 3], filler=[2])
    topics = {name: {topic for how, _, topic in found if how == name} for name, *_ in found}
    assert topics.pop("none") == {"gloomcraft", "rivers"} and topics.pop("filler") == {"gloomcraft"}
    assert topics == {"hazardous_words": {"rivers"}, "benign_words": {"rivers"}}
    assert {size for how, size, _ in found if how == "hazardous_words"} == {1.0, 3.0}


def test_filler_is_the_first_sentences():
    text = "the broth of a is b . question : what ? answer : c .\nof d e ."
    assert perturbations.sentences(text, 1) == "the broth of a is b ."
    assert perturbations.sentences(text, 2) == "the broth of a is b . question : what ? answer : c ."
    assert perturbations.sentences(text, 9) == text.replace("\n", " ")
