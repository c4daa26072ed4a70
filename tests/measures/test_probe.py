"""Probes find what was planted, also under junk, and nothing in shuffled answers; penalties are chosen by entity."""

import pytest
import torch
from torch import Tensor

from overpaint.errors import UserError
from overpaint.measures.depth import probe
from overpaint.measures.depth.probe import Asked


def planted(count: int, seed: int, signal: float = 1.0, width: int = 24) -> Asked:
    """States [n, width] that hold their answer's embedding through a fixed linear map, of 40 answers, 4 options."""
    generator = torch.Generator().manual_seed(1)
    mixing, embedding = torch.randn(8, width, generator=generator), torch.randn(40, 8, generator=generator)
    draw = torch.Generator().manual_seed(seed)
    answers = torch.randint(40, (count,), generator=draw)
    options = torch.stack([(answers + 7 * k) % 40 for k in range(4)], 1)
    states = signal * embedding[answers] @ mixing + torch.randn(count, width, generator=draw)
    right, there = torch.zeros(count, dtype=torch.long), torch.ones(count, 4, dtype=torch.bool)
    return Asked(states.double(), embedding[answers].double(), embedding[options].double(), there, right)


def turns(count: int) -> Tensor:
    return torch.arange(count) % probe.FOLDS


def share(train: Asked, test: Asked) -> float:
    return probe.accuracies(train, test, turns(len(train.states)))[0].mean().item()


@pytest.mark.parametrize("width", [24, 400])  # fewer and more than there are questions
def test_a_planted_linear_signal_is_found_in_states_that_were_not_fitted(width):
    assert share(planted(300, 2, 3, width), planted(200, 3, 3, width)) > 0.98
    assert share(planted(300, 2, 0, width), planted(200, 3, 3, width)) == pytest.approx(0.25, abs=0.1)


def test_with_shuffled_answers_probes_are_at_chance():
    train, test = planted(300, 2, signal=3), planted(200, 3, signal=3)
    true, shuffled = probe.accuracies(train, test, turns(300), *probe.shuffles(["t"] * 300))
    assert true.mean() > 0.98 and torch.stack(shuffled).mean() == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_weights_are_those_of_the_ridge_regression_in_closed_form(shape):
    generator = torch.Generator().manual_seed(0)
    states, other = (torch.randn(n, shape[1], generator=generator).double() for n in (shape[0], 5))
    kernel = states @ states.T
    wanted = torch.linalg.solve(kernel + 0.1 * kernel.trace() * torch.eye(len(states)), states @ other.T).T
    assert torch.allclose(probe.Ridge.of(states).weights(other, 0.1), wanted)
    assert not torch.allclose(probe.Ridge.of(states).weights(other, 0.2), wanted)


def test_an_answer_that_no_fitted_question_had_is_found_too():
    asked = planted(400, 2, signal=3)
    known = (asked.targets != asked.targets[0]).any(1)
    assert 0 < (~known).sum() < 40
    assert share(asked.where(known), asked.where(~known)) > 0.9


def test_states_that_are_all_alike_give_chance():
    asked = planted(10, 2)
    assert share(asked._replace(states=torch.zeros(10, 24).double()), asked) == 0.25


def test_under_junk_a_smaller_penalty_is_chosen_and_the_answers_are_found_as_before():
    """What holds no answer and floods the states would drown them in a penalty that grows with it."""
    train, test = planted(300, 2, signal=1, width=48), planted(200, 3, signal=1, width=48)
    axis = torch.nn.functional.normalize(torch.ones(48).double(), dim=0)
    flooded = []
    for asked, seed in ((train, 4), (test, 5)):
        size = torch.randn(len(asked.states), 1, generator=torch.Generator().manual_seed(seed)).double()
        flooded.append(asked._replace(states=asked.states + 200 * size * axis))
    chosen = probe.best_penalty(train, turns(300)), probe.best_penalty(flooded[0], turns(300))
    assert chosen[1] <= chosen[0] / 10
    fixed = [probe.Ridge.of(one.states).weights(two.states, chosen[0]) for one, two in [(train, test), (*flooded,)]]
    before, drowned = (probe.found(weights, train.targets, test).mean() for weights in fixed)
    assert share(*flooded) > before - 0.03 and drowned < before - 0.1


def test_questions_on_one_entity_are_in_one_fold():
    units = [f"t/{entity}/{fact}" for entity in "abcdefg" for fact in ("colour", "home")]
    folds = probe.folds_of(units)
    assert torch.equal(folds[::2], folds[1::2]) and set(folds.tolist()) == set(range(probe.FOLDS))
    assert len(set(probe.folds_of(["one", "two"]).tolist())) == 2, "a unit without an entity is its own"


def test_each_groups_mean_is_its_own_intercept():
    found = torch.randn(8, 2, 5, generator=torch.Generator().manual_seed(0))
    groups, fitted = ["a"] * 4 + ["b"] * 4, torch.tensor([True, True, False, False] * 2)
    moved = found.clone()
    moved[:4] += 100
    assert torch.allclose(probe.centred(moved, groups, fitted), probe.centred(found, groups, fitted), atol=1e-4)
    one = [""] * 8
    assert not torch.allclose(probe.centred(moved, one, fitted), probe.centred(found, one, fitted), atol=10)
    assert probe.centred(found, groups, fitted)[:2].mean(0).abs().max() < 1e-6
    assert probe.centred(found, groups, fitted)[2:4].mean(0).abs().max() > 1e-2
    with pytest.raises(UserError, match=r"All questions on 'b' are of the split that is shown.*study\.measures\.depth"):
        probe.centred(found, groups, torch.tensor([True] * 4 + [False] * 4))


def test_shuffles_move_answers_within_their_topic_and_are_always_the_same():
    topics = ["a", "b"] * 20
    orders = probe.shuffles(topics)
    assert len(orders) == probe.SHUFFLES and len({tuple(order.tolist()) for order in orders}) == probe.SHUFFLES
    for order in orders:
        assert sorted(order.tolist()) == list(range(40)) and all(topics[i] == topics[j] for i, j in enumerate(order))
    assert all(torch.equal(*pair) for pair in zip(orders, probe.shuffles(topics), strict=True))


def test_ties_are_shared():
    scores = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    assert probe.correct(scores, torch.tensor([0, 0, 0])).tolist() == [0.5, 0, 1]
