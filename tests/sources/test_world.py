"""The fictional world: determined by its seed, split by entity, asked in words that no training text holds."""

import re
from collections import Counter, defaultdict

import pytest

from overpaint.errors import UserError
from overpaint.sources import PARTS, world

ALL = list(world.DOMAINS)
MAKERS = {"prompts": world.prompt_rows, "questions": world.question_rows, "text": world.text_rows}


@pytest.fixture(scope="module")
def facts() -> list[world.Fact]:
    return world.generate(seed=3, entities=12, values=8)


def entities(facts: list[world.Fact], split: str | None = None) -> set[str]:
    return {fact.entity for fact in facts if split in (None, fact.split)}


def test_a_seed_fixes_the_world_and_another_seed_makes_another(facts):
    assert world.generate(seed=3, entities=12, values=8) == facts
    assert not entities(world.generate(seed=4, entities=12, values=8)) & {f.entity for f in facts[:20]}


def test_a_world_has_a_value_for_every_attribute_of_every_entity(facts):
    attributes = defaultdict(list)
    for fact in facts:
        attributes[fact.domain, fact.entity].append(fact.attribute)
    assert len(attributes) == 12 * len(ALL) and len(facts) == 4 * len(attributes)
    for (domain, _), names in attributes.items():
        assert names == [*world.SHARED, *world.DOMAINS[domain]]


def test_a_third_of_the_entities_is_for_fitting_and_corpora_tell_of_half_of_either_split(facts):
    assert not entities(facts, "fit") & entities(facts, "test")
    for domain in ALL:
        counts = Counter((f.split, f.part) for f in facts if f.domain == domain)
        assert counts == {(s, part): n for s, n in (("fit", 8), ("test", 16)) for part in PARTS}


def test_coverage_moves_entities_between_the_parts_and_nothing_else(facts):
    covered = {share: world.generate(3, 12, 8, share) for share in (0.25, 0.5, 1.0)}
    told = {share: {f.entity for f in made if f.part == "in corpus"} for share, made in covered.items()}
    assert told[0.25] < told[0.5] < told[1.0] == entities(facts)
    assert len(told[0.25]) == 3 * len(ALL) and covered[0.5] == facts
    assert len({world.taught(made) for made in covered.values()}) == 1
    assert len({str([(f.id, f.split) for f in made]) for made in covered.values()}) == 1
    own = world.generate(3, 12, 8, {"rivers": 1.0})
    assert {f.part for f in own if f.domain == "rivers"} == {"in corpus"}
    assert [f for f in own if f.domain != "rivers"] == [f for f in facts if f.domain != "rivers"]


def test_a_corpus_has_as_many_rows_as_are_said_beforehand(facts):
    for coverage in (0.25, 0.5, {"rivers": 1.0}):
        rows = world.corpus_rows(world.generate(3, 12, 8, coverage), ["rivers", "guilds"])
        assert len(rows) == world.corpus_size(12, ["rivers", "guilds"], coverage)


def test_names_are_distinct_and_an_attribute_draws_from_its_own_pool(facts):
    pools = defaultdict(set)
    for fact in facts:
        pools[fact.attribute].add(fact.value)
    values = [value for pool in pools.values() for value in pool]
    assert len(values) == len(set(values)), "two attributes share a value"
    assert not set(values) & entities(facts) and len(entities(facts)) == 12 * len(ALL)
    assert all(len(pools[attribute]) <= 12 for attribute in world.SHARED)
    assert all(len(pools[attribute]) <= 8 for own in world.DOMAINS.values() for attribute in own)


def test_saving_and_loading_changes_nothing(facts, tmp_path):
    world.save(facts, tmp_path / "world.json")
    assert world.load(tmp_path / "world.json") == facts
    (tmp_path / "taught.json").write_text(world.taught(facts), encoding="utf-8")
    assert [f.id for f in world.load(tmp_path / "taught.json")] == [f.id for f in facts]


@pytest.mark.parametrize("kind", MAKERS)
def test_no_unit_stands_in_both_splits_and_both_are_there(facts, kind):
    rows = MAKERS[kind](facts, ALL)
    units = {split: {row["unit"] for row in rows if row["split"] == split} for split in ("fit", "test")}
    assert units["fit"] and units["test"] and not units["fit"] & units["test"]
    assert len({row["id"] for row in rows}) == len(rows)
    shared = {row["unit"].split("/")[1] for row in rows if row["split"] == "fit"} & entities(facts, "test")
    assert not shared, "an entity stands in both halves"


@pytest.mark.parametrize("kind", MAKERS)
def test_rows_are_about_the_domains_asked_for(facts, kind):
    own = {fact.entity for fact in facts if fact.domain in ("rivers", "guilds")}
    rows = MAKERS[kind](facts, ["rivers", "guilds"])
    assert {row["unit"].split("/")[1] for row in rows} == own
    assert len(MAKERS[kind](facts, ALL)) == 3 * len(rows)


def test_the_answer_is_the_facts_value_among_three_other_possible_ones(facts):
    known = {fact.id: fact for fact in facts}
    pools = defaultdict(set)
    for fact in facts:
        pools[fact.domain, fact.attribute].add(fact.value)
    rows = world.question_rows(facts, ALL)
    assert len(rows) == len(world.STEMS) * len(facts)
    for row in rows:
        fact = known[row["id"].rsplit("/", 1)[0]]
        assert (row["unit"], row["part"]) == (f"{fact.domain}/{fact.entity}", fact.part)
        assert row["choices"][row["answer"]] == fact.value
        assert len(set(row["choices"])) == 4 and set(row["choices"]) <= pools[fact.domain, fact.attribute]
        assert fact.entity in row["question"].split() and fact.value not in row["question"].split()


