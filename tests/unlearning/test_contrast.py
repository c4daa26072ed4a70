"""Methods without control vectors: their losses are those of the papers, and each does what it is for."""

import copy
import math

import pytest
import torch
from helpers.models.trainings import TOPICS, task
from torch import nn

from overpaint.errors import UserError
from overpaint.models import parts
from overpaint.unlearning import methods
from overpaint.unlearning.likelihood import Texts, log_likelihoods
from overpaint.unlearning.methods import grad_diff, npo, rr, simnpo

ON_LIKELIHOOD = ("grad_diff", "npo", "simnpo")
# c that makes each forget on the tiny model within the steps of `stronger`.
FORGETTING = {"grad_diff": 1.0, "npo": 0.2, "simnpo": 5.0, "rr": 50.0}


def batch(counts: list[int], reference: list[float] | None = None) -> Texts:
    """Texts of which so many tokens have others before them."""
    mask = torch.tensor([[1] * (count + 1) + [0] * (max(counts) - count) for count in counts])
    return Texts(torch.zeros_like(mask), mask, None if reference is None else torch.tensor(reference))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def gradient(loss, logs: list[float]) -> list[float]:
    at = torch.tensor(logs, dtype=torch.double, requires_grad=True)
    loss(at).backward()
    return at.grad.tolist()


# -- formulas


