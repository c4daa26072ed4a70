"""What a study needs of its texts is told while it is planned, by the user's own file."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from helpers.checkout import ROOT
from snakemake.utils import update_config

from overpaint.errors import UserError
from overpaint.sources import texts, world
from overpaint.study import sweep
from overpaint.study.configuration import complete

SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
TOPIC = "gloomcraft"
Rows = list[dict[str, Any]]
DATASET = {"repo": "owner/name", "revision": "0" * 40, "files": ["*"]}


def rows(kind: str, count: int = 60) -> Rows:
    """Rows of which every third is to fit."""
    own = {
        "corpora": {"text": "Some text."},
        "prompts": {"text": "Some"},
        "benchmarks": {"question": "Which?", "choices": ["x", "y"], "answer": 0},
    }
    heads = ({"id": f"{n}", "unit": f"{n}", "split": "test" if n % 3 else "fit"} for n in range(count))
    asked = (
        {"question": f"Which is {n}?", "choices": [f"x{n}", "y"]} if kind == "benchmarks" else {} for n in range(count)
    )
    return [head | own[kind] | question for head, question in zip(heads, asked, strict=True)]


@pytest.fixture
def planned(tmp_path) -> Callable[..., dict]:
    """planned(corpora=rows, prompts=..., benchmarks=..., **study): the default study on own files of one topic."""

    def plan(**changes: Any) -> dict:
        config = copy.deepcopy(DEFAULT)
        for catalogue in ("corpora", "prompts", "benchmarks"):
            path = tmp_path / f"{catalogue}.jsonl"
            own = changes.pop(catalogue, rows(catalogue))
            path.write_text("".join(json.dumps(row) + "\n" for row in own))
            kind = {"kind": "questions"} if catalogue == "benchmarks" else {}
            config[catalogue][TOPIC] = {"source": "file", "path": str(path), "topic": TOPIC} | kind
        update_config(config, changes.pop("catalogues", {}))
        for key, value in changes.items():
            section = config["study"] if key in config["study"] else config["methods"]["rmu"]
            update_config(section, {key: value}) if key == "measures" else section.update({key: value})
        return complete(config, SCHEMA)

    return plan


def of(split: str, count: int, kind: str = "prompts") -> Rows:
    """So many rows of one split."""
    return [row | {"split": split, "unit": f"{split}{row['unit']}"} for row in rows(kind, count)]


SENSELESS = {
    "no prompts to fit": ({"prompts": of("test", 9)}, ["prompts", "0 of the 2 or more rows of split 'fit'"]),
    "one prompt to fit": ({"prompts": of("fit", 1) + of("test", 9)}, ["prompts", "1 of the 2 or more"]),
    "one question as two facts": (
        {"benchmarks": rows("benchmarks") + [rows("benchmarks")[0] | {"unit": "again", "choices": ["y", "x0"]}]},
        ["benchmarks", "'Which is 0?'", "'again'", "'0'", "two facts"],
    ),
    "no prompts to report": ({"prompts": of("fit", 9)}, ["prompts", "split 'test'"]),
    "no questions to report": ({"benchmarks": of("fit", 9, "benchmarks")}, ["benchmarks", "split 'test'"]),
    "no questions that probes fit": ({"benchmarks": of("test", 9, "benchmarks")}, ["benchmarks", "split 'fit'"]),
    "no questions of the split shown": (
        {"benchmarks": of("test", 9, "benchmarks"), "split": "fit", "measures": {"depth": {"runs": []}}},
        ["benchmarks", "split 'fit'"],
    ),
    "empty questions that are read at every depth": (
        {"benchmarks": [row | {"question": ""} for row in rows("benchmarks")]},
        ["benchmarks", "empty questions", "study.measures.depth"],
    ),
    "no batch": ({"corpora": rows("corpora", 3)}, ["corpora", "3 texts", "methods.rmu.batch is 4"]),
    "no batch of long texts": ({"min_chars": 10}, ["corpora", "0 texts longer than 10", "min_chars"]),
    "too few texts to relearn": ({"corpora": rows("corpora", 55)}, ["corpora", "55 texts", "relearning.examples"]),
    "an empty corpus": ({"corpora": []}, ["corpora", "holds no rows"]),
    "a bad row": ({"benchmarks": [{"id": "1"}]}, ["benchmarks", "line 1", "`unit` is missing"]),
}


PLAIN = "a longer text of another topic"


def retained(tmp_path, *counts: int, **more: Any) -> dict[str, Any]:
    """Corpora to retain in files of one's own, of so many texts, and further entries."""
    entries = {}
    for number, count in enumerate(counts):
        path = tmp_path / f"retained{number}.jsonl"
        path.write_text("".join(json.dumps({"id": f"{n}", "text": PLAIN}) + "\n" for n in range(count)))
        entries[f"retained{number}"] = {"source": "file", "path": str(path), "topic": f"plain{number}"}
    return entries | {name: {"source": "dataset", "dataset": "own", "topic": name} | own for name, own in more.items()}