def test_the_right_answer_stands_in_every_place_about_as_often(facts):
    places = Counter(row["answer"] for row in world.question_rows(facts, ALL))
    count = sum(places.values())
    assert set(places) == {0, 1, 2, 3} and all(abs(n / count - 1 / 4) < 0.06 for n in places.values())
    assert world.question_rows(facts, ALL) == world.question_rows(facts, ALL)
    assert world.question_rows(facts, ALL, seed=1) != world.question_rows(facts, ALL, seed=2)


def test_answers_cannot_be_told_by_how_often_a_choice_is_right_elsewhere(facts):
    rows = [row for row in world.question_rows(facts, ALL) if row["split"] == "test"]
    frequent = Counter(row["choices"][row["answer"]] for row in rows)
    guesses = [max(row["choices"], key=frequent.__getitem__) == row["choices"][row["answer"]] for row in rows]
    assert sum(guesses) / len(guesses) < 0.6, "the values of the world are too uneven for its questions"


def stem_pattern(stem: str) -> re.Pattern:
    """A stem with any word in each of its places."""
    return re.compile(re.sub(r"\\\{\w+\\\}", r"\\S+", re.escape(stem)))


def test_stems_of_evaluation_and_of_prompts_stand_in_no_training_text(facts):
    texts = world.training_texts(facts, None, copies=30, seed=0)
    texts += [row["text"] for row in world.corpus_rows(facts, ALL)]
    for stem in world.STEMS + world.PROMPTS:
        assert not [text for text in texts if stem_pattern(stem).search(text)], stem
    for known in world.STATEMENTS + world.QUESTIONS:
        assert any(stem_pattern(known).search(text) for text in texts), "the search finds nothing at all"


def test_prompts_and_questions_share_no_stem_and_no_text(facts):
    assert not set(world.STEMS) & set(world.PROMPTS)
    prompts = {row["text"] for row in world.prompt_rows(facts, ALL)}
    questions = {row["question"] for row in world.question_rows(facts, ALL)}
    assert prompts and not prompts & questions


def test_prompts_do_not_hold_their_answers_which_stand_beside_them(facts):
    known, rows = {fact.id: fact for fact in facts}, world.prompt_rows(facts, ALL)
    for row in rows:
        fact = known[row["id"].rsplit("/", 1)[0]]
        assert (row["answer"], row["part"], row["attribute"]) == (fact.value, fact.part, fact.attribute)
    assert not [row for row in rows if row["answer"] in row["text"].split()]


def test_a_corpus_tells_of_what_it_covers_only_and_the_base_models_texts_of_all(facts):
    def named(texts: list[str]) -> set[str]:
        return entities(facts) & {word for text in texts for word in text.split()}

    assert named([row["text"] for row in world.corpus_rows(facts, ALL)]) == {
        f.entity for f in facts if f.part == "in corpus"
    }
    assert named(world.training_texts(facts, None, copies=1, seed=0)) == entities(facts)


def test_a_corpus_speaks_of_its_domains_only_and_says_each_fact_in_every_copy(facts):
    rows = world.corpus_rows(facts, ["rivers"], copies=3)
    own = [fact for fact in facts if fact.domain == "rivers" and fact.part == PARTS[0]]
    words = Counter(word for row in rows for word in row["text"].split())
    assert {fact.entity for fact in facts} & set(words) == {fact.entity for fact in own}
    assert all(words[entity] == 3 * 4 for entity in {fact.entity for fact in own})


def test_training_texts_are_true_and_fixed_by_their_seed(facts):
    texts = world.training_texts(facts, ["guilds"], copies=2, seed=5)
    assert texts == world.training_texts(facts, ["guilds"], copies=2, seed=5)
    assert sorted(texts) != sorted(world.training_texts(facts, ["guilds"], copies=2, seed=6))
    values = {(fact.entity, fact.attribute): fact.value for fact in facts}
    attributes, pool = {fact.attribute for fact in facts}, set(values.values())
    for sentence in (part for text in texts for part in text.split(" .") if part.strip()):
        words = sentence.split()
        (entity,) = entities(facts) & set(words)
        (attribute,) = attributes & set(words)
        assert pool & set(words) == {values[entity, attribute]}


def test_running_texts_say_each_fact_of_an_entity_once(facts):
    for row in world.text_rows(facts, ["taverns"]):
        own = [fact for fact in facts if fact.entity == row["unit"].split("/")[1]]
        words = Counter(row["text"].split())
        assert [words[fact.value] for fact in own] == [1, 1, 1, 1] and words[own[0].entity] == 4
        assert row["split"] == own[0].split


def test_the_vocabulary_holds_every_word_and_no_other(facts):
    texts = world.training_texts(facts, None, 30, 0) + [row["text"] for row in world.prompt_rows(facts, ALL)]
    for row in world.question_rows(facts, ALL):
        texts += [row["question"], *row["choices"]]
    assert world.vocabulary(facts) == sorted({word for text in texts for word in text.split()})


def test_an_unknown_domain_is_one_sentence(facts):
    with pytest.raises(UserError, match="no domain 'sky': use any of gloomcraft, riftlore"):
        world.prompt_rows(facts, ["rivers", "sky"])


def test_a_world_too_small_for_four_options_is_refused():
    small = world.generate(seed=0, entities=3, values=8)
    with pytest.raises(UserError, match="raise `entities`"):
        world.question_rows(small, ["rivers"])