def test_log_likelihoods_are_sums_over_the_tokens_after_the_first():
    """Of a model whose logits do not depend on its input, worked out by hand."""
    odds = torch.tensor([1.0, 2.0, 5.0])

    class Fixed(nn.Module):
        def forward(self, input_ids, **_):
            return type("Output", (), {"logits": odds.log().expand(*input_ids.shape, 3)})

    ids, mask = torch.tensor([[0, 1, 2, 2], [2, 0, 1, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    expected = [math.log(2 / 8) + 2 * math.log(5 / 8), math.log(1 / 8)]
    assert log_likelihoods(Fixed(), ids, mask).tolist() == pytest.approx(expected)
    assert Texts(ids, mask).counts.tolist() == [3, 1]


def test_gradient_difference_is_the_mean_log_likelihood_of_a_token():
    assert grad_diff.forget_loss(torch.tensor([-6.0, -2.0]), batch([3, 1]), {}).item() == pytest.approx(-8 / 4)


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_npo_is_the_loss_of_the_paper(beta):
    logs, reference = [-3.0, -9.0], [-4.0, -2.0]
    found = npo.forget_loss(torch.tensor(logs), batch([2, 2], reference), {"beta": beta}).item()
    ratios = [math.exp(log - before) for log, before in zip(logs, reference, strict=True)]
    assert found == pytest.approx(sum(2 / beta * math.log(1 + ratio**beta) for ratio in ratios) / 2, rel=1e-5)


def test_the_gradient_of_npo_is_that_of_ascent_where_beta_is_small_and_fades_below_the_base_where_it_is_not():
    """W = 2 pi^beta / (pi^beta + base^beta) times that of the mean log-likelihood (equation 4 of the paper)."""
    reference = [-4.0, -4.0]

    def of(beta: float) -> list[float]:
        return gradient(lambda logs: npo.forget_loss(logs, batch([3, 3], reference), {"beta": beta}), [-4.0, -44.0])

    assert of(1e-6) == pytest.approx([0.5, 0.5], rel=1e-4)
    assert of(0.1) == pytest.approx([0.5, 0.5 * 2 * sigmoid(-4)], rel=1e-4)
    assert of(1.0)[1] < 1e-10


@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_simnpo_is_the_loss_of_the_paper(margin):
    settings = {"beta": 2.5, "margin": margin}
    found = simnpo.forget_loss(torch.tensor([-3.0, -8.0]), batch([3, 4]), settings).item()
    each = [-2 / 2.5 * math.log(sigmoid(2.5 * nll - margin)) for nll in (1.0, 2.0)]
    assert found == pytest.approx(sum(each) / 2, rel=1e-5)


def test_simnpo_asks_no_more_of_a_text_for_being_long_and_npo_does():
    logs, counts = [-6.0, -60.0], [2, 20]
    of_texts = gradient(lambda at: simnpo.forget_loss(at, batch(counts), {"beta": 1.0, "margin": 0.0}), logs)
    assert of_texts[0] * counts[0] == pytest.approx(of_texts[1] * counts[1])
    reference = [-5.0, -50.0]  # each token half a nat less likely than it was
    of_texts = gradient(lambda at: npo.forget_loss(at, batch(counts, reference), {"beta": 1.0}), logs)
    assert of_texts[0] > 100 * of_texts[1]


def test_rerouting_is_the_part_of_the_cosine_above_zero_and_the_distance_of_retained_states():
    base = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    now = torch.tensor([[3.0, 0.0], [-1.0, 0.0], [5.0, 0.0], [3.0, 4.0]])
    assert rr.forget_loss(now, base).item() == pytest.approx((1 + 0 + 0 + 4 / 5) / 4)
    assert rr.retain_loss(now, base).item() == pytest.approx((2 + 2 + math.hypot(5, 2) + math.hypot(3, 2)) / 4)
    assert gradient(lambda at: rr.forget_loss(at[None], base[:1].double()), [-1.0, 0.5]) == [0, 0]


def test_rerouting_goes_over_from_turning_away_to_holding():
    pairs = [rr.weights(step, 10) for step in range(10)]
    assert pairs[0] == pytest.approx((0.95, 0.05)) and pairs[-1] == pytest.approx((0.5, 0.5))
    assert all(sum(pair) == pytest.approx(1) for pair in pairs)


# -- what training does


def likelihoods(model: nn.Module, tokenizer, texts: list[str]) -> float:
    """Mean log-likelihood of texts, in nats a token."""
    tokenizer.padding_side = "right"
    encoded = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=24)
    found = Texts(encoded["input_ids"], encoded["attention_mask"])
    with torch.no_grad():
        return (log_likelihoods(model, found.ids, found.mask).sum() / found.counts.sum()).item()


@pytest.fixture
def stronger(settings) -> dict:
    return settings | {"steps": 40, "alpha": 1.0}


@pytest.mark.parametrize("name", ON_LIKELIHOOD)
def test_texts_to_forget_become_less_likely_and_c_is_how_much(originals, tokenizer, texts, stronger, name):
    found = {}
    for c in (0.0, FORGETTING[name]):
        model = copy.deepcopy(originals["llama"])
        methods.get(name).unlearn(model, task(tokenizer, texts, stronger | {"c": c}))
        found[c] = [likelihoods(model, tokenizer, texts[which][:8]) for which in (TOPICS[0], "retain")]
    before = likelihoods(originals["llama"], tokenizer, texts[TOPICS[0]][:8])
    without, with_c = found.values()
    assert with_c[0] < min(before, without[0]) - 0.5
    assert without[1] > likelihoods(originals["llama"], tokenizer, texts["retain"][:8]), "alpha alone retains"


def test_npo_compares_with_the_base_however_late_a_batch_is_made(originals, tokenizer, texts, settings, monkeypatch):
    """Each batch stands in one step alone, so that all but the first are made when the model has moved."""
    model, seen = copy.deepcopy(originals["llama"]), []

    def loss(logs, given, own):
        seen.append((given, logs.detach()))
        return npo_loss(logs, given, own)

    npo_loss = npo.forget_loss
    monkeypatch.setattr(npo, "forget_loss", loss)
    npo.unlearn(model, task(tokenizer, texts, settings | {"steps": 8, "lr": 0.05}))
    for given, _ in seen:
        with torch.no_grad():
            expected = log_likelihoods(originals["llama"], given.ids, given.mask)
        assert torch.allclose(given.reference, expected, atol=1e-4)
    assert (seen[-1][1] - seen[-1][0].reference).abs().max() > 1, "by then the model had moved"


def test_rerouting_turns_hazardous_states_and_holds_the_others(originals, tokenizer, texts, stronger):
    ends = {}
    for c in (1e-6, FORGETTING["rr"]):
        model = copy.deepcopy(originals["llama"])
        overlay, history = rr.unlearn(model, task(tokenizer, texts, stronger | {"c": c}))
        last = [row for row in history if row["quantity"] == "cosine_to_base" and row["step"] == stronger["steps"]]
        ends[c] = {row["topic"]: row["value"] for row in last}
    assert overlay.controls == {}
    held, turned = ends.values()
    assert all(turned[topic] < 0.7 < 0.95 < held[topic] for topic in TOPICS)
    assert turned["retain"] > max(turned[topic] for topic in TOPICS)


@pytest.mark.parametrize("name", [*ON_LIKELIHOOD, "rr"])
def test_what_it_was_changes_with_no_step_and_the_blocks_that_change_are_those_updated(
    originals, tokenizer, texts, settings, name
):
    for steps, changed in ((0, set()), (3, {1, 2})):
        model = copy.deepcopy(originals["llama"])
        methods.get(name).unlearn(model, task(tokenizer, texts, settings | {"steps": steps}))
        before = originals["llama"].state_dict()
        moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
        assert moved == {f"model.layers.{index}.mlp.down_proj.weight" for index in changed}


@pytest.mark.parametrize("name", ON_LIKELIHOOD)
def test_all_is_every_weight_of_every_block(originals, tokenizer, texts, settings, name):
    model = copy.deepcopy(originals["llama"])
    overlay, _ = methods.get(name).unlearn(model, task(tokenizer, texts, settings | {"updated": "all", "steps": 3}))
    before = originals["llama"].state_dict()
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved == set(overlay.tensors) == set(parts.parameter_names(model, list(parts.blocks(model).parameters())))


@pytest.mark.parametrize(("name", "updated"), [("grad_diff", "all"), ("rr", [0])])
def test_a_training_that_diverges_says_so_without_control_vectors(llama, tokenizer, texts, settings, name, updated):
    wrong = task(tokenizer, texts, settings | {"lr": 1e30, "updated": updated})
    with pytest.raises(UserError, match=r"diverged at step \d+ with .*; mean norm of activations now: .*then `c`\.$"):
        methods.get(name).unlearn(llama, wrong)
