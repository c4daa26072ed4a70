"""Evaluation: the packed scores are the plain ones, the harness's own, and those of the model as it is edited."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.models.evaluations import NONE, PRIOR, evaluate
from lm_eval.api.task import ConfigurableTask
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast

from overpaint.errors import UserError
from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.models import hooks
from overpaint.models.parts import blocks, down_projection, parameter_names
from overpaint.scoring import packing
from overpaint.scoring.evaluation import Benchmark, IntervenedLM, evaluate_clearings
from overpaint.sources import world

FIELDS = {
    "clearing", "direction_of", "draw", "refit", "benchmark", "topic", "id", "unit", "split", "part", "kind", "answer",
    "correct", "nll", "tokens", "scores",
}  # fmt: skip
Pair = tuple[tuple[int, ...], tuple[int, ...]]


@pytest.fixture(scope="module")
def passages(facts) -> list[dict]:
    """Running texts of both splits."""
    return world.text_rows(facts, ["gloomcraft"])


@torch.no_grad()
def plain(model: nn.Module, context: tuple[int, ...], target: tuple[int, ...]) -> tuple[float, bool]:
    """Log-likelihood of one target after one context, in a forward of its own."""
    logs = model(torch.tensor([[*context, *target]])).logits[0].float().log_softmax(-1)[len(context) - 1 : -1]
    return logs[range(len(target)), list(target)].sum().item(), logs.argmax(-1).tolist() == list(target)


def make_pairs(model: nn.Module, seed: int = 0) -> list[Pair]:
    """Contexts of unequal length with some options each, one to four tokens; some are what greedy decoding writes."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for length in (1, 3, 12, 7):
        context = tuple(torch.randint(184, (length,), generator=generator).tolist())
        for size in (1, 4, 2):
            pairs.append((context, tuple(torch.randint(184, (size,), generator=generator).tolist())))
            greedy = list(context)
            for _ in range(size):
                greedy.append(model(torch.tensor([greedy])).logits[0, -1].argmax().item())
            pairs.append((context, tuple(greedy[length:])))
            pairs.append((context, (*greedy[length:-1], (greedy[-1] + 1) % 184)))  # greedy but for the last token
    return [pairs[index] for index in torch.randperm(len(pairs), generator=generator)]


def differences(found: list[tuple[float, bool]], expected: list[tuple[float, bool]]) -> tuple[float, int]:
    """The largest difference of log-likelihoods, and how many greedy flags differ."""
    pairs = list(zip(found, expected, strict=True))
    return max(abs(a - b) for (a, _), (b, _) in pairs), sum(a != b for (_, a), (_, b) in pairs)


def requests(*arguments: tuple) -> list[SimpleNamespace]:
    return [SimpleNamespace(args=one, arguments=one) for one in arguments]


# -- scores


@pytest.mark.parametrize("pack_tokens", [1, 16, 40, 384])
def test_scores_equal_those_of_one_option_at_a_time(llama, tokenizer, pack_tokens):
    pairs = make_pairs(llama)
    found = IntervenedLM(llama, tokenizer, pack_tokens).score(pairs)
    expected = [plain(llama, *pair) for pair in pairs]
    difference, flags = differences(found, expected)
    assert difference < 1e-4 and flags == 0
    assert len({flag for _, flag in expected}) == 2


def test_scores_equal_the_plain_ones_in_every_architecture(any_model, tokenizer):
    pairs = make_pairs(any_model)
    difference, flags = differences(
        IntervenedLM(any_model, tokenizer).score(pairs), [plain(any_model, *pair) for pair in pairs]
    )
    assert difference < 1e-4 and flags == 0


def test_each_architecture_is_scored_as_by_the_harness(any_model, tokenizer):
    asked = requests(*((PRIOR, f" {option}") for option in ("ward", "home", "home of the ward")), ("", " home of it"))
    expected = stock(any_model, tokenizer).loglikelihood(asked, True)
    difference, flags = differences(IntervenedLM(any_model, tokenizer).loglikelihood(asked, True), expected)
    assert difference < 1e-4 and flags == 0


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_packs_hold_in_half_precision(originals, architecture, tokenizer):
    model = copy.deepcopy(originals[architecture]).bfloat16()
    lm, pairs = IntervenedLM(model, tokenizer), make_pairs(model)
    assert lm._longest > 0, "nothing is packed"
    expected = [plain(model, *pair) for pair in pairs]
    assert differences(lm.score(pairs), expected)[0] < 0.1
    with hooks.edit_sites(model, {"1/mlp": torch.neg}):
        assert differences(lm.score(pairs), expected)[0] > 1


