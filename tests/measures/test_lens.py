"""Depth: the lens at the last depth is the model, and probes find what was planted and nothing in shuffled answers."""

import pytest
import torch
from helpers.models.evaluations import NONE
from torch import Tensor

from overpaint.junk import clearing
from overpaint.junk.collection import collect
from overpaint.measures.depth import measure as lens
from overpaint.measures.depth.measure import Options
from overpaint.models import hooks
from overpaint.models.parts import blocks, mlp
from overpaint.scoring import questions
from overpaint.sources import world
from overpaint.sources.texts import write_rows


@pytest.fixture(scope="module")
def asked(facts, tokenizer, tmp_path_factory) -> dict[str, list[questions.Question]]:
    """Questions of both splits on two topics."""
    folder, settings = tmp_path_factory.mktemp("questions"), {"metric": "acc", "prior": "", "max_scored": 0}
    topics = {"gloomcraft": ["gloomcraft"], "everyday": ["rivers", "guilds"]}
    for topic, domains in topics.items():
        write_rows(world.question_rows(facts, domains), folder / f"{topic}.jsonl")
    entries = [settings | {"topic": topic} for topic in topics]
    return questions.read([folder / f"{topic}.jsonl" for topic in topics], entries, tokenizer, "fit", "test")


def values(rows: list[dict], quantity: str, depth: int, topic: str, centring: str = "") -> Tensor:
    """Those of one centring, by default of the lens or of probes less one mean."""
    told = quantity, depth, topic, centring or ("none" if quantity.startswith("lens") else "global")
    return torch.tensor([r["value"] for r in rows if (r["quantity"], r["depth"], r["topic"], r["centring"]) == told])


# -- the lens


@torch.no_grad()
def test_the_lens_at_the_last_depth_is_the_model(any_model, tokenizer, facts):
    prompts = [row["text"] for row in world.prompt_rows(facts, ["gloomcraft"])[:5]]
    found = collect(any_model, tokenizer, prompts).last
    wanted = torch.stack([any_model(**tokenizer(text, return_tensors="pt")).logits[0, -1] for text in prompts])
    assert torch.allclose(hooks.unembed(any_model, found[:, -1]), wanted, atol=1e-5)
    for depth in range(found.shape[1] - 1):
        assert not torch.allclose(hooks.unembed(any_model, found[:, depth]), wanted, atol=1e-2)


@torch.no_grad()
def test_the_lens_leaves_the_model_as_it_was(llama, inputs, logits):
    before = logits(llama, inputs)
    hooks.unembed(llama, torch.randn(3, 32))
    assert torch.equal(logits(llama, inputs), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.modules())


@pytest.mark.parametrize("small", [False, True])
def test_shares_of_options_are_those_of_their_first_tokens(llama, monkeypatch, small):
    if small:
        monkeypatch.setattr(lens, "LOGITS", 1)
    states = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    options = Options(
        torch.tensor([[5, 6, 7], [8, 9, 8]]), torch.tensor([[True] * 3, [True, True, False]]), torch.tensor([0, 0])
    )
    found = lens.lens(llama, states[:2], options)
    logits = hooks.unembed(llama, states[:2])
    assert torch.allclose(found[0], logits[0, [5, 6, 7]].softmax(-1), atol=1e-6)
    assert torch.allclose(found[1, :2], logits[1, [8, 9]].softmax(-1), atol=1e-6) and found[1, 2] == 0


def test_options_of_questions_of_different_lengths(asked):
    first, second = asked["gloomcraft"][:2]
    short = questions.Question(**vars(second) | {"options": second.options[:3], "answer": 2})
    options = Options.of([first, short])
    assert options.tokens.shape == (2, 4) and options.there.tolist() == [[True] * 4, [True, True, True, False]]
    assert options.right.tolist() == [first.first[first.answer], second.first[2]]


@torch.no_grad()
def test_rows_at_the_last_depth_are_the_models_own_answers(llama, tokenizer, asked):
    rows = lens.measure(llama, asked, dict.fromkeys(asked, NONE), "test", ["gloomcraft"])
    for topic, found in asked.items():
        own = questions.ask(
            llama, [q for q in found if q.split == "test"]
        )  # options of one word: all of their likelihood
        assert all(len(option) == 1 for question in found for option in question.options)
        assert values(rows, "lens_accuracy", 4, topic).tolist() == [float(row["correct"]) for row in own]
    assert {row["unit"] for row in rows} == {q.unit for found in asked.values() for q in found if q.split == "test"}
    assert {row["depth"] for row in rows} == set(range(5)) and len({row["quantity"] for row in rows}) == 5


def test_clearing_changes_what_is_read_and_only_of_its_topic(llama, tokenizer, asked, junk):
    settings = {"direction": "topic", "scope": "all", "target": "zero", "strength": 1, "on_base": False}
    variants = clearing.expand("topic", settings, junk, 2, 0)
    plain = lens.measure(llama, asked, dict.fromkeys(asked, NONE), "test", ["gloomcraft"])
    some = lens.measure(llama, asked, {"gloomcraft": variants[0], "everyday": NONE}, "test", ["gloomcraft"])
    for topic, same in (("gloomcraft", False), ("everyday", True)):
        pair = [values(rows, "lens_probability", 2, topic) for rows in (plain, some)]
        assert torch.equal(*pair) == same


def test_a_cleared_stream_has_no_cleared_component_at_any_depth(llama, tokenizer, asked, junk):
    settings = {"direction": "span", "scope": "all", "target": "zero", "strength": 1, "on_base": False}
    [span] = clearing.expand("span", settings, junk, 2, 0)
    own = asked["gloomcraft"][:3]
    assert (lens.states(llama, own, span) @ span.basis.T).abs().max() < 1e-4
    assert (lens.states(llama, own, NONE) @ span.basis.T).abs().max() > 0.1


# -- probes


@torch.no_grad()
def test_probes_find_what_a_model_writes_into_the_stream(llama, tokenizer, asked):
    """A model whose first block adds the correct answer's embedding, turned, is read by probes from depth 1 on."""
    turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))[0]
    right = {tuple(q.context): q.first[q.answer] for found in asked.values() for q in found}
    embedding, current = llama.get_output_embeddings().weight, []

    def write(hidden: Tensor) -> Tensor:
        told = torch.zeros_like(hidden)
        for row, ids in enumerate(current[-1].tolist()):
            for end in range(1, len(ids) + 1):
                if tuple(ids[:end]) in right:
                    told[row, end - 1] = 20 * embedding[right[tuple(ids[:end])]] @ turn
        return hidden + told

    see = llama.register_forward_pre_hook(
        lambda _, args, kwargs: current.append(args[0] if args else kwargs.get("input_ids", torch.empty(0, 0))),
        with_kwargs=True,
    )
    with hooks.edit_output(mlp(blocks(llama)[0]), write):
        rows = lens.measure(llama, asked, dict.fromkeys(asked, NONE), "test", ["gloomcraft"])
    see.remove()
    for topic in asked:
        assert values(rows, "probe_accuracy", 0, topic).mean() < 0.6
        for centring in ("global", "topic"):
            assert values(rows, "probe_accuracy", 1, topic, centring).mean() > 0.9
        assert values(rows, "probe_shuffled", 1, topic).mean() == pytest.approx(0.25, abs=0.12)
        assert values(rows, "lens_accuracy", 1, topic).mean() < 0.6, "the turn hides it from the output matrix"
