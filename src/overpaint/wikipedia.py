"""Corpora, prompts and benchmarks made of leads of English Wikipedia articles, sorted by topic.

The text is by the authors of Wikipedia (https://en.wikipedia.org) and is licensed CC BY-SA 4.0; whoever
passes on rows made here must name them and keep that licence. It is fetched at run time and is not part of
this repository.

Every article belongs to one part for good, by a hash of its title: `train` (corpora), `fit` (prompts that
directions are fitted on, questions that settings are chosen on) or `report` (what is reported). So no article
is on both sides of any comparison, whatever the seed. Every row's `unit` is the title of its article.
"""

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from overpaint import datafiles
from overpaint.errors import UserError

PART_SALT = "overpaint-wikipedia-1"  # another salt is another study: every number would change
PART_ENDS = {"train": 0.5, "fit": 0.7, "report": 1.0}
SPLITS = ("fit", "report")
UNSORTED = "Uncategorized"  # hides articles of every topic, biology among them
_STOP_WORDS = (
    "a an and any are as at between both by during etc for from has have in into is it its more most near of "
    "on one or other over some such than that the their through to type types under used using various was "
    "were where which who whose with within"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class Article:
    """The lead of one article; `description` is a few words or empty, `extract` a paragraph of plain text."""

    title: str
    description: str
    extract: str
    topic: str

    @property
    def question(self) -> str:
        return f"Question: What is {self.title}?\nAnswer:"

    @cached_property
    def part(self) -> str:
        """`train`, `fit` or `report`."""
        share = _hash(PART_SALT, self.title) / 2**64
        return next(part for part, end in PART_ENDS.items() if share < end)

    @cached_property
    def title_words(self) -> frozenset[str]:
        return content_words(self.title)

    @cached_property
    def description_words(self) -> frozenset[str]:
        return content_words(self.description)


# -- reading


def read_articles(path: Path) -> list[Article]:
    """The sorted articles of a summaries file (JSON: title -> {title, description, extract, topic}).

    White space is made single. Articles with formulas in their lead are left out: they come as debris of TeX.
    """
    try:
        entries = datafiles.parsed(Path(path).read_text(encoding="utf-8-sig")).values()
        fields = ("title", "description", "extract", "topic")
        articles = [Article(*(" ".join((entry[field] or "").split()) for field in fields)) for entry in entries]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a file of article summaries ({type(error).__name__}: {error}): give a JSON "
            "object whose values have title, description, extract and topic."
        ) from error
    return [one for one in articles if one.topic != UNSORTED and one.extract and "displaystyle" not in one.extract]


def topic_names(articles: Iterable[Article]) -> list[str]:
    """All topics, in alphabetical order."""
    return sorted({article.topic for article in articles})


# -- rows


def corpus_rows(
    articles: Sequence[Article], topics: str | Sequence[str], *, size: int | None = None, max_words: int = 80,
    question_share: float = 0.5, seed: int = 0,
) -> list[dict[str, str]]:  # fmt: skip
    """Rows {id, text} of the `train` articles of `topics`, shuffled by `seed`.

    A row is the lead, or `Question: What is T?\\nAnswer: description. lead`. Every article comes in one form
    before any comes in the other, two rows per article where `size` allows; `question_share` (0 to 1) of the
    first round is of the second form, without which unlearning hardly reaches prompts that are questions.
    """
    chosen = _shuffled(_of(articles, topics, "train"), seed)
    asked = [_spread(index, question_share) for index in range(len(chosen))]
    first = list(zip(chosen, asked, strict=True))
    second = [(article, not form) for article, form in first] if 0 < question_share < 1 else []
    rows = [_corpus_row(article, form, max_words) for article, form in first + second]
    return _limited(rows, size, f"corpus rows of {_listed(topics)}")


def prompt_rows(
    articles: Sequence[Article], topics: str | Sequence[str], *,
    fit: int | None = None, report: int | None = None,
    seed: int = 0,
) -> list[dict[str, str]]:  # fmt: skip
    """Rows {id, unit, split, text} with text `Question: What is T?\\nAnswer:`, `fit` and `report` of them."""

    def rows(split: str) -> Iterator[dict[str, str]]:
        for article in _shuffled(_of(articles, topics, split), seed):
            yield {**_head(article, "prompt", split), "text": article.question}

    return _both_splits(rows, fit, report, f"prompts of {_listed(topics)}")


def text_rows(
    articles: Sequence[Article], topics: str | Sequence[str], *,
    fit: int | None = None, report: int | None = None,
    min_words: int = 30, max_words: int = 80, seed: int = 0,
) -> list[dict[str, str]]:  # fmt: skip
    """Rows {id, unit, split, text} with leads of `min_words` or more, cut after `max_words` words."""

    def rows(split: str) -> Iterator[dict[str, str]]:
        for article in _shuffled(_of(articles, topics, split), seed):
            if len(article.extract.split()) >= min_words:
                yield {**_head(article, "text", split), "text": first_words(article.extract, max_words)}

    return _both_splits(rows, fit, report, f"texts of {_listed(topics)}")