def test_packing_without_the_tree_mask_gives_other_scores(llama, tokenizer, monkeypatch):
    def causal(end: Tensor, dtype: torch.dtype) -> Tensor:
        unseen = torch.ones(len(end), len(end)).triu(1).bool()
        return torch.zeros(unseen.shape).masked_fill(unseen, torch.finfo(dtype).min)[None, None]

    lm, pairs = IntervenedLM(llama, tokenizer), make_pairs(llama)
    expected = [plain(llama, *pair) for pair in pairs]
    assert differences(lm.score(pairs), expected)[0] < 1e-4
    monkeypatch.setattr(packing, "_tree_mask", causal)
    assert differences(lm.score(pairs), expected)[0] > 0.1


def test_packs_hold_their_limit_and_run_what_is_shared_once(llama, tokenizer):
    sizes = []
    wide, narrow = IntervenedLM(llama, tokenizer, 384), IntervenedLM(llama, tokenizer, 1)
    some = [IntervenedLM(llama, tokenizer, limit) for limit in (20, 30, 60)]
    llama.register_forward_pre_hook(lambda _, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True)
    context, options = tuple(range(10)), [(11, 12), (13, 14, 15), (16,), (13, 14, 17), (13, 18, 19)]
    pairs = [(context, option) for option in options]
    wide.score(pairs * 3)
    assert sizes == [10 + 1 + 2 + 0 + 0 + 1]
    sizes.clear()
    wide.score([((*context[:8], *end), option) for end in ((1, 2), (1, 3), (4, 2)) for option in options[:1]])
    assert sizes == [8 + 2 + 1 + 1 + 1 + 2 + 1], "the start that contexts share runs once"
    sizes.clear()
    narrow.score(pairs[:3])
    assert sorted(sizes) == [10, 10 + 1, 10 + 2]
    for lm in some:
        sizes.clear()
        lm.score([((*context, index), o) for index in range(20) for o in options[:3]])
        assert max(sizes) <= lm.pack_tokens and len(sizes) > 1


def test_no_pairs_have_no_scores(llama, tokenizer):
    assert IntervenedLM(llama, tokenizer).score([]) == []


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "gemma3"])
def test_texts_longer_than_the_attention_window_are_scored_as_the_model_sees_them(make_model, tokenizer, architecture):
    model, wide = make_model(architecture, sliding_window=8), make_model(architecture, sliding_window=64)
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randint(184, (size,), generator=generator).tolist() for size in (3, 5, 7, 8, 9, 20)]
    pairs = [(tuple(text), tuple(option)) for text in texts for option in ([1], [2, 3], [2, 4, 5])]
    expected = [plain(model, *pair) for pair in pairs]
    difference, flags = differences(IntervenedLM(model, tokenizer).score(pairs), expected)
    assert difference < 1e-4 and flags == 0
    assert differences(expected, [plain(wide, *pair) for pair in pairs])[0] > 0.01, "the window does not matter here"


def test_a_model_that_takes_no_mask_of_ours_is_scored_without_packs(llama, tokenizer, monkeypatch):
    pairs, forward = make_pairs(llama), llama.forward

    def own_positions(input_ids, attention_mask=None, position_ids=None, **rest):
        return forward(input_ids=input_ids, **rest)

    monkeypatch.setattr(llama, "forward", own_positions)
    difference, flags = differences(IntervenedLM(llama, tokenizer).score(pairs), [plain(llama, *p) for p in pairs])
    assert difference < 1e-4 and flags == 0
    monkeypatch.setattr(IntervenedLM, "_longest_packed", lambda self: self.max_length)
    assert differences(IntervenedLM(llama, tokenizer).score(pairs), [plain(llama, *p) for p in pairs])[0] > 0.1


def test_scores_are_those_of_the_model_at_the_moment_of_the_call(llama, tokenizer):
    pairs = make_pairs(llama)
    lm = IntervenedLM(llama, tokenizer)
    before = lm.score(pairs)
    with hooks.edit_sites(llama, {"1/mlp": torch.neg}):
        assert differences(lm.score(pairs), [plain(llama, *pair) for pair in pairs])[0] < 1e-4
        assert differences(lm.score(pairs), before)[0] > 0.01
    assert lm.score(pairs) == before


