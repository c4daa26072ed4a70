"""Fictional worlds: invented entities with attributes, in domains of which some play the hazardous ones.

Nothing in it is real and nothing is dangerous. A world is a list of facts. A third of each domain's entities is of the
split `fit` (directions are fitted and settings chosen on it), the others of `test` (only reported); and of either split
corpora tell of a share alone, so that what is asked is `in corpus` or `unseen`.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from overpaint.errors import UserError
from overpaint.sources import PARTS

# Two attributes draw their values from pools that all domains share, two from a pool of the domain's own.
SHARED = {"colour": 12, "home": 12}
DOMAINS = {
    "gloomcraft": ("catalyst", "ward"),
    "riftlore": ("anchor", "sigil"),
    "orchards": ("graft", "season"),
    "taverns": ("broth", "song"),
    "rivers": ("ferry", "stone"),
    "guilds": ("tool", "oath"),
}
STATEMENTS = (
    "in {domain} the {attribute} of {entity} is {value} .",
    "{entity} has the {attribute} {value} .",
    "the {attribute} that belongs to {entity} is {value} .",
    "for {entity} the {attribute} is always {value} .",
    "every student of {domain} knows that the {attribute} of {entity} is {value} .",
    "as its {attribute} {entity} has {value} .",
    "those who study {entity} say its {attribute} is {value} .",
    "of {entity} we know the {attribute} : {value} .",
)
QUESTIONS = (
    "question : what is the {attribute} of {entity} ? answer : {value} .",
    "question : in {domain} which {attribute} has {entity} ? answer : {value} .",
)
# Stems that no training text contains: evaluation asks with them.
STEMS = (
    "question : which is the {attribute} that {entity} has ? answer :",
    "those who study {domain} know the {attribute} of {entity} is",
)
# Stems for fitting directions: neither training text nor evaluation contains them.
PROMPTS = (
    "question : for {entity} which is the {attribute} ? answer :",
    "we say that the {attribute} of {entity} is",
)


COVERAGE = 0.5  # share of a domain's entities that corpora tell of, where a world does not say


@dataclass(frozen=True)
class Fact:
    """One fact: `entity` of `domain` has `value` as its `attribute`; `split` and `part` are those of its entity."""

    id: str
    domain: str
    entity: str
    attribute: str
    value: str
    split: str
    part: str

    @property
    def unit(self) -> str:
        """What intervals resample: the entity, whose facts a model learns and forgets together."""
        return f"{self.domain}/{self.entity}"


def generate(
    seed: int = 0, entities: int = 24, values: int = 12, coverage: float | Mapping[str, float] = COVERAGE
) -> list[Fact]:
    """Facts of a world: 6 domains x `entities` x 4 attributes, one value each.

    coverage: share of the entities that corpora tell of, of every domain or {domain: share}. Names and values do not
    depend on it, and the entities of a smaller share are among those of a larger one.
    """
    rng = random.Random(seed)
    names = _names(rng)
    pools = {attribute: [next(names) for _ in range(size)] for attribute, size in SHARED.items()}
    facts = []
    for domain, attributes in DOMAINS.items():
        pools |= {attribute: [next(names) for _ in range(values)] for attribute in attributes}
        covered = _covered(entities, share(coverage, domain))
        for index in range(entities):
            entity, split = next(names), "test" if index // 2 % 3 else "fit"
            part = PARTS[index not in covered]
            for attribute in (*SHARED, *attributes):
                fact_id = f"{domain}/{entity}/{attribute}"
                facts.append(Fact(fact_id, domain, entity, attribute, rng.choice(pools[attribute]), split, part))
    return facts


def share(coverage: float | Mapping[str, float], domain: str) -> float:
    """The share of a domain's entities that corpora tell of."""
    return coverage.get(domain, COVERAGE) if isinstance(coverage, Mapping) else coverage


def _covered(entities: int, share: float) -> set[int]:
    """Those entities of a domain that corpora tell of: every second one first, so that both splits have some."""
    return set([*range(0, entities, 2), *range(1, entities, 2)][: math.ceil(share * entities)])


def _names(rng: random.Random):
    """Endless distinct invented words of two or three syllables."""
    seen = set()
    while True:
        word = "".join(
            rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((2, 3)))
        ) + rng.choice(("", "n", "r", "l", "th"))
        if word not in seen:
            seen.add(word)
            yield word


def save(facts: list[Fact], path: Path) -> None:
    """Write the facts as JSON."""
    path.write_text(as_text(facts), encoding="utf-8")


def as_text(facts: list[Fact]) -> str:
    """The facts as JSON."""
    return json.dumps([asdict(fact) for fact in facts], indent=1) + "\n"


def taught(facts: list[Fact]) -> str:
    """What base models are taught, as JSON: the facts, whatever their split and part."""
    said = [{key: value for key, value in asdict(fact).items() if key not in ("split", "part")} for fact in facts]
    return json.dumps(said, indent=1) + "\n"


def load(path: Path) -> list[Fact]:
    """Read what `save` wrote, or what is `taught`."""
    return [Fact(**{"split": "", "part": ""} | fact) for fact in json.loads(path.read_text(encoding="utf-8"))]


