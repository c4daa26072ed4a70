"""Depth: the lens at the last depth is the model, and probes find what was planted and nothing in shuffled answers."""

import pytest
import torch
from helpers.models.evaluations import NONE
from torch import Tensor

from overpaint.errors import UserError
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


def values(rows: list[dict], quantity: str, depth: int, topic: str) -> Tensor:
    chosen = [r["value"] for r in rows if (r["quantity"], r["depth"], r["topic"]) == (quantity, depth, topic)]
    return torch.tensor(chosen)


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
    rows = lens.measure(llama, asked, dict.fromkeys(asked, NONE), "test")
    for topic, found in asked.items():
        own = questions.ask(
            llama, [q for q in found if q.split == "test"]
        )  # options of one word: all of their likelihood
        assert all(len(option) == 1 for question in found for option in question.options)
        assert values(rows, "lens_accuracy", 4, topic).tolist() == [float(row["correct"]) for row in own]
    assert {row["unit"] for row in rows} == {q.unit for found in asked.values() for q in found if q.split == "test"}
    assert {row["depth"] for row in rows} == set(range(5)) and len({row["quantity"] for row in rows}) == 4


def test_clearing_changes_what_is_read_and_only_of_its_topic(llama, tokenizer, asked, junk):
    settings = {"direction": "topic", "scope": "all", "target": "zero", "strength": 1, "on_base": False}
    variants = clearing.expand("topic", settings, junk, 2, 0)
    plain = lens.measure(llama, asked, dict.fromkeys(asked, NONE), "test")
    some = lens.measure(llama, asked, {"gloomcraft": variants[0], "everyday": NONE}, "test")
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


def planted(count: int, seed: int, signal: float = 1.0, junk: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """States [n, 24] that hold their answer's embedding through a fixed linear map; answers; options [n, 4, 8]."""
    generator = torch.Generator().manual_seed(1)
    mixing, embedding = torch.randn(8, 24, generator=generator), torch.randn(40, 8, generator=generator)
    draw = torch.Generator().manual_seed(seed)
    answers = torch.randint(40, (count,), generator=draw)
    options = torch.stack([(answers + 7 * k) % 40 for k in range(4)], 1)
    states = signal * embedding[answers] @ mixing + torch.randn(count, 24, generator=draw)
    return (states + junk).double(), embedding[answers].double(), embedding[options].double()


def share(train: tuple, test: tuple) -> float:
    [scores] = lens.probe(train[0], test[0], test[2], train[1])
    return lens.correct(scores, torch.zeros(len(scores), dtype=torch.long)).mean().item()


def test_a_planted_linear_signal_is_found_in_states_that_were_not_fitted():
    assert share(planted(300, 2, signal=3), planted(200, 3, signal=3)) > 0.98


def test_without_the_signal_or_with_shuffled_answers_probes_are_at_chance():
    train, test = planted(300, 2, signal=3), planted(200, 3, signal=3)
    assert share(planted(300, 2, signal=0), planted(200, 3, signal=0)) == pytest.approx(0.25, abs=0.1)
    shuffled = [share((train[0], train[1][order]), test) for order in lens._shuffles(["t"] * 300)]
    assert sum(shuffled) / len(shuffled) == pytest.approx(0.25, abs=0.06)


def test_an_answer_that_no_fitted_question_had_is_found_too():
    states, answers, options = planted(400, 2, signal=3)
    known = (answers != answers[0]).any(1)
    assert 0 < (~known).sum() < 40
    unseen = (states[~known], None, options[~known])
    assert share((states[known], answers[known]), unseen) > 0.9


def test_states_that_are_all_alike_give_chance():
    zeros = torch.zeros(10, 24, dtype=torch.double)
    _, answers, options = planted(10, 2)
    assert share((zeros, answers), (zeros, None, options)) == 0.25


def test_each_topics_mean_is_its_own_intercept():
    found = torch.randn(8, 2, 5, generator=torch.Generator().manual_seed(0))
    groups, fitted = ["a"] * 4 + ["b"] * 4, [True, True, False, False] * 2
    moved = found.clone()
    moved[:4] += 100
    assert torch.allclose(lens.centred(moved, groups, fitted), lens.centred(found, groups, fitted), atol=1e-4)
    assert lens.centred(found, groups, fitted)[:2].mean(0).abs().max() < 1e-6
    assert lens.centred(found, groups, fitted)[2:4].mean(0).abs().max() > 1e-2
    with pytest.raises(UserError, match=r"All questions on 'b' are of the split that is shown.*study\.measures\.depth"):
        lens.centred(found, groups, [True] * 4 + [False] * 4)


def test_shuffles_move_answers_within_their_topic_and_are_always_the_same():
    topics = ["a", "b"] * 20
    orders = lens._shuffles(topics)
    assert len(orders) == lens.SHUFFLES and len({tuple(order.tolist()) for order in orders}) == lens.SHUFFLES
    for order in orders:
        assert sorted(order.tolist()) == list(range(40)) and all(topics[i] == topics[j] for i, j in enumerate(order))
    assert all(torch.equal(*pair) for pair in zip(orders, lens._shuffles(topics), strict=True))


def test_ties_are_shared():
    scores = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    assert lens.correct(scores, torch.tensor([0, 0, 0])).tolist() == [0.5, 0, 1]


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
        rows = lens.measure(llama, asked, dict.fromkeys(asked, NONE), "test")
    see.remove()
    for topic in asked:
        assert values(rows, "probe_accuracy", 0, topic).mean() < 0.6
        assert values(rows, "probe_accuracy", 1, topic).mean() > 0.9
        assert values(rows, "probe_shuffled", 1, topic).mean() == pytest.approx(0.25, abs=0.12)
        assert values(rows, "lens_accuracy", 1, topic).mean() < 0.6, "the turn hides it from the output matrix"