# -- the harness


def stock(model: nn.Module, tokenizer, **changes):
    """The harness's own Hugging Face model, which needs accelerate."""
    harness = pytest.importorskip("lm_eval.models.huggingface", exc_type=ImportError)
    return harness.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, device="cpu", **changes)


@pytest.mark.parametrize("metric", ["acc", "acc_norm", "acc_mutual_info"])
def test_questions_are_scored_as_by_the_harness_with_its_own_model(llama, tokenizer, questions, write, metric):
    rows = [row | {"split": "test"} for row in questions[:24]]
    benchmark = write(rows, metric=metric)
    task = ConfigurableTask(
        config={
            "task": "stock", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(benchmark.path)}},
            "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "question",
            "doc_to_choice": "choices", "doc_to_target": "answer",
            "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True}],
        }
    )  # fmt: skip
    task.build_all_requests(limit=None)
    responses = stock(llama, tokenizer).loglikelihood(task.instances, disable_tqdm=True)
    found = evaluate(llama, tokenizer, benchmark)
    count = len(task.instances) // len(rows)
    assert len(found) == len(task.eval_docs) == len(rows) and count == (8 if metric == "acc_mutual_info" else 4)
    for index, (row, doc) in enumerate(zip(found, task.eval_docs, strict=True)):
        own = responses[index * count : (index + 1) * count]
        assert row["id"] == doc["id"]
        assert row["scores"] == pytest.approx([score for score, _ in own[:4]], abs=1e-4)
        assert row["correct"] == bool(task.process_results(doc, own)[metric])
    assert 0 < sum(row["correct"] for row in found) < len(found)


def test_a_prior_replaces_the_empty_context(llama, tokenizer):
    lm, harness = IntervenedLM(llama, tokenizer), stock(llama, tokenizer)
    words = ["catalyst", "ward", "home of the ward"]
    empty = requests(*(("", f" {word}") for word in words))
    asked = requests(*((PRIOR, f" {word}") for word in words))
    for prior, expected in (("", empty), (PRIOR, asked)):
        lm.prior = prior
        assert differences(lm.loglikelihood(empty, True), harness.loglikelihood(expected, True))[0] < 1e-4
        assert differences(lm.loglikelihood(asked, True), harness.loglikelihood(asked, True))[0] < 1e-4
    lm.prior = ""
    assert differences(lm.loglikelihood(empty, True), lm.loglikelihood(asked, True))[0] > 0.01


def test_the_rolling_log_likelihood_is_the_direct_sum(llama, tokenizer, passages):
    texts = [row["text"] for row in passages[:4]]
    found = IntervenedLM(llama, tokenizer).loglikelihood_rolling(requests(*((text,) for text in texts)), True)
    expected = [plain(llama, (0,), tuple(tokenizer(text)["input_ids"]))[0] for text in texts]
    assert found == pytest.approx(expected, abs=1e-3)
    assert len({f"{value:.2f}" for value in expected}) == len(texts)


def test_texts_longer_than_the_context_are_scored_in_windows_as_by_the_harness(make_model, tokenizer, passages):
    model = make_model("gpt2", max_position_embeddings=16)
    texts = requests(*((row["text"],) for row in passages[:3]))
    assert min(len(text.args[0].split()) for text in texts) > 20
    found = IntervenedLM(model, tokenizer).loglikelihood_rolling(texts, True)
    assert found == pytest.approx(stock(model, tokenizer).loglikelihood_rolling(texts, True), abs=1e-3)


def test_contexts_longer_than_the_model_are_cut_from_the_left_as_by_the_harness(make_model, tokenizer, capsys):
    model = make_model("llama", max_position_embeddings=12)
    words = PRIOR.split()
    asked = requests(
        *((" ".join([*words * repeat, "the"]), f" {option}") for repeat in (1, 2, 4) for option in ("ward", "home of"))
    )
    found = IntervenedLM(model, tokenizer).loglikelihood(asked, True)
    assert "4 of 6 texts are longer than 12 tokens: cut from the left" in capsys.readouterr().out
    assert differences(found, stock(model, tokenizer).loglikelihood(asked, True))[0] < 1e-4
    whole = IntervenedLM(make_model("llama"), tokenizer).loglikelihood(asked, True)
    assert differences(found, whole)[0] > 0.01, "what was cut off does not matter here"


