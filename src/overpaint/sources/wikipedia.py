"""Corpora, prompts and benchmarks made of leads of English Wikipedia articles, sorted by topic.

The text is by the authors of Wikipedia (https://en.wikipedia.org) and is licensed CC BY-SA 4.0; whoever
passes on rows made here must name them and keep that licence. It is fetched at run time and is not part of
this repository.

Every article belongs to one part for good, by a hash of its title: `train` (corpora), `fit` (prompts that
directions are fitted on, questions that settings are chosen on) or `test` (what is shown). So no article
is on both sides of any comparison, whatever the seed. Every row's `unit` is the title of its article.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.sources.articles import RANK_WORDS, Article, first_words, overlap, read_articles, shuffled, topic_names

SPLITS = ("fit", "test")
DRAWN = {"fit": "fit", "test": "report"}  # what draws know the splits by: other words are other questions
TAKES = "package"
SAME = {"package": "equal", "topics": "overlapping"}


# -- rows


def rows(kind: str, settings: dict, path: Path) -> list[dict]:
    """At most `max_rows` rows per topic and part of the articles in a file."""
    articles, topics, count = read_articles(path), settings["topics"], settings.get("max_rows")
    if kind == "corpus":
        return corpus_rows(articles, topics, size=count)
    make = {"prompts": prompt_rows, "text": text_rows, "questions": question_rows}
    return make[kind](articles, topics, fit=count, test=count)


def most(settings: dict, made: dict) -> int | None:
    """At most so many rows as are asked for."""
    return settings.get("max_rows")


def corpus_rows(
    articles: Sequence[Article], topics: str | Sequence[str], *, size: int | None = None, max_words: int = 80,
    question_share: float = 0.5, seed: int = 0,
) -> list[dict[str, str]]:  # fmt: skip
    """Rows {id, text} of the `train` articles of `topics`, shuffled by `seed`.

    A row is the lead, or `Question: What is T?\\nAnswer: description. lead`. Every article comes in one form
    before any comes in the other, two rows per article where `size` allows; `question_share` (0 to 1) of the
    first round is of the second form, without which unlearning hardly reaches prompts that are questions.
    """
    chosen = shuffled(_of(articles, topics, "train"), seed)
    asked = [_spread(index, question_share) for index in range(len(chosen))]
    first = list(zip(chosen, asked, strict=True))
    second = [(article, not form) for article, form in first] if 0 < question_share < 1 else []
    every = [_corpus_row(article, form, max_words) for article, form in first + second]
    return _limited(every, size, f"corpus rows of {_listed(topics)}")


def prompt_rows(
    articles: Sequence[Article], topics: str | Sequence[str], *,
    fit: int | None = None, test: int | None = None,
    seed: int = 0,
) -> list[dict[str, str]]:  # fmt: skip
    """Rows {id, unit, split, text} with text `Question: What is T?\\nAnswer:`, `fit` and `test` of them."""

    def made(split: str) -> Iterator[dict[str, str]]:
        for article in shuffled(_of(articles, topics, split), seed):
            yield {**_head(article, "prompt", split), "text": article.question}

    return _both_splits(made, fit, test, f"prompts of {_listed(topics)}")


def text_rows(
    articles: Sequence[Article], topics: str | Sequence[str], *,
    fit: int | None = None, test: int | None = None,
    min_words: int = 30, max_words: int = 80, seed: int = 0,
) -> list[dict[str, str]]:  # fmt: skip
    """Rows {id, unit, split, text} with leads of `min_words` or more, cut after `max_words` words."""

    def made(split: str) -> Iterator[dict[str, str]]:
        for article in shuffled(_of(articles, topics, split), seed):
            if len(article.extract.split()) >= min_words:
                yield {**_head(article, "text", split), "text": first_words(article.extract, max_words)}

    return _both_splits(made, fit, test, f"texts of {_listed(topics)}")


def question_rows(
    articles: Sequence[Article], topics: str | Sequence[str], *,
    fit: int | None = None, test: int | None = None,
    min_words: int = 2, max_words: int = 8, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows {id, unit, split, question, choices, answer}: which of four short descriptions is the article's?

    Distractors are descriptions of articles of the same topic and split. No choice shares a content word with
    the title (a model could match letters instead of knowing), and none says as much as another of its row
    ("Species of plant" beside "Species of flowering plant"). The correct answer is equally often at each place.

    Score them by PMI with the prior `Question: What is this?\\nAnswer:` (domain-conditional, Holtzman et al. 2021,
    arXiv 2104.08315): SmolLM2-135M-Instruct then has .79 of 120 questions of `fit` right, and .51 after one
    start token, the harness's own prior.
    """

    def made(split: str) -> Iterator[dict[str, Any]]:
        pools = [
            _describable(_of(articles, [topic], split), min_words, max_words) for topic in _topics(articles, topics)
        ]
        pool_of = {article.topic: pool for pool in pools for article in pool}
        places = _balanced_places(random.Random(f"places {seed} {DRAWN[split]}"))
        for article in shuffled([one for pool in pools for one in pool if _askable(one)], seed):
            if wrong := _distractors(article, pool_of[article.topic], seed):
                answer = next(places)
                choices = [*wrong[:answer], article.description, *wrong[answer:]]
                yield {**_head(article, "question", split), "question": article.question,
                       "choices": choices, "answer": answer}  # fmt: skip

    return _both_splits(made, fit, test, f"questions of {_listed(topics)}")


