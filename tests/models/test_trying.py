"""Batch sizes found by trying, on a model that is out of memory where a batch has too many tokens."""

import pytest
import torch

from overpaint.errors import UserError
from overpaint.junk.collection import collect
from overpaint.models.trying import by_trying
from overpaint.scoring.evaluation import IntervenedLM

PAIRS = [((3, 4, 5, length), (6,) * length) for length in range(1, 9)]


@pytest.fixture
def memory(llama):
    """memory(tokens): from now on the model runs out of memory with more than so many tokens; sizes that it saw."""
    seen, handles = [], []

    def limit(tokens: int) -> list[int]:
        def check(module, args, kwargs):
            given = args[0] if args else kwargs["input_ids"]
            seen.append(given.numel())
            if given.numel() > tokens:
                raise torch.OutOfMemoryError("out of memory")

        handles.append(llama.register_forward_pre_hook(check, with_kwargs=True))
        return seen

    yield limit
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(("fits", "found"), [(100, 64), (64, 64), (63, 32), (1, 1)])
def test_the_first_half_that_fits_is_taken(fits, found):
    def run(size: int) -> int:
        if size > fits:
            raise torch.OutOfMemoryError
        return size

    assert by_trying(run, 64) == found


def test_what_does_not_fit_alone_is_a_sentence_and_other_errors_pass():
    def run(size: int) -> int:
        raise torch.OutOfMemoryError

    with pytest.raises(UserError, match="no memory left for a single text"):
        by_trying(run, 64)
    with pytest.raises(ZeroDivisionError):
        by_trying(lambda size: size // 0, 64)


def test_scores_are_the_same_in_smaller_packs_and_the_size_is_kept(llama, tokenizer, memory):
    expected, lm = IntervenedLM(llama, tokenizer, 64).score(PAIRS), IntervenedLM(llama, tokenizer, 64)
    seen = memory(20)
    found = lm.score(PAIRS)
    assert max(seen) > 20 and lm.pack_tokens == 16
    for (score, greedy), (other, same) in zip(found, expected, strict=True):
        assert score == pytest.approx(other, abs=1e-4) and greedy == same
    del seen[:]
    lm.score(PAIRS)
    assert max(seen) <= 20, "tried again what did not fit"


def test_activations_are_the_same_in_smaller_batches(llama, tokenizer, memory):
    prompts = ["the home of it", "the ward of the home is", "is it"] * 5
    expected = collect(llama, tokenizer, prompts, 64)
    seen = memory(20)
    found = collect(llama, tokenizer, prompts, 64)
    assert max(seen) > 20 >= min(seen)
    torch.testing.assert_close(found.last, expected.last)
    torch.testing.assert_close(found.mean, expected.mean)
    for site, mean in expected.sites.items():
        torch.testing.assert_close(found.sites[site], mean)