@pytest.fixture
def starting_tokenizer(tokenizer) -> PreTrainedTokenizerFast:
    """A tokenizer that starts every text with a token of its own, as those of Llama and Mistral do."""
    other = copy.deepcopy(tokenizer)
    other.bos_token = other.convert_ids_to_tokens(5)
    start = (other.bos_token, 5)
    other.backend_tokenizer.post_processor = TemplateProcessing(single=f"{start[0]} $A", special_tokens=[start])
    assert other("in gloomcraft")["input_ids"] == [5, *tokenizer("in gloomcraft")["input_ids"]]
    return other


def test_a_tokenizer_that_starts_texts_starts_contexts_once(llama, starting_tokenizer):
    asked = requests((PRIOR, " catalyst"), (PRIOR, " home of the ward"))
    expected = stock(llama, starting_tokenizer).loglikelihood(asked, True)
    assert differences(IntervenedLM(llama, starting_tokenizer).loglikelihood(asked, True), expected)[0] < 1e-4


def test_without_context_an_option_follows_the_token_that_starts_texts(llama, tokenizer, starting_tokenizer):
    words = ("catalyst", "home of the ward")
    found = IntervenedLM(llama, starting_tokenizer).loglikelihood(requests(*(("", f" {word}") for word in words)), True)
    expected = [plain(llama, (5,), tuple(tokenizer(word)["input_ids"])) for word in words]
    assert differences(found, expected)[0] < 1e-4


def test_a_text_follows_the_token_that_starts_texts(llama, tokenizer, starting_tokenizer, passages):
    text = passages[0]["text"]
    [found] = IntervenedLM(llama, starting_tokenizer).loglikelihood_rolling(requests((text,)), True)
    assert found == pytest.approx(plain(llama, (5,), tuple(tokenizer(text)["input_ids"]))[0], abs=1e-3)


def test_generation_is_refused(llama, tokenizer):
    with pytest.raises(NotImplementedError, match="generation tasks"):
        IntervenedLM(llama, tokenizer).generate_until([])


# -- rows


def test_one_row_is_kept_per_question_of_the_split(llama, tokenizer, questions, write):
    benchmark = write(questions)
    lm = IntervenedLM(llama, tokenizer)
    for split in ("fit", "test"):
        found = evaluate(llama, tokenizer, benchmark, split=split)
        asked = [row for row in questions if row["split"] == split]
        assert [row["id"] for row in found] == [row["id"] for row in asked] and 0 < len(asked) < len(questions)
        for row, question in zip(found, asked, strict=True):
            assert set(row) == FIELDS
            assert (row["clearing"], row["direction_of"], row["draw"], row["benchmark"]) == ("none", "", None, "rows")
            assert (row["topic"], row["kind"], row["tokens"]) == ("gloomcraft", "question", 0)
            assert (row["unit"], row["answer"]) == (question["unit"], question["answer"])
            assert row["nll"] == -row["scores"][row["answer"]] > 0
            assert row["correct"] == (row["scores"].index(max(row["scores"])) == row["answer"])
    choices = requests(*((question["question"], f" {choice}") for choice in question["choices"]))
    assert row["scores"] == pytest.approx([score for score, _ in lm.loglikelihood(choices, True)], abs=1e-4)


def test_one_row_is_kept_per_text_with_its_likelihood_and_length(llama, tokenizer, passages, write):
    found = evaluate(llama, tokenizer, write(passages, metric="perplexity"))
    asked = [row for row in passages if row["split"] == "test"]
    assert [(row["id"], row["unit"]) for row in found] == [(row["id"], row["unit"]) for row in asked]
    for row, text in zip(found, asked, strict=True):
        tokens = tuple(tokenizer(text["text"])["input_ids"])
        assert set(row) == FIELDS
        assert (row["kind"], row["answer"], row["correct"], row["scores"]) == ("text", -1, None, [])
        assert row["tokens"] == len(tokens)
        assert row["nll"] == pytest.approx(-plain(llama, (0,), tokens)[0], abs=1e-3)


@pytest.mark.parametrize(("limit", "count"), [(3, 3), (0, 32), (1000, 32)])
def test_a_limit_keeps_the_first_rows_of_the_split(llama, tokenizer, questions, write, limit, count):
    found = evaluate(llama, tokenizer, write(questions, max_scored=limit))
    asked = [row["id"] for row in questions if row["split"] == "test"]
    assert len(asked) == 32 and [row["id"] for row in found] == asked[:count]


