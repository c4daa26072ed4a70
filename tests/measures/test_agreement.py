"""Agreement with the base: KL and top-1 tokens equal a direct computation, and vanish for the base itself."""

import copy

import pytest
import torch
from helpers.models.evaluations import NONE
from torch import nn

from overpaint.junk import clearing
from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.measures.agreement import measure as agreement
from overpaint.models.parts import blocks, down_projection, parameter_names
from overpaint.scoring.evaluation import Benchmark
from overpaint.sources import world
from overpaint.sources.texts import write_rows


@pytest.fixture(scope="module")
def benchmarks(facts, tmp_path_factory) -> list[Benchmark]:
    """Running text, cut to three rows, and questions, which say nothing here."""
    folder = tmp_path_factory.mktemp("texts")
    write_rows(world.text_rows(facts, ["gloomcraft"]), folder / "text.jsonl")
    write_rows(world.question_rows(facts, ["gloomcraft"]), folder / "questions.jsonl")
    text = Benchmark("text", "gloomcraft", folder / "text.jsonl", "perplexity", max_scored=3)
    return [text, Benchmark("questions", "gloomcraft", folder / "questions.jsonl", "acc")]


@pytest.fixture
def edited(llama) -> tuple[nn.Module, dict]:
    """A model with another down projection, and the tensors of the base that it replaced."""
    weight = down_projection(blocks(llama)[1])
    [name] = parameter_names(llama, [weight])
    before = {name: weight.detach().clone()}
    weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    return llama, before


def span(junk, on_base: bool = False) -> Clearing:
    settings = {"direction": "span", "scope": "all", "target": "zero", "strength": 1, "on_base": on_base}
    return clearing.expand("span", settings, junk, 2, 0)[0]


@torch.no_grad()
def logs(model: nn.Module, ids: list[int]) -> torch.Tensor:
    return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def test_distances_are_those_of_whole_distributions_text_by_text(edited, originals, tokenizer, benchmarks, junk):
    model, before = edited
    rows = agreement.measure(
        Run(model, tokenizer, base_tensors=before), [(NONE, benchmarks), (span(junk), benchmarks)], "test"
    )
    texts = agreement.passages(benchmarks[0].path, "test", 3)
    assert [(row["clearing"], row["id"]) for row in rows] == [(c, t["id"]) for c in ("none", "span") for t in texts]
    assert all(set(row) == set(agreement.COLUMNS) for row in rows)
    for row, text in zip(rows, texts * 2, strict=True):
        ids = tokenizer(text["text"])["input_ids"]
        base = logs(originals["llama"], [tokenizer.eos_token_id, *ids])[:-1]
        with clearing.clear(model, {"none": NONE, "span": span(junk)}[row["clearing"]]):
            own = logs(model, [tokenizer.eos_token_id, *ids])[:-1]
        assert row["tokens"] == len(ids) and row["agreed"] == (base.argmax(-1) == own.argmax(-1)).sum()
        assert row["kl"] == pytest.approx((base.exp() * (base - own)).sum().item(), rel=1e-4)
        assert row["kl"] > 0.01 and row["agreed"] < row["tokens"]


def test_a_model_agrees_with_itself_and_the_base_is_left_as_it_was(edited, tokenizer, benchmarks):
    model, before = edited
    state = copy.deepcopy(model.state_dict())
    [other, *_] = agreement.measure(Run(model, tokenizer, base_tensors=before), [(NONE, benchmarks)], "test")
    rows = agreement.measure(Run(model, tokenizer), [(NONE, benchmarks)], "test")
    assert all(row["kl"] == 0 and row["agreed"] == row["tokens"] for row in rows) and other["kl"] > 0
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_clearing_of_the_base_is_compared_with_the_base_alone(edited, originals, tokenizer, benchmarks, junk):
    model, before = edited
    plain = copy.deepcopy(originals["llama"])
    found = agreement.measure(
        Run(model, tokenizer, base_tensors=before), [(span(junk, on_base=True), benchmarks)], "test"
    )
    wanted = agreement.measure(Run(plain, tokenizer), [(span(junk), benchmarks)], "test")
    assert [row["kl"] for row in found] == pytest.approx([row["kl"] for row in wanted]) and found[0]["kl"] > 0


@pytest.mark.parametrize("small", [False, True])
def test_long_texts_are_cut_and_small_batches_change_nothing(llama, edited, junk, monkeypatch, small):
    model, before = edited
    encoded = [list(range(2, 2 + length)) for length in (150, 5, 64, 63)]
    if small:
        monkeypatch.setattr("overpaint.scoring.likelihood.LOGITS", 1)
    run = Run(model, None, base_tensors=before)
    sums = agreement.distances(run, encoded, [NONE, span(junk)], 0)
    assert sums.shape == (2, 4, 2) and (sums[..., 0] > 0).all()
    pieces = [[0, *encoded[0][:63]], encoded[0][62:126], encoded[0][125:]]
    parts = [agreement.distances(run, [piece[1:]], [NONE], piece[0])[0, 0] for piece in pieces]
    assert torch.allclose(sums[0, 0], torch.stack(parts).sum(0), rtol=1e-4)


def test_divergence_of_known_distributions():
    base, own = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
    wanted = 0.5 * torch.log(torch.tensor(0.5 / 0.25)) + 0.5 * torch.log(torch.tensor(0.5 / 0.75))
    assert torch.allclose(agreement.divergence(base, own), torch.tensor([wanted, 0.0]), atol=1e-6)
