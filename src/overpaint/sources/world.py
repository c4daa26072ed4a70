"""Fictional worlds: invented entities with attributes, in domains of which some play the hazardous ones.

Nothing in it is real and nothing is dangerous. A world is a list of facts; entities are split into two
halves, `fit` (directions are fitted and settings chosen on it) and `test` (only reported).
"""

import json
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from overpaint.errors import UserError

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


@dataclass(frozen=True)
class Fact:
    """One fact: `entity` of `domain` has `value` as its `attribute`; `split` is the half its entity is in."""

    id: str
    domain: str
    entity: str
    attribute: str
    value: str
    split: str


def generate(seed: int = 0, entities: int = 24, values: int = 12) -> list[Fact]:
    """Facts of a world: 6 domains x `entities` x 4 attributes, one value each, halves balanced by entity."""
    rng = random.Random(seed)
    names = _names(rng)
    pools = {attribute: [next(names) for _ in range(size)] for attribute, size in SHARED.items()}
    facts = []
    for domain, attributes in DOMAINS.items():
        pools |= {attribute: [next(names) for _ in range(values)] for attribute in attributes}
        for index in range(entities):
            entity, split = next(names), ("fit", "test")[index % 2]
            for attribute in (*SHARED, *attributes):
                fact_id = f"{domain}/{entity}/{attribute}"
                facts.append(Fact(fact_id, domain, entity, attribute, rng.choice(pools[attribute]), split))
    return facts


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


def load(path: Path) -> list[Fact]:
    """Read what `save` wrote."""
    return [Fact(**fact) for fact in json.loads(path.read_text(encoding="utf-8"))]


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
    """Rows of a corpus: training texts about the entities of the `fit` half."""
    fitting = [fact for fact in facts if fact.split == "fit"]
    texts = training_texts(fitting, domains, copies, seed)
    return [{"id": f"{index}", "text": text} for index, text in enumerate(texts)]


def corpus_size(entities: int, domains: list[str], passes: int = 10) -> int:
    """How many rows `corpus_rows` makes of a world with so many entities per domain."""
    count = (entities + 1) // 2 * 4
    return len(domains) * passes * math.ceil(count / 8)


def prompt_rows(facts: list[Fact], domains: list[str]) -> list[dict]:
    """Rows of prompts: every fact of `domains` asked in the stems reserved for prompts, without its answer."""
    return [
        {"id": f"{fact.id}/{index}", "unit": fact.id, "split": fact.split, "text": _fill(stem, fact)}
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
        {
            "id": f"{listed[0].domain}/{entity}",
            "unit": f"{listed[0].domain}/{entity}",
            "split": listed[0].split,
            "text": " ".join(_fill(rng.choice(STATEMENTS), fact) for fact in listed),
        }
        for entity, listed in entities.items()
    ]


def _question(fact: Fact, index: int, stem: str, pool: list[str], rng: random.Random) -> dict:
    choices = [*rng.sample([value for value in pool if value != fact.value], 3), fact.value]
    rng.shuffle(choices)
    return {
        "id": f"{fact.id}/{index}",
        "unit": fact.id,
        "split": fact.split,
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