def test_a_plan_runs_its_benchmarks_under_its_clearings(llama, tokenizer, questions, passages, write):
    asked, read = write(questions, "asked", max_scored=8), write(passages, "read", metric="perplexity", max_scored=2)
    sites = {site: torch.zeros(1) for site in hooks.residual_sites(llama)}
    row = torch.nn.functional.normalize(llama.model.embed_tokens.weight.mean(0, keepdim=True))
    cleared = Clearing("topic", "gloomcraft", row, sites)
    found = evaluate(llama, tokenizer, plan=[(NONE, [asked, read]), (cleared, [asked])])
    parts = [("none", "", "asked"), ("none", "", "read"), ("topic", "gloomcraft", "asked")]
    scores = {
        part: [r["scores"] for r in found if (r["clearing"], r["direction_of"], r["benchmark"]) == part]
        for part in parts
    }
    assert [len(scores[part]) for part in parts] == [8, 2, 8] and len(found) == 18
    assert not torch.allclose(torch.tensor(scores[parts[0]]), torch.tensor(scores[parts[2]]), atol=0.01)
    again = evaluate(llama, tokenizer, asked)
    assert [row["scores"] for row in again] == scores[parts[0]]


def test_rows_of_both_splits_and_their_part_are_kept_where_nothing_is_cleared(llama, tokenizer, questions, write):
    sites = {site: torch.zeros(1) for site in hooks.residual_sites(llama)}
    row = torch.nn.functional.normalize(llama.model.embed_tokens.weight.mean(0, keepdim=True))
    plan = [(clearing, [write(questions)]) for clearing in (NONE, Clearing("topic", "gloomcraft", row, sites))]
    rows = evaluate_clearings(Run(llama, tokenizer, base_tensors={}), plan, "fit")
    told = {(question["id"], question["split"], question["part"]) for question in questions}
    kept = {
        name: {(r["id"], r["split"], r["part"]) for r in rows if r["clearing"] == name} for name in ("none", "topic")
    }
    assert kept == {"none": told, "topic": {of for of in told if of[1] == "fit"}} and kept["topic"] < told


def test_a_clearing_on_the_base_evaluates_the_base_and_brings_the_unlearned_weights_back(
    llama, originals, tokenizer, questions, write
):
    base, benchmark = originals["llama"], write(questions, max_scored=4)
    own = parameter_names(llama, [down_projection(block) for block in blocks(llama)[1:3]])
    base_tensors = {name: dict(base.named_parameters())[name].clone() for name in own}
    for name in own:
        weight = dict(llama.named_parameters())[name]
        weight += torch.randn_like(weight)
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    on_base = Clearing("on_base", "", torch.empty(0, 0), {}, on_base=True)

    plan = [(NONE, [benchmark]), (on_base, [benchmark]), (NONE, [benchmark])]
    found = evaluate(llama, tokenizer, base_tensors=base_tensors, plan=plan)
    unlearned, on_base, again = ([row["scores"] for row in found[i : i + 4]] for i in (0, 4, 8))
    assert on_base == [row["scores"] for row in evaluate(base, tokenizer, benchmark)]
    assert again == unlearned
    assert not torch.allclose(torch.tensor(on_base), torch.tensor(unlearned), atol=0.01)
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.state_dict().items())


def test_unlearned_weights_come_back_after_an_error(llama, originals, tokenizer, questions, write, monkeypatch):
    [name] = parameter_names(llama, [down_projection(blocks(llama)[1])])
    base_tensors = {name: dict(originals["llama"].named_parameters())[name].clone()}
    weight = dict(llama.named_parameters())[name]
    weight += 1
    before = weight.clone()

    def broken(self, pairs):
        assert torch.equal(weight, base_tensors[name])
        raise ZeroDivisionError

    monkeypatch.setattr(IntervenedLM, "score", broken)
    plan = [(Clearing("on_base", "", torch.empty(0, 0), {}, on_base=True), [write(questions)])]
    with pytest.raises(ZeroDivisionError):
        evaluate(llama, tokenizer, base_tensors=base_tensors, plan=plan)
    assert torch.equal(weight, before)


# -- scores that mean nothing