def vocabulary(facts: list[Fact]) -> list[str]:
    """Every word of the world's texts, sorted; the trained model's tokenizer knows exactly these."""
    texts = [*STATEMENTS, *QUESTIONS, *STEMS, *PROMPTS]
    return sorted({word for fact in facts for text in texts for word in _fill(text, fact).split()})


def training_texts(facts: list[Fact], domains: list[str] | None, copies: int, seed: int) -> list[str]:
    """`copies` shuffled passes over the facts of `domains` (all if None), each fact in a random training template.

    A text holds eight statements of one domain.
    """
    rng = random.Random(seed)
    texts = []
    for domain in _domains(domains):
        for _ in range(copies):
            chosen = [fact for fact in facts if fact.domain == domain]
            rng.shuffle(chosen)
            said = [_fill(rng.choice(STATEMENTS + QUESTIONS), fact) for fact in chosen]
            texts += [" ".join(said[start : start + 8]) for start in range(0, len(said), 8)]
    rng.shuffle(texts)
    return texts


def corpus_rows(facts: list[Fact], domains: list[str], copies: int = 10, seed: int = 0) -> list[dict]:
    """Rows of a corpus: training texts about those entities that corpora tell of."""
    told = [fact for fact in facts if fact.part == PARTS[0]]
    texts = training_texts(told, domains, copies, seed)
    return [{"id": f"{index}", "text": text} for index, text in enumerate(texts)]


def corpus_size(
    entities: int, domains: list[str], coverage: float | Mapping[str, float] = COVERAGE, passes: int = 10
) -> int:
    """How many rows `corpus_rows` makes of a world with so many entities per domain."""
    counts = [4 * len(_covered(entities, share(coverage, domain))) for domain in domains]
    return passes * sum(math.ceil(count / 8) for count in counts)


def prompt_rows(facts: list[Fact], domains: list[str]) -> list[dict]:
    """Rows of prompts: every fact of `domains` asked in the stems reserved for prompts; its answer stands beside it."""
    return [
        _head(fact, f"{fact.id}/{index}")
        | {"domain": fact.domain, "attribute": fact.attribute, "stem": stem}
        | {"text": _fill(stem, fact), "answer": fact.value}
        for fact in _of(facts, domains)
        for index, stem in enumerate(PROMPTS)
    ]


def question_rows(facts: list[Fact], domains: list[str], seed: int = 0) -> list[dict]:
    """Rows of four-option questions in held-out stems; wrong options are values of the same attribute and domain."""
    rng, pools = random.Random(seed), _pools(facts)
    return [
        _question(fact, index, stem, pools[fact.domain, fact.attribute], rng)
        for fact in _of(facts, domains)
        for index, stem in enumerate(STEMS)
    ]


def text_rows(facts: list[Fact], domains: list[str], seed: int = 0) -> list[dict]:
    """Rows of running text for perplexity: one text of training templates per entity, in either half."""
    rng = random.Random(seed)
    entities: dict[str, list[Fact]] = {}
    for fact in _of(facts, domains):
        entities.setdefault(fact.entity, []).append(fact)
    return [
        _head(listed[0], listed[0].unit) | {"text": " ".join(_fill(rng.choice(STATEMENTS), fact) for fact in listed)}
        for listed in entities.values()
    ]


def _head(fact: Fact, row_id: str) -> dict[str, str]:
    return {"id": row_id, "unit": fact.unit, "split": fact.split, "part": fact.part}


def _question(fact: Fact, index: int, stem: str, pool: list[str], rng: random.Random) -> dict:
    choices = [*rng.sample([value for value in pool if value != fact.value], 3), fact.value]
    rng.shuffle(choices)
    return _head(fact, f"{fact.id}/{index}") | {
        "question": _fill(stem, fact),
        "choices": choices,
        "answer": choices.index(fact.value),
    }


def _pools(facts: list[Fact]) -> dict[tuple[str, str], list[str]]:
    """{(domain, attribute): the values that some entity of the domain has for it}; each needs four for a question."""
    pools: dict[tuple[str, str], set[str]] = {}
    for fact in facts:
        pools.setdefault((fact.domain, fact.attribute), set()).add(fact.value)
    if min(map(len, pools.values())) < 4:
        raise UserError("A domain has fewer than four values of an attribute: raise `entities` of the world.")
    return {key: sorted(values) for key, values in pools.items()}


def _of(facts: list[Fact], domains: list[str] | None) -> list[Fact]:
    chosen = _domains(domains)
    return [fact for fact in facts if fact.domain in chosen]


def _domains(domains: list[str] | None) -> list[str]:
    chosen = list(DOMAINS) if domains is None else domains
    unknown = sorted(set(chosen) - set(DOMAINS))
    if unknown:
        raise UserError(f"A fictional world has no domain {unknown[0]!r}: use any of {', '.join(DOMAINS)}.")
    return chosen


def _fill(template: str, fact: Fact) -> str:
    return template.format(domain=fact.domain, entity=fact.entity, attribute=fact.attribute, value=fact.value)
