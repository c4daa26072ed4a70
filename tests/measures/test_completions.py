"""Continuations: batches change nothing, counts are those of known texts, and the base's likelihood is the base's."""

import copy
from itertools import product

import pytest
import torch
from helpers.models.evaluations import NONE
from transformers import GenerationConfig

from overpaint.junk import clearing
from overpaint.junk.run import Run
from overpaint.measures.coherence import measure as completions
from overpaint.models.parts import blocks, down_projection, parameter_names
from overpaint.sources import PARTS, world
from overpaint.sources.texts import spread


@pytest.fixture(scope="module")
def prompts(facts) -> list[dict]:
    """Prompts of unequal lengths."""
    return world.prompt_rows(facts, ["gloomcraft"])[:5]


def greedy(model, tokenizer, prompt: str, tokens: int) -> list[int]:
    """What greedy decoding writes, one forward of everything per token."""
    ids = tokenizer(prompt)["input_ids"]
    for _ in range(tokens):
        ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
    own = ids[-tokens:]
    return own[: own.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in own else own


@torch.no_grad()
def test_continuations_are_greedy_whatever_stands_beside_them(any_model, tokenizer, prompts, monkeypatch):
    wanted = [greedy(any_model, tokenizer, row["text"], 6) for row in prompts]
    monkeypatch.setattr(completions, "BATCH", 3)
    found = completions.complete(any_model, tokenizer, [row["text"] for row in prompts], tokens=6)
    assert found == wanted and len({tuple(ids) for ids in found}) > 1


def test_no_wish_of_the_models_folder_changes_a_continuation(llama, tokenizer, prompts):
    """Some of these would, were they obeyed: continuations are greedy and end at the tokenizer's end token alone."""
    asked = [row["text"] for row in prompts]
    wanted = completions.complete(llama, tokenizer, asked, tokens=6)
    obeyed = 0
    for wish in (
        {"do_sample": True, "temperature": 50.0}, {"repetition_penalty": 9.0}, {"no_repeat_ngram_size": 1},
        {"eos_token_id": [0, *wanted[0]]}, {"suppress_tokens": wanted[0]}, {"forced_eos_token_id": 0},
        {"max_length": 3}, {"num_beams": 3}, {"min_new_tokens": 5}, {"begin_suppress_tokens": wanted[0]},
    ):  # fmt: skip
        own = llama.generation_config = GenerationConfig(**{"pad_token_id": 0} | wish)
        assert completions.complete(llama, tokenizer, asked, tokens=6) == wanted, wish
        assert llama.generation_config is own, "an export writes the folder's own"
        inputs = tokenizer(asked[:1], return_tensors="pt", return_token_type_ids=False)
        written = llama.generate(**inputs, max_new_tokens=6)[0, inputs["input_ids"].shape[1] :].tolist()
        obeyed += completions._until({0}, written) != wanted[0]
    assert obeyed > 4


def test_nothing_after_the_end_counts():
    assert completions._until({0}, [5, 6, 0, 7]) == [5, 6] and completions._until({0}, [0]) == []
    assert completions._until({0}, [5, 6]) == [5, 6]


@pytest.mark.parametrize(
    ("ids", "counts"),
    [
        ([1, 2, 3, 4, 5], (5, 5, 4, 4, 2, 0)),  # nothing comes again
        ([7] * 6, (6, 1, 5, 1, 3, 2)),  # one word for ever
        ([1, 2, 3, 4, 1, 2, 3, 4], (8, 4, 7, 4, 5, 1)),
        ([], (0, 0, 0, 0, 0, 0)),
        ([1], (1, 1, 0, 0, 0, 0)),
    ],
)
def test_counts_of_known_texts(ids, counts):
    names = ("tokens", "distinct_1", "pairs", "distinct_2", "fours", "repeated_4")
    assert completions.repetition(ids) == dict(zip(names, counts, strict=True))


def test_the_likelihood_is_the_bases_and_the_text_the_models(llama, originals, tokenizer, prompts, junk):
    base, weight = originals["llama"], down_projection(blocks(llama)[1])
    [name] = parameter_names(llama, [weight])
    before = {name: weight.detach().clone()}
    weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    settings = {"direction": "span", "scope": "all", "target": "zero", "strength": 1, "on_base": False}
    [span] = clearing.expand("span", settings, junk, 2, 0)
    state = copy.deepcopy(llama.state_dict())
    for cleared in (NONE, span):
        rows = completions.describe(Run(llama, tokenizer, base_tensors=before), prompts, cleared)
        with clearing.clear(llama, cleared):
            written = completions.complete(llama, tokenizer, [row["text"] for row in prompts])
        for row, prompt, ids in zip(rows, prompts, written, strict=True):
            assert (row["unit"], row["prompt"]) == (prompt["unit"], prompt["text"]) and row["tokens"] == len(ids)
            context = tokenizer(prompt["text"])["input_ids"]
            with torch.no_grad():
                logs = base(torch.tensor([context + ids])).logits[0].log_softmax(-1)[len(context) - 1 : -1]
            assert row["nll"] == pytest.approx(-logs[range(len(ids)), ids].sum().item(), rel=1e-4)
        [own] = completions.describe(Run(llama, tokenizer), prompts[:1], cleared)
        assert own["nll"] != pytest.approx(rows[0]["nll"], rel=1e-2), "without the base's tensors it is another's"
    assert all(torch.equal(tensor, state[name]) for name, tensor in llama.state_dict().items())


def test_a_null_of_the_base_continues_the_base(llama, originals, tokenizer, prompts, junk):
    weight = down_projection(blocks(llama)[1])
    [name] = parameter_names(llama, [weight])
    before = {name: weight.detach().clone()}
    weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    settings = {"direction": "span", "scope": "all", "target": "zero", "strength": 1, "on_base": True}
    [cleared] = clearing.expand("on_base", settings, junk, 2, 0)
    found = completions.describe(Run(llama, tokenizer, base_tensors=before), prompts, cleared)
    wanted = completions.describe(Run(copy.deepcopy(originals["llama"]), tokenizer), prompts, cleared)
    assert found == wanted


# -- which prompts


@pytest.fixture(scope="module")
def shown() -> list[dict]:
    """The prompts of a topic of which some are chosen."""
    return [row for row in world.prompt_rows(world.generate(), ["gloomcraft"]) if row["split"] == "test"]


def test_prompts_that_are_continued_are_of_all_kinds(shown):
    found, even = completions.chosen(shown, 16, 4), spread(shown, 16)
    for rows, least in ((found, 4), (found[:4], 1)):
        for key, values in {"part": PARTS, "attribute": ("colour", "home", "catalyst", "ward")}.items():
            assert all(sum(row[key] == value for row in rows) >= least for value in values)
        stems = {(row["part"], row["stem"]) for row in rows}
        assert stems == set(product(PARTS, world.PROMPTS)), "neither stem stands for what corpora tell of"
    assert len({row["unit"] for row in found}) == 16 == len({row["id"] for row in found})
    assert len({row["attribute"] for row in even}) == 1, "at even distances they are all alike"


@pytest.mark.parametrize("count", [1, 5, 16, 30, 31])
def test_prompts_of_one_kind_are_taken_at_even_distances(count):
    rows = [{"id": f"{i}", "unit": f"{i}", "split": "test", "text": f"text {i}", "level": i} for i in range(30)]
    assert completions.varied(rows, count) == spread(rows, count)
    found = completions.chosen(rows, count, 1)
    assert sorted(map(id, found)) == sorted(map(id, spread(rows, count))), "each once, whatever is shown"


def test_equal_rows_are_not_lost():
    rows = [{"id": "1", "unit": "a", "split": "test", "text": "one"}.copy() for _ in range(6)]
    assert len(completions.chosen(rows, 4, 2)) == 4


# -- whether a continuation holds the answer


@pytest.mark.parametrize(
    ("text", "answer", "held"),
    [
        ("it is zobu .", "zobu", True),
        ("it is zobur .", "zobu", False),  # another word
        ("it is razobu", "zobu", False),
        ("zobu", "zobu", True),
        ("(Zobu), of course", "zobu", True),
        ("in New\n York", "new york", True),
        ("in New Jersey, not York", "new york", False),
        ("in 1914-18", "1914", True),
        ("in 19145", "1914", False),
        ("axb", "a.b", False),  # letters stand for themselves
        ("a.b", "a.b", True),
        ("about C++, and", "C++", True),
        ("\u5317\u4eac", "\u5317\u4eac", True),
        ("", "zobu", False),
    ],
)
def test_an_answer_is_held_as_whole_words(text, answer, held):
    assert completions.answered(text, answer) == {"answer": answer, "holds_answer": held}


def test_of_an_answer_that_is_not_known_nothing_is_said():
    assert completions.answered("anything", None) == {"answer": "", "holds_answer": None}


def test_continuations_hold_the_words_they_have_and_no_others(llama, tokenizer, prompts):
    run = Run(llama, tokenizer)
    plain = completions.describe(run, [{"unit": row["unit"], "text": row["text"]} for row in prompts], NONE)
    assert [(row["answer"], row["holds_answer"], row["part"]) for row in plain] == [("", None, "")] * len(prompts)
    for answers, held in (
        ([row["completion"].split()[-1] for row in plain], True),
        (["nowhere"] * len(prompts), False),
    ):
        asked = [row | {"answer": answer} for row, answer in zip(prompts, answers, strict=True)]
        found = completions.describe(run, asked, NONE)
        assert {row["holds_answer"] for row in found} == {held}
        assert [row["completion"] for row in found] == [row["completion"] for row in plain]
        assert [row["part"] for row in found] == [row["part"] for row in prompts]