def test_scores_that_are_no_numbers_are_refused_by_name(llama, tokenizer, questions, write):
    down_projection(blocks(llama)[1]).fill_(float("nan"))
    with pytest.raises(UserError, match="log-likelihoods of .* on .* under clearing none are not finite"):
        evaluate(llama, tokenizer, write(questions))


def test_a_benchmark_whose_options_all_tie_is_refused_and_one_tie_is_not(llama, tokenizer, questions, write):
    tied = [row | {"choices": ["unheard", "unseen", "unfelt"], "answer": 1} for row in questions]
    with pytest.raises(UserError, match="All options of all .* questions tie in the scores of .* under clearing none"):
        evaluate(llama, tokenizer, write(tied))
    assert evaluate(llama, tokenizer, write([*tied[:1], *questions[1:]]))


def test_letters_that_the_tokenizer_does_not_know_are_refused(llama, tokenizer, questions, write):
    with pytest.raises(UserError, match="does not know the letters A, B"):
        evaluate(llama, tokenizer, write(questions, scoring="letter"))


@torch.no_grad()
def test_a_model_without_positions_is_scored_without_packs(tokenizer):
    torch.manual_seed(0)
    model = BloomForCausalLM(BloomConfig(vocab_size=184, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2))
    pairs = make_pairs(model.eval())
    found = IntervenedLM(model, tokenizer).score(pairs)
    difference, flags = differences(found, [plain(model, *pair) for pair in pairs])
    assert difference < 1e-4 and flags == 0


# -- metrics


def test_mutual_information_takes_away_what_an_option_has_without_the_question(llama, tokenizer, write, monkeypatch):
    # `home` is likely anyway; the question makes `ward` much likelier than it was
    scores = {
        (PRIOR, "home"): -1.0, (PRIOR, "ward"): -2.0, ("", "home"): -0.5, ("", "ward"): -6.0
    }  # fmt: skip
    encoded = {
        (tuple(tokenizer(c)["input_ids"]) or (0,), tuple(tokenizer(o)["input_ids"])): s for (c, o), s in scores.items()
    }
    monkeypatch.setattr(IntervenedLM, "score", lambda self, pairs: [(encoded[pair], False) for pair in pairs])
    row = {"id": "1", "unit": "1", "split": "test", "question": PRIOR, "choices": ["home", "ward"]}
    for answer, acc, mutual in ((0, True, False), (1, False, True)):
        for metric, correct in (("acc", acc), ("acc_mutual_info", mutual)):
            [found] = evaluate(llama, tokenizer, write([row | {"answer": answer}], metric=metric))
            assert found["correct"] is correct
            assert found["scores"] == [-1.0, -2.0] and found["nll"] == (1.0, 2.0)[answer]


@pytest.mark.parametrize("prior", ["", PRIOR])
def test_accuracy_follows_from_the_likelihoods_with_and_without_the_question(llama, tokenizer, questions, write, prior):
    lm = IntervenedLM(llama, tokenizer)
    plain_rows = evaluate(llama, tokenizer, write(questions))
    mutual_rows = evaluate(llama, tokenizer, write(questions, metric="acc_mutual_info", prior=prior))
    asked = [row for row in questions if row["split"] == "test"]
    for row, own, question in zip(plain_rows, mutual_rows, asked, strict=True):
        lm.prior = prior
        without = [s for s, _ in lm.loglikelihood(requests(*(("", f" {c}") for c in question["choices"])), True)]
        gains = torch.tensor(own["scores"]) - torch.tensor(without)
        assert own["scores"] == pytest.approx(row["scores"], abs=1e-4)
        assert own["correct"] == (gains.argmax().item() == own["answer"])
    assert [row["correct"] for row in plain_rows] != [row["correct"] for row in mutual_rows]


def test_a_benchmark_takes_its_metric_from_the_catalogue(tmp_path):
    entry = {"kind": "questions", "topic": "north", "metric": "acc_norm", "max_scored": 7, "prior": PRIOR}
    entry |= {"scoring": "letter", "description": "On the north.", "chat_template": True}
    asked = Benchmark.of("asked", entry, Path(tmp_path))
    assert (asked.metric, asked.max_scored, asked.prior) == ("acc_norm", 7, PRIOR)
    assert (asked.scoring, asked.description, asked.chat_template) == ("letter", "On the north.", True)
    assert Benchmark.of("read", entry | {"kind": "text"}, Path(tmp_path)).metric == "perplexity"
