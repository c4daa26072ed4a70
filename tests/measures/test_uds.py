"""The unlearning depth score: 0 of the base's own states, 1 of the naive model's, and known answers in between."""

import copy
from dataclasses import replace

import pandas as pd
import pytest
import torch

from overpaint.junk.run import Run
from overpaint.measures.uds import measure, table
from overpaint.models.hooks import edit_output
from overpaint.models.parts import blocks, mlp
from overpaint.scoring import questions
from overpaint.scoring.likelihood import log_likelihoods
from overpaint.sources import world
from overpaint.sources.texts import write_rows
from overpaint.tables.core import Study


@pytest.fixture(scope="module")
def asked(facts, tokenizer, tmp_path_factory) -> list[questions.Question]:
    """A dozen questions, of which every second one has an answer of three tokens."""
    path = tmp_path_factory.mktemp("uds") / "gloomcraft.jsonl"
    write_rows(world.question_rows(facts, ["gloomcraft"])[:12], path)
    settings = {"topic": "gloomcraft", "metric": "acc", "prior": "", "max_scored": 0}
    [found] = questions.read([path], [settings], tokenizer, "fit", "test").values()
    longer = [[option + found[0].options[0] + option for option in q.options] for q in found]
    return [replace(q, options=longer[i]) if i % 2 else q for i, q in enumerate(found)]


def damaged(model, block: int):
    """The model with another MLP in one block."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in mlp(blocks(other)[block]).parameters():
            parameter.mul_(-2)
    return other


def lost(model, asked, **sources) -> dict[str, torch.Tensor]:
    batched = measure.asked(model, asked)
    given = {name: measure.states(source, batched) for name, source in sources.items()}
    return measure.losses(model, batched, given, len(asked))


# --- what is lost by another model's states


def test_own_states_cost_nothing_and_those_of_a_model_that_differs_in_one_block_nothing_before_it(any_model, asked):
    other = damaged(any_model, 2)
    found = lost(any_model, asked, own=any_model, other=other)
    assert found["own"].abs().max() < 1e-4
    assert found["other"][:, :2].abs().max() < 1e-4 < found["other"][:, 2:].abs().min(0).values.max()


@torch.no_grad()
def test_what_is_lost_is_what_the_whole_model_loses_with_the_states_put_in(any_model, asked):
    other, question = damaged(any_model, 0), asked[1]
    answer = question.options[question.answer]
    tokens, seen = torch.tensor([question.context + answer]), []
    places = slice(len(question.context) - 1, len(question.context) - 1 + len(answer))
    with edit_output(blocks(other)[1], lambda hidden: seen.append(hidden) or hidden):
        other(tokens, use_cache=False)

    def put_in(hidden):
        hidden = hidden.clone()
        hidden[:, places] = seen[0][:, places]
        return hidden

    def score() -> float:
        logs = any_model(tokens, use_cache=False).logits[0, places].log_softmax(-1)
        return logs.gather(1, torch.tensor(answer)[:, None]).mean().item()

    before = score()
    with edit_output(blocks(any_model)[1], put_in):
        after = score()
    assert lost(any_model, asked, other=other)["other"][1, 1].item() == pytest.approx(before - after, abs=1e-5)


def test_a_score_is_the_mean_log_likelihood_of_the_answers_tokens(llama, asked):
    pairs = [(q.context, q.options[q.answer]) for q in asked]
    wanted = [value / len(answer) for value, (_, answer) in zip(log_likelihoods(llama, pairs), pairs, strict=True)]
    found = torch.zeros(len(asked), dtype=torch.double)
    for batch in measure.asked(llama, asked):
        found[batch.questions] = batch.score(llama(batch.tokens).logits)
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)


# --- the score


def test_a_score_is_the_share_of_what_can_be_lost_weighted_by_it():
    naive = torch.tensor([[2.0, 1.0, 0.01], [0.0, 0.01, 0.02], [4.0, 4.0, 1.0]])
    mine = torch.tensor([[1.0, 1.0, 0.01], [5.0, 5.0, 5.0], [-1.0, 9.0, 0.5]])
    uds, share = measure.shares(mine, naive, threshold=0.05)
    assert uds[0].item() == pytest.approx((1 + 1) / 3) and uds[1].isnan()  # the small block does not count
    assert uds[2].item() == pytest.approx((0 + 4 + 0.5) / 9)  # a gain counts as 0, a greater loss as 1
    assert share[0, :2].tolist() == pytest.approx([0.5, 1.0]) and share[0, 2].isnan() and share[1].isnan().all()


def test_the_base_scores_0_the_naive_model_1_and_a_part_of_its_damage_between(llama, asked):
    naive = damaged(damaged(llama, 1), 3)
    run = Run(llama, None)
    rows = pd.DataFrame(measure.measure(run, naive, {"fire": asked}, {"none": {"direction": "none"}}, 0.0))
    found = rows[rows.quantity == "uds"]
    assert set(found.state) == {"unlearned"} and found.value.abs().max() < 1e-4
    batched = measure.asked(llama, asked)
    states = {"naive": measure.states(naive, batched), "half": measure.states(damaged(llama, 1), batched)}
    costs = measure.losses(llama, batched, states, len(asked))
    whole, half = (measure.shares(costs[name], costs["naive"], 0.0)[0].nanmean() for name in ("naive", "half"))
    assert whole == pytest.approx(1) and 0.05 < half < 0.95


# --- the table


def rows(uds: dict[str, list[float]]) -> pd.DataFrame:
    """Scores by state, of a question of each unit, in the corpora and unseen by turns."""
    return pd.DataFrame(
        {"topic": "fire", "unit": f"u{i}", "part": ("in corpus", "unseen")[i % 2], "question": i, "state": state}
        | {"quantity": "uds", "block": -1, "value": value}
        for state, values in uds.items()
        for i, value in enumerate(values)
    )


RUNS = {"base": {"method": "base"}, "rmu/0": {"method": "rmu", "layer": 1, "c": 4, "seed": 0}}
STUDY = Study("study", "model", RUNS, ["fire"], {}, "span", [])


def test_the_three_parts_are_those_of_the_scores_and_come_to_one():
    made = table.table({"rmu/0": rows({"unlearned": [0.5, 0.9] * 6, "cleared": [0.1, 0.3] * 6})}, STUDY)
    mine = made[(made.seed == "0") & made.block.isna()]
    by_part = mine[mine.state == ""].pivot(index="part", columns="quantity", values="value")
    assert by_part.loc["in corpus"].to_dict() == pytest.approx({"untouched": 0.5, "painted_over": 0.4, "beneath": 0.1})
    assert by_part.loc["unseen"].to_dict() == pytest.approx({"untouched": 0.1, "painted_over": 0.6, "beneath": 0.3})
    assert by_part.loc["all"].to_dict() == pytest.approx({"untouched": 0.3, "painted_over": 0.5, "beneath": 0.2})
    assert by_part.sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_a_run_whose_clearing_was_not_scored_has_no_parts():
    made = table.table({"rmu/0": rows({"unlearned": [0.5, 0.9] * 6})}, STUDY)
    assert set(made.quantity) == {"uds"} and set(made.part) == {"all", "in corpus", "unseen"}
