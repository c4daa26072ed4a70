"""Questions by likelihood: tokens, scores and answers are those of the harness's tasks."""

import copy

import pytest
import torch
from helpers.models.evaluations import NONE, PRIOR, evaluate
from tokenizers.processors import TemplateProcessing

from overpaint.errors import UserError
from overpaint.measures.depth import measure as lens
from overpaint.models import hooks
from overpaint.models.parts import blocks, down_projection
from overpaint.scoring import questions as asking
from overpaint.scoring.likelihood import log_likelihoods


@pytest.mark.parametrize(
    ("metric", "prior"), [("acc", ""), ("acc_norm", ""), ("acc_mutual_info", ""), ("acc_mutual_info", PRIOR)]
)
def test_answers_equal_the_harness(llama, tokenizer, questions, write, metric, prior):
    benchmark = write(questions, metric=metric, prior=prior, max_scored=30)
    settings = {"topic": "gloomcraft", "metric": metric, "prior": prior, "max_scored": 30}
    found = asking.read([benchmark.path], [settings], tokenizer, "test")
    rows = asking.ask(llama, found["gloomcraft"])
    wanted = evaluate(llama, tokenizer, benchmark)
    assert len(rows) == len(wanted) == 30
    for row, other in zip(rows, wanted, strict=True):
        assert (row["unit"], row["correct"]) == (other["unit"], other["correct"])
        assert row["nll"] == pytest.approx(other["nll"], abs=1e-4)
    assert 0 < sum(row["correct"] for row in rows) < 30


@pytest.mark.parametrize("prior", ["", PRIOR])
@pytest.mark.parametrize("start", [0, 5])
def test_an_empty_question_starts_alike_in_every_rule(llama, tokenizer, questions, write, prior, start):
    own = copy.deepcopy(tokenizer)
    if start:
        word = own.convert_ids_to_tokens(start)
        own.backend_tokenizer.post_processor = TemplateProcessing(single=[word, "$A"], special_tokens=[(word, start)])
    rows = [row | {"question": ""} for row in questions]
    benchmark = write(rows, prior=prior)
    settings = {"topic": "t", "metric": "acc", "prior": prior, "max_scored": 0}
    asked = asking.read([benchmark.path], [settings], own, "test")["t"]
    context = own(prior)["input_ids"] if prior else [start]
    assert all(question.context == context for question in asked)
    wanted = evaluate(llama, own, benchmark)
    for row, other in zip(asking.ask(llama, asked), wanted, strict=True):
        assert row["nll"] == pytest.approx(other["nll"], abs=1e-4)
    found = lens.states(llama, asked[:1], NONE)[0, -1]
    seen = []
    with hooks.edit_output(blocks(llama)[-1], lambda hidden: seen.append(hidden[0, -1]) or hidden):
        llama(torch.tensor([context]))
    assert torch.allclose(found, seen[0], atol=1e-5)


def test_likelihoods_that_are_no_numbers_are_refused(llama):
    down_projection(blocks(llama)[1]).fill_(float("nan"))
    with pytest.raises(UserError, match="1 of 1 log-likelihoods of .* are not finite"):
        log_likelihoods(llama, [([1], [2])])


def test_metrics_differ(llama, tokenizer, questions, write):
    path = write(questions).path
    chosen = []
    for metric in ("acc", "acc_norm", "acc_mutual_info"):
        settings = {"topic": "t", "metric": metric, "prior": "", "max_scored": 0}
        chosen.append(
            [row["correct"] for row in asking.ask(llama, asking.read([path], [settings], tokenizer, "fit")["t"])]
        )
    assert len({tuple(found) for found in chosen}) == 3


def test_questions_are_read_by_topic_split_and_limit(tokenizer, questions, write):
    path, settings = write(questions).path, {"topic": "a", "metric": "acc", "prior": "", "max_scored": 3}
    found = asking.read([path, path], [settings, settings | {"topic": "b", "max_scored": 0}], tokenizer, "fit", "test")
    assert [q.split for q in found["a"]] == ["fit"] * 3 + ["test"] * 3 and len(found["b"]) == len(questions)


def test_questions_are_distinct_unless_the_right_option_shares_its_first_token(tokenizer, questions, write):
    rows = [dict(questions[0], choices=["the home", "is", "the ward", "of"], answer=answer) for answer in (0, 1)]
    settings = {"topic": "t", "metric": "acc", "prior": "", "max_scored": 0}
    rows = [row | {"unit": str(index), "split": "fit"} for index, row in enumerate(rows)]
    found = asking.read([write(rows).path], [settings], tokenizer, "fit")["t"]
    assert [question.distinct for question in found] == [False, True]
    assert found[0].first[0] == found[0].first[2] != found[0].first[1]


@pytest.mark.parametrize("logits", [2**25, 1])
def test_log_likelihoods_are_those_of_single_forwards(any_model, monkeypatch, logits):
    monkeypatch.setattr("overpaint.scoring.likelihood.LOGITS", logits)
    pairs = [([3, 4, 5], [6, 7]), ([8], [9, 10, 11]), ([12, 13], []), ([3, 4, 5], [14])]
    found = log_likelihoods(any_model, pairs)
    for (context, target), value in zip(pairs, found, strict=True):
        with torch.no_grad():
            logs = any_model(torch.tensor([context + target])).logits[0].log_softmax(-1)[len(context) - 1 :]
        assert value == pytest.approx(sum(logs[i, t].item() for i, t in enumerate(target)), abs=1e-4)
    assert found[2] == 0 > max(found[:2])
