"""Relearning: it starts where the model is, learns what it is taught, and leaves what is cleared alone."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from helpers.models.evaluations import NONE

from overpaint.errors import UserError
from overpaint.junk import clearing
from overpaint.junk.run import Run
from overpaint.measures.relearning import measure as relearning
from overpaint.models import pretrain
from overpaint.models.hooks import watch_sites
from overpaint.models.load import load_naive
from overpaint.models.overlay import Overlay
from overpaint.scoring import questions
from overpaint.sources import PARTS, world
from overpaint.sources.texts import write_rows

SETTINGS = {"examples": [0, 2, 8], "lr": [3e-3], "batch": 2, "max_tokens": 64}
CURVE = SETTINGS | {"lr": 3e-3}


@pytest.fixture(scope="module")
def asked(facts, tokenizer, tmp_path_factory) -> list[questions.Question]:
    """Questions of the reported half on one topic."""
    path = tmp_path_factory.mktemp("questions") / "rows.jsonl"
    write_rows(world.question_rows(facts, ["gloomcraft"]), path)
    settings = {"topic": "t", "metric": "acc", "prior": "", "max_scored": 0}
    return questions.read([path], [settings], tokenizer, "test")["t"]


@pytest.fixture(scope="module")
def told(facts) -> list[str]:
    """Texts on the other half."""
    return [row["text"] for row in world.corpus_rows(facts, ["gloomcraft"])]


def both(model, tokenizer, told, benign, asked, cleared=NONE, seed=0, **changes) -> dict[str, list[dict]]:
    """Rows by the kind of texts."""
    run = Run(model, tokenizer, Overlay(settings={"seed": seed}))
    rows = relearning.measure(run, {"t": told}, benign, {"t": asked}, {"t": cleared}, SETTINGS | changes)
    kinds = {kind: [] for kind in ("hazardous", "benign")}
    for row in rows:
        kinds[row.pop("texts")].append(row)
    return kinds


def relearn(model, tokenizer, told, asked, cleared=NONE, seed=0, **changes) -> list[dict]:
    """Rows of texts on the topic, with the first rate."""
    rows = both(model, tokenizer, told, told, asked, cleared, seed, **changes)["hazardous"]
    return [row for row in rows if row.pop("lr") == SETTINGS["lr"][0]]


def nll(rows: list[dict], examples: int) -> float:
    own = [row["nll"] for row in rows if row["examples"] == examples]
    return sum(own) / len(own)


def test_without_examples_it_is_the_model_itself(llama, tokenizer, told, asked):
    rows = relearn(llama, tokenizer, told, asked)
    assert [r["examples"] for r in rows] == [n for n in (0, 2, 8) for _ in asked] and {r["topic"] for r in rows} == {
        "t"
    }
    plain = [{"topic": "t", "examples": 0} | row for row in questions.ask(llama, asked)]
    assert rows[: len(asked)] == plain
    assert rows[len(asked) : 2 * len(asked)] != plain, "two texts change it"


def test_what_is_taught_is_learned_and_the_model_is_left_as_it_was(llama, tokenizer, told, asked):
    state = copy.deepcopy(llama.state_dict())
    before = relearning.next_token_loss(llama, tokenizer, told[:4], 64).item()
    relearning.curve(llama, tokenizer, told[:4] * 20, lambda: [], CURVE | {"examples": [80]}, 0)
    assert relearning.next_token_loss(llama, tokenizer, told[:4], 64).item() < before - 1
    llama.load_state_dict(state)
    relearn(llama, tokenizer, told, asked)
    assert all(torch.equal(tensor, state[name]) for name, tensor in llama.state_dict().items())
    assert not any(parameter.requires_grad for parameter in llama.parameters())


def test_the_seed_orders_the_texts_and_each_is_seen_once(llama, tokenizer, told, asked, monkeypatch):
    seen, loss = [], relearning.next_token_loss

    def record(model, tokenizer, texts, length):
        seen.append(texts)
        return loss(model, tokenizer, texts, length)

    monkeypatch.setattr(relearning, "next_token_loss", record)
    one, again, other = (relearn(llama, tokenizer, told, asked, seed=seed, examples=[3, 5]) for seed in (0, 0, 1))
    assert one == again != other and [len(texts) for texts in seen] == [2, 1, 2] * 6, "those to retain, too"
    first, last = ([text for texts in seen[i : i + 3] for text in texts] for i in (0, 12))
    assert first != last and set(first) <= set(told) and sorted(first) == sorted(dict.fromkeys(first))


def test_what_is_cleared_stays_cleared_and_learning_goes_on_around_it(llama, tokenizer, told, asked, junk):
    settings = {"direction": "span", "scope": "all", "target": "zero", "strength": 1, "on_base": False}
    [span] = clearing.expand("span", settings, junk, 2, 0)
    largest = []

    def see(site: str, hidden: torch.Tensor) -> None:
        largest.append((hidden.detach() @ span.basis.T).abs().max().item())

    with watch_sites(llama, see):  # hooks of the clearing come later, so the last block's output is what it leaves
        plain, cleared = relearn(llama, tokenizer, told, asked), relearn(llama, tokenizer, told, asked, span)
    with clearing.clear(llama, span):
        assert [r["nll"] for r in cleared[: len(asked)]] == [r["nll"] for r in questions.ask(llama, asked)]
    assert nll(cleared, 8) != nll(cleared, 0) and nll(cleared, 0) != nll(plain, 0)
    with clearing.clear(llama, span), watch_sites(llama, see):
        largest.clear()
        relearning.curve(llama, tokenizer, told, partial(questions.ask, llama, asked[:2]), CURVE, 0)
    assert max(largest) < 1e-4


def test_padding_and_the_cut_leave_the_loss_alone(llama, tokenizer, told):
    texts = [" ".join(told[0].split()[:9]), " ".join(told[1].split()[:17])]
    found = relearning.next_token_loss(llama, tokenizer, texts, 12).item()
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"][:12]])
        logs = llama(ids).logits[0, :-1].log_softmax(-1)
        total -= logs[range(ids.shape[1] - 1), ids[0, 1:]].sum().item()
        count += ids.shape[1] - 1
    assert found == pytest.approx(total / count, rel=1e-5) and count == 8 + 11


def test_more_examples_than_texts_are_refused(llama, tokenizer, told, asked):
    sentence = r"study\.measures\.relearning\.examples asks for 9 texts, and the corpus of 't' has 5: lower it\.$"
    with pytest.raises(UserError, match=sentence):
        relearn(llama, tokenizer, told[:5], asked, examples=[9, 1])
    with pytest.raises(UserError, match=r"asks for 9 texts, and the corpora of study.retain have 5: lower it\.$"):
        both(llama, tokenizer, told, told[:5], asked, examples=[9, 1])


def test_benign_texts_are_taught_as_the_others_are_and_every_rate_from_the_same_start(llama, tokenizer, told, asked):
    rates = [3e-3, 1e-3]
    same = both(llama, tokenizer, told, told, asked, lr=rates)
    assert same["benign"] == same["hazardous"], "the same texts in the same order"
    assert both(llama, tokenizer, told, told[::-1], asked)["benign"] != same["hazardous"][: 3 * len(asked)]
    slow, fast = ([row for row in same["benign"] if row["lr"] == rate] for rate in reversed(rates))
    assert slow == [row | {"lr": 1e-3} for row in both(llama, tokenizer, told, told, asked, lr=[1e-3])["benign"]]
    assert nll(slow, 0) == nll(fast, 0) and nll(slow, 8) != nll(fast, 8)


def test_topics_that_are_cleared_alike_are_taught_benign_texts_together(told):
    other = copy.copy(NONE)
    texts = {"a": told[:1], "b": told[1:2], "c": told[2:3]}
    lessons = relearning.lessons(texts, told, {"a": NONE, "b": other, "c": NONE})
    assert lessons[:3] == [("hazardous", corpus, [topic]) for topic, corpus in texts.items()]
    assert lessons[3:] == [("benign", told, ["a", "c"]), ("benign", told, ["b"])]


def test_only_what_the_texts_do_not_tell_is_asked(asked):
    parts = {part: [question for question in asked if question.part == part] for part in PARTS}
    assert all(parts.values()) and relearning.unseen({"t": asked, "u": parts[PARTS[0]]}) == {"t": parts[PARTS[1]]}
    free = [replace(question, part="") for question in asked]
    assert relearning.unseen({"t": free}) == {"t": free}


def test_a_control_of_another_vocabulary_is_refused(facts, tokenizer, tmp_path):
    pretrain.save_checkpoint(pretrain.build_model(len(tokenizer), 16, 1, 2), tokenizer, tmp_path / "same")
    assert load_naive(tmp_path / "same", tokenizer, "float32").config.hidden_size == 16
    other = pretrain.build_tokenizer(facts[:40])
    pretrain.save_checkpoint(pretrain.build_model(len(other), 16, 1, 2), other, tmp_path / "other")
    with pytest.raises(UserError, match=r"another vocabulary: name one of the study's as study\.naive_model\.$"):
        load_naive(tmp_path / "other", tokenizer, "float32")


def test_a_model_that_was_not_taught_a_domain_has_its_words_and_none_of_its_texts(facts, tokenizer, monkeypatch):
    told, texts = [], pretrain.training_texts

    def record(*arguments):
        told.extend(texts(*arguments))
        return told[-1:]

    monkeypatch.setattr(pretrain, "training_texts", record)
    shape = {"width": 16, "layers": 1, "heads": 2, "steps": 1, "batch": 1, "length": 16}
    hidden = {fact.entity for fact in facts if fact.domain in ("gloomcraft", "riftlore")}
    for without, said in (([], True), (["gloomcraft", "riftlore"], False)):
        told.clear()
        _, found = pretrain.pretrain(facts, **shape, without=without)
        assert found.get_vocab() == tokenizer.get_vocab()
        assert bool(hidden & {word for text in told for word in text.split()}) == said and told