@pytest.mark.parametrize(
    ("counts", "more", "changes", "said"),
    [
        ((1, 2), {}, {}, "3 texts longer than 0"),
        ((4, 9), {}, {"min_chars": len(PLAIN)}, f"0 texts longer than {len(PLAIN)}"),
        ((1,), {"pages": {"max_rows": 2}}, {}, "3 texts longer than 0"),
        ((2, 2), {}, {}, None),
        ((1,), {"pages": {"max_rows": 3}}, {}, None),
        ((1, 2), {"pages": {}}, {}, None),  # nobody knows yet how many there are
    ],
)
def test_corpora_to_retain_fill_a_batch_together_or_all_are_named(planned, tmp_path, counts, more, changes, said):
    entries = retained(tmp_path, *counts, **more)
    catalogues = {"corpora": entries, "datasets": {"own": DATASET}}
    try:
        changes |= {"measures": {"relearning": {"runs": []}}}
        planned(catalogues=catalogues, retain=list(entries), forget=["riftlore"], **changes)
    except UserError as error:
        assert said and said in str(error) and "methods.rmu.batch is 4" in str(error)
        assert all(f"corpora.{name} ({own['path']})" in str(error) for name, own in entries.items() if "path" in own)
        assert all(f"corpora.{name}" in str(error) for name in entries)
    else:
        assert said is None


def test_corpora_to_retain_are_relearned_together(planned, tmp_path):
    for counts, enough in (((30, 26), True), ((30, 25), False)):
        entries = retained(tmp_path, *counts)
        study = {"catalogues": {"corpora": entries}, "retain": list(entries), "forget": ["riftlore"]}
        if enough:
            planned(**study)
        else:
            with pytest.raises(UserError, match="corpora.retained1 .* has 55 texts, and study.measures.relearning"):
                planned(**study)


@pytest.mark.parametrize("fault", SENSELESS)
def test_a_file_that_the_study_cannot_use_is_refused_by_its_path(planned, tmp_path, fault):
    changes, parts = SENSELESS[fault]
    with pytest.raises(UserError) as caught:
        planned(**changes)
    sentence = str(caught.value)
    assert str(tmp_path / f"{parts[0]}.jsonl") in sentence and "\n" not in sentence and sentence.endswith(".")
    assert [part for part in parts if part not in sentence] == [], sentence


ENOUGH = {
    "the whole": {},
    "two prompts to fit": {"prompts": of("fit", 2) + of("test", 1)},
    "questions of the split that is shown, where no probe is fitted": {
        "benchmarks": of("test", 1, "benchmarks"), "measures": {"depth": {"runs": []}},
    },
    "empty questions that are only scored": {
        "benchmarks": [row | {"question": ""} for row in rows("benchmarks")], "measures": {"depth": {"runs": []}},
    },
    "one batch, where nothing is relearned": {"corpora": rows("corpora", 4), "measures": {"relearning": {"runs": []}}},
}  # fmt: skip


@pytest.mark.parametrize("case", ENOUGH)
def test_what_is_enough_is_accepted(planned, case):
    assert planned(**ENOUGH[case])["corpora"][TOPIC]["source"] == "file"


# --- texts that are not there yet

OTHERS = {
    "a share that leaves no prompts to fit": ("prompts", {"fit": 0}, "prompts.gloomcraft.fit is 0"),
    "a share that leaves no prompts to report": ("prompts", {"fit": 1}, "prompts.gloomcraft.fit is 1"),
    "one prompt of each split": ("prompts", {"max_rows": 1}, "prompts.gloomcraft.max_rows is 1"),
    "a share that leaves nothing to report": ("benchmarks", {"fit": 1}, "benchmarks.gloomcraft.fit is 1"),
    "fewer texts than a batch": ("corpora", {"max_rows": 3}, "3 texts"),
    "fewer texts than are relearned": ("corpora", {"max_rows": 50}, "50 texts"),
}


@pytest.mark.parametrize("fault", OTHERS)
def test_what_settings_leave_too_little_of_is_refused(fault):
    catalogue, changes, said = OTHERS[fault]
    config = copy.deepcopy(DEFAULT)
    config["datasets"]["own"] = DATASET
    entry = {"source": "dataset", "dataset": "own", "topic": TOPIC}
    config[catalogue][TOPIC] = entry | ({"kind": "questions"} if catalogue == "benchmarks" else {})
    complete(copy.deepcopy(config), SCHEMA)
    config[catalogue][TOPIC] |= changes
    with pytest.raises(UserError, match=said):
        complete(config, SCHEMA)


@pytest.mark.parametrize(("entities", "domains"), [(4, 1), (7, 2), (8, 1), (24, 4)])
def test_the_size_of_a_fictional_corpus_is_known_beforehand(entities, domains):
    chosen, facts = list(world.DOMAINS)[:domains], world.generate(entities=entities, values=8)
    assert len(world.corpus_rows(facts, chosen)) == world.corpus_size(entities, chosen)


def test_a_fictional_corpus_that_is_too_small_is_refused():
    config = copy.deepcopy(DEFAULT)
    config["study"]["measures"]["relearning"]["examples"] = [0, 61]
    with pytest.raises(UserError, match=r"corpora.gloomcraft has 60 texts, .* asks for 61"):
        complete(config, SCHEMA)


def test_prompts_of_any_source_are_looked_at_before_they_are_written():
    texts.check_splits(of("fit", 2) + of("test", 1), texts.PROMPTS, "the data set pages")
    with pytest.raises(UserError, match="the data set pages has 0 of the 1 or more rows of split 'test'"):
        texts.check_splits(of("fit", 2), texts.PROMPTS, "the data set pages")


def test_the_default_study_has_what_these_tests_are_about():
    config = complete(copy.deepcopy(DEFAULT), SCHEMA)
    assert sweep.picked(config, config["study"]["measures"]["depth"]["runs"]) and sweep.picked(
        config, config["study"]["measures"]["relearning"]["runs"]
    )