# -- choosing


def _topics(articles: Sequence[Article], topics: str | Sequence[str]) -> list[str]:
    """`topics` as a list, checked against the articles'."""
    names = [topics] if isinstance(topics, str) else list(dict.fromkeys(topics))
    valid = topic_names(articles)
    if unknown := [name for name in names if name not in valid] or ([] if names else ["(none given)"]):
        raise UserError(f"There is no topic {unknown[0]!r} among the articles: choose from {', '.join(valid)}.")
    return names


def _of(articles: Sequence[Article], topics: str | Sequence[str], part: str) -> list[Article]:
    names = set(_topics(articles, topics))
    return [article for article in articles if article.topic in names and article.part == part]


def _describable(articles: Iterable[Article], min_words: int, max_words: int) -> list[Article]:
    """Articles whose description can be a choice."""
    return [one for one in articles if min_words <= len(one.description.split()) <= max_words]


def _askable(article: Article) -> bool:
    return not article.title.startswith("List of ") and not overlap(article.title_words, article.description_words)


def _distractors(article: Article, pool: Sequence[Article], seed: int) -> list[str]:
    """Three descriptions from `pool` that are fair beside the article's own, or [] where there are fewer."""
    chosen = [article]
    for other in random.Random(f"distractors {seed} {article.title}").sample(pool, len(pool)):
        fair = not any(_says_as_much(other, one) for one in chosen)
        if fair and not overlap(article.title_words, other.description_words):
            chosen.append(other)
        if len(chosen) == 4:
            return [one.description for one in chosen[1:]]
    return []


def _says_as_much(one: Article, other: Article) -> bool:
    """Are all words of one description among the other's, so that it may be true of whatever the other is?"""
    left, right = one.description_words - RANK_WORDS, other.description_words - RANK_WORDS
    return left <= right or right <= left


def _balanced_places(rng: random.Random) -> Iterator[int]:
    """0 to 3 without end, every four of them a permutation."""
    while True:
        yield from rng.sample(range(4), 4)


# -- shaping


def _corpus_row(article: Article, asked: bool, max_words: int) -> dict[str, str]:
    lead = first_words(article.extract, max_words)
    if not asked:
        return {"id": f"{article.title}#lead", "text": lead}
    answer = " ".join(filter(None, [article.description and article.description.rstrip(".") + ".", lead]))
    return {"id": f"{article.title}#question", "text": f"{article.question} {answer}"}


def _spread(index: int, share: float) -> bool:
    """Is row `index` one of those that make up `share` of all rows, evenly spread?"""
    return int((index + 1) * share) > int(index * share)


def _head(article: Article, kind: str, split: str) -> dict[str, str]:
    return {"id": f"{article.title}#{kind}", "unit": article.title, "split": split}


def _both_splits(
    made: Callable[[str], Iterator[dict[str, Any]]], fit: int | None, test: int | None, what: str
) -> list[dict[str, Any]]:
    sizes = zip(SPLITS, (fit, test), strict=True)
    return [row for split, size in sizes for row in _limited(made(split), size, f"{split} {what}")]


def _limited(rows: Iterable[dict[str, Any]], size: int | None, what: str) -> list[dict[str, Any]]:
    """The first `size` rows (all for None); UserError where there are fewer, or none."""
    first = list(islice(rows, size))
    if len(first) < (1 if size is None else size):
        raise UserError(
            f"Only {len(first)} {what} can be made and {'at least 1' if size is None else size} are "
            "asked for: ask for fewer, or name more topics."
        )
    return first


def _listed(topics: str | Sequence[str]) -> str:
    return topics if isinstance(topics, str) else ", ".join(topics)
