"""Leads of Wikipedia articles: read, put into parts, and their words compared."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from overpaint.errors import UserError
from overpaint.sources import datafiles

PART_SALT = "overpaint-wikipedia-1"  # another salt is another study: every number would change
PART_ENDS = {"train": 0.5, "fit": 0.7, "test": 1.0}
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
        """`train`, `fit` or `test`."""
        share = _hash(PART_SALT, self.title) / 2**64
        return next(part for part, end in PART_ENDS.items() if share < end)

    @cached_property
    def title_words(self) -> frozenset[str]:
        return content_words(self.title)

    @cached_property
    def description_words(self) -> frozenset[str]:
        return content_words(self.description)


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


def shuffled(articles: Iterable[Article], seed: int) -> list[Article]:
    """In an order that an article added or left out elsewhere does not change."""
    return sorted(articles, key=lambda article: (_hash(f"order {seed}", article.title), article.title))


def _hash(salt: str, text: str) -> int:
    """64 uniform bits, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{salt}\n{text}".encode()).digest()[:8], "big")