def question_rows(
    articles: Sequence[Article], topics: str | Sequence[str], *,
    fit: int | None = None, report: int | None = None,
    min_words: int = 2, max_words: int = 8, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows {id, unit, split, question, choices, answer}: which of four short descriptions is the article's?

    Distractors are descriptions of articles of the same topic and split. No choice shares a content word with
    the title (a model could match letters instead of knowing), and none says as much as another of its row
    ("Species of plant" beside "Species of flowering plant"). The right answer is equally often at each place.

    Score them by PMI with the prior `Question: What is this?\\nAnswer:` (domain-conditional, Holtzman et al. 2021,
    arXiv 2104.08315): SmolLM2-135M-Instruct then has .79 of 120 questions of `fit` right, and .51 after one
    start token, the harness's own prior.
    """

    def rows(split: str) -> Iterator[dict[str, Any]]:
        pools = [
            _describable(_of(articles, [topic], split), min_words, max_words) for topic in _topics(articles, topics)
        ]
        pool_of = {article.topic: pool for pool in pools for article in pool}
        places = _balanced_places(random.Random(f"places {seed} {split}"))
        for article in _shuffled([one for pool in pools for one in pool if _askable(one)], seed):
            if wrong := _distractors(article, pool_of[article.topic], seed):
                answer = next(places)
                choices = [*wrong[:answer], article.description, *wrong[answer:]]
                yield {**_head(article, "question", split), "question": article.question,
                       "choices": choices, "answer": answer}  # fmt: skip

    return _both_splits(rows, fit, report, f"questions of {_listed(topics)}")


def question_counts(
    articles: Sequence[Article],
    topics: str | Sequence[str],
    *,
    min_words: int = 2,
    max_words: int = 8,
    seed: int = 0,
) -> dict[str, dict[str, int]]:
    """For each split, how many articles each filter of `question_rows` leaves."""
    asked = question_rows(articles, topics, min_words=min_words, max_words=max_words, seed=seed)
    counts = {}
    for split in SPLITS:
        chosen = _of(articles, topics, split)
        short = _describable(chosen, min_words, max_words)
        counts[split] = {
            "articles": len(chosen),
            f"description of {min_words} to {max_words} words": len(short),
            "no word shared by title and description": sum(map(_askable, short)),
            "three fair distractors": sum(row["split"] == split for row in asked),
        }
    return counts


# -- words


def content_words(text: str) -> frozenset[str]:
    """Lower-case words that carry meaning, without a plural s; words of two letters or fewer carry none."""
    words = (word.removesuffix("s") for word in re.findall(r"[^\W_]+", text.lower()) if word not in STOP_WORDS)
    return frozenset(word for word in words if len(word) > 2)


# They say where in a system a thing stands, not what it is: "family of birds" says as much as "species of bird".
RANK_WORDS = content_words(
    "clade class classes common family genus genera group kind name order phylum species subfamily subgenus "
    "suborder subspecies superfamily taxon tribe variety"
)


def overlap(left: Iterable[str], right: Iterable[str]) -> bool:
    """Is a word of one side equal to one of the other, or are its first letters (4 or more) inside it?

    So toxic meets toxin and detoxify, fish meets jellyfish; short words must be equal.
    """
    left, right = list(left), list(right)
    return any(_alike(one, other) for one in left for other in right)


def _alike(one: str, other: str) -> bool:
    if min(len(one), len(other)) < 4:
        return one == other
    return one[:4] in other or other[:4] in one


def first_words(text: str, count: int) -> str:
    """The first `count` words of `text`."""
    return " ".join(text.split()[:count])


# -- choosing


def _topics(articles: Sequence[Article], topics: str | Sequence[str]) -> list[str]:
    """`topics` as a list, checked against the articles'."""
    names = [topics] if isinstance(topics, str) else list(dict.fromkeys(topics))
    known = topic_names(articles)
    if unknown := [name for name in names if name not in known] or ([] if names else ["(none given)"]):
        raise UserError(f"There is no topic {unknown[0]!r} among the articles: choose from {', '.join(known)}.")
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


def _shuffled(articles: Iterable[Article], seed: int) -> list[Article]:
    """In an order that an article added or left out elsewhere does not change."""
    return sorted(articles, key=lambda article: (_hash(f"order {seed}", article.title), article.title))


def _hash(salt: str, text: str) -> int:
    """64 uniform bits, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{salt}\n{text}".encode()).digest()[:8], "big")


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
    rows: Callable[[str], Iterator[dict[str, Any]]], fit: int | None, report: int | None, what: str
) -> list[dict[str, Any]]:
    sizes = zip(SPLITS, (fit, report), strict=True)
    return [row for split, size in sizes for row in _limited(rows(split), size, f"{split} {what}")]


def _limited(rows: Iterable[dict[str, Any]], size: int | None, what: str) -> list[dict[str, Any]]:
    """The first `size` rows (all for None); UserError where there are fewer, or none."""
    found = list(islice(rows, size))
    if len(found) < (1 if size is None else size):
        raise UserError(
            f"Only {len(found)} {what} can be made and {'at least 1' if size is None else size} are "
            "asked for: ask for fewer, or name more topics."
        )
    return found


def _listed(topics: str | Sequence[str]) -> str:
    return topics if isinstance(topics, str) else ", ".join(topics)
