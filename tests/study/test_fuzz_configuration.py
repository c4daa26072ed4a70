"""What no study can mean is refused in a sentence, and no configuration, however odd, ends in a traceback.

OVERPAINT_SEED chooses other mutations; a failure prints the seed and the mutation.
"""

import copy
import datetime
import json
import math
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.checkout import copy_checkout, snakemake
from helpers.configurations import (
    COMMIT,
    DEFAULT,
    PLAN_SCHEMA,
    ROOT,
    SCHEMA,
    STUDIES,
    both,
    merged,
    model_folder,
    put,
    refusal,
    with_worlds,
)
from snakemake.utils import update_config

from overpaint.errors import UserError
from overpaint.study import resources, sweep
from overpaint.study.configuration import complete, read_preregistration

SEED = int(os.environ.get("OVERPAINT_SEED", "1"))  # a fixed one, so that a change alone decides what passes
MUTATIONS, EACH = 110, 1
MANY = [False, pytest.param(True, marks=pytest.mark.long)]  # the latter three times as many
Change = Callable[[dict], None]
PACKAGE = {"package": "p", "version": "1", "sha256": "0" * 64, "member": "m"}
CATALOGUES = [
    "worlds", "packages", "datasets", "models", "corpora", "prompts", "benchmarks", "methods", "clearings",
]  # fmt: skip

# --- names


def renamed(catalogue: str, old: str, new: object) -> Change:
    """A change that adds an entry `new` like `old`."""

    def change(config: dict) -> None:
        entries = config.setdefault(catalogue, {})
        entries[new] = copy.deepcopy(entries.get(old, next(iter(entries.values()), PACKAGE)))

    return change


NO_NAMES = [
    "../../x", "a/b", "", ".", "..", " ", "a b", "a\nb", "x\n", "-x", "_x", ".x", "a{b}", "<b>", "a&b", "$(id)", "é",
    "=cmd|' !A0", "\x1b[31m", "x" * 101, "\u2028", "a:b", "rand/0", "rand/fit0",
]  # fmt: skip
NO_TEXT = [13, 1.5, False, True, None, datetime.date(2026, 1, 31)]


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_a_catalogue_key_that_is_no_name_is_refused_where_it_stands(catalogue):
    for name in NO_NAMES if catalogue == "models" else NO_NAMES[:3]:
        assert catalogue in refusal(renamed(catalogue, "", name)).partition("Valid")[0]


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_a_catalogue_key_that_yaml_reads_as_no_text_is_to_be_quoted(catalogue):
    for name in NO_TEXT:
        sentence = refusal(renamed(catalogue, "", name))
        assert catalogue in sentence and repr(name) in sentence and "quotation marks" in sentence


def test_a_study_and_a_topic_are_called_as_catalogue_keys_are():
    for name in NO_NAMES:
        assert "study.name" in refusal(put("study", "name", value=name))
        assert "corpora.everyday.topic" in refusal(put("corpora", "everyday", "topic", value=name))
    for catalogue in ("prompts", "benchmarks"):
        assert f"{catalogue}.everyday.topic" in refusal(put(catalogue, "everyday", "topic", value="a\n"))


@pytest.mark.parametrize("name", NO_TEXT, ids=repr)
def test_a_topic_that_yaml_reads_as_no_text_is_to_be_quoted(name):
    sentence = refusal(put("corpora", "everyday", "topic", value=name))
    assert "corpora.everyday.topic" in sentence and "quotation marks" in sentence


RESERVED = {
    "models": ["downloads", "worlds", "tables", "reports", "figures", "all", "Tables", "x.json", "x.csv"],
    "methods": ["checkpoint", "corpora", "prompts", "benchmarks", "prefix", "base", "all", "weights.csv", "x.job"],
    "clearings": ["all", "none", "span.job.json"],
    "benchmarks": ["all", "All"],
    "packages": ["datasets", "x.job.json"],
    "datasets": ["x.job.json"],
    "worlds": ["x.job"],
}  # fmt: skip


@pytest.mark.parametrize(("catalogue", "name"), [(key, name) for key, names in RESERVED.items() for name in names])
def test_a_name_that_something_else_has_is_refused(catalogue, name):
    sentence = refusal(renamed(catalogue, {"methods": "rmu", "clearings": "topic"}.get(catalogue, ""), name))
    assert catalogue in sentence and name in sentence


@pytest.mark.parametrize("topic", ["all", "All", "retain"])
def test_a_topic_that_tables_call_something_else_is_refused(topic):
    assert "prompts.everyday.topic" in refusal(put("prompts", "everyday", "topic", value=topic))


def test_names_that_differ_in_their_case_alone_are_one_folder_on_some_disks():
    sentence = refusal(renamed("models", "miniature", "Miniature"))
    assert "models" in sentence and "'Miniature'" in sentence and "'miniature'" in sentence


NAMES = ["NA", "null", "2024", "Qwen2.5-0.5B", "c++", "a_b", "x" * 100, "0"]


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_that_is_one_is_accepted(name):
    config = copy.deepcopy(DEFAULT)
    for catalogue in CATALOGUES:
        renamed(catalogue, {"clearings": "topic", "methods": "rmu"}.get(catalogue, "everyday"), name)(config)
    config["worlds"][name], config["models"][name] = {"seed": 1}, {"source": "fictional", "world": name}
    config["corpora"][name]["topic"] = config["study"]["name"] = name
    config["study"]["output"] = f"results/{name}"
    assert name in complete(config, SCHEMA)["clearings"]


# --- places

OUTPUTS = [
    "", " ", ".", "./", "..", "/", "~", "~/..", "~nobody-here/x", "src", "src/", "docs/x", "./src/../src",
    "results/../src", "../x", "results/..", ".git", ".venv/x", ".snakemake", "logs", "studies", "tests/x", "/proc/x",
    "/proc", "/sys/x", "/etc", "/usr/x", "/dev/x", "results/\n", "results/\x00", "results/{x}", "results/<x>",
    "$HOME/x", "results/$(id)", "${X}", "x" * 300, "x/" * 600, "README.md", "README.md/x", "results/\x1b[31m",
    "results/\u2028", None, 3, False, ["results"], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: ascii(output)[:30])
def test_an_output_that_is_no_folder_of_its_own_is_refused(output):
    assert "study.output" in refusal(put("study", "output", value=output))


def test_no_output_is_a_folder_that_the_repository_holds():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    names = {name.split("/")[0] for name in tracked}
    assert {"src", "docs", "workflow", "Snakefile", "Makefile"} <= names
    for name in names:
        assert "study.output" in refusal(put("study", "output", value=name)), name


def test_an_output_that_leads_elsewhere_is_judged_by_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to(ROOT / "src")
    (tmp_path / "own").symlink_to(tmp_path)
    assert "study.output" in refusal(put("study", "output", value=f"{tmp_path}/link/x"))
    config = merged()
    config["study"]["output"] = f"{tmp_path}/own/x"
    assert complete(config, SCHEMA)["study"]["output"] == f"{tmp_path}/own/x"


def test_an_output_whose_figures_no_study_made_is_refused(tmp_path):
    (tmp_path / "figures").mkdir()
    assert "figures/ would be replaced" in refusal(put("study", "output", value=str(tmp_path)))
    (tmp_path / "tables").mkdir()
    config = merged()
    config["study"]["output"] = str(tmp_path)
    complete(config, SCHEMA)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("results/mine/", "results/mine"),
        ("./results//mine", "results/mine"),
        ("results/with space", "results/with space"),
        ("results/o'brien;&#", "results/o'brien;&#"),
        ("~/results", str(Path.home() / "results")),
        ("/dev/shm/x", "/dev/shm/x"),
    ],
)
def test_an_output_is_spelt_out(written, read):
    config = merged()
    config["study"]["output"] = written
    assert complete(config, SCHEMA)["study"]["output"] == read


def write_texts(folder: Path) -> None:
    """A corpus, prompts and questions of one's own, enough for any study."""
    rows = [{"id": f"{n}", "unit": f"{n}", "split": ("fit", "test")[n % 2], "text": f"text {n}"} for n in range(8)]
    questions = [row | {"question": f"{row['text']}?", "choices": ["x", "y"], "answer": 0} for row in rows]
    for name, own in (("corpus", rows), ("prompts", rows), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))


def test_the_home_folder_is_known_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_texts(tmp_path)
    (tmp_path / "preregistration.yaml").write_text((ROOT / "preregistration.yaml").read_text())
    (tmp_path / "model").mkdir()
    model_folder(tmp_path / "model", num_hidden_layers=6)
    config = merged()
    with_worlds(config)
    config["study"] |= {"preregistration": "~/preregistration.yaml", "naive_model": ""}
    config["study"]["measures"]["relearning"]["runs"] = []
    config["models"]["miniature"] = {"source": "folder", "path": "~/model/"}
    files = {"corpora": "corpus", "prompts": "prompts", "benchmarks": "questions"}
    for catalogue, name in files.items():
        config[catalogue]["everyday"] = {"source": "file", "path": f"~/{name}.jsonl", "topic": "everyday"}
    config["benchmarks"]["everyday"]["kind"] = "questions"
    found = complete(config, SCHEMA)
    assert read_preregistration(found, PLAN_SCHEMA)["least"] == 3
    assert found["models"]["miniature"]["path"] == f"{tmp_path}/model"
    assert {found[key]["everyday"]["path"] for key in files} == {f"{tmp_path}/{name}.jsonl" for name in files.values()}


# --- numbers

NUMBERS = [math.nan, math.inf, -math.inf, -1, 10**9, 2**64, 10**30, 10**400, True, None, "2", "many", [], {}]
WHOLE = [1.0, 2.0, 2.5]
INTEGERS = [
    ("study", "measures", "coherence", "shown"), ("study", "measures", "coherence", "prompts"),
    ("study", "measures", "relearning", "batch"), ("study", "measures", "relearning", "max_tokens"),
    ("study", "measures", "relearning", "examples", 0), ("study", "measures", "emergence", "snapshots"),
    ("study", "runs", 0, "layer"), ("study", "runs", 0, "layer", 0), ("study", "evaluate", 3, "layer"),
    ("worlds", "miniature", "entities"), ("worlds", "miniature", "values"), ("models", "miniature", "width"),
    ("models", "miniature", "layers"), ("models", "miniature", "heads"), ("models", "miniature", "steps"),
    ("models", "miniature", "batch"), ("models", "miniature", "length"), ("methods", "rmu", "batch"),
    ("methods", "rmu", "max_tokens"), ("methods", "rmu", "forget_max_tokens"),
    ("methods", "rmu", "max_batches"), ("methods", "rmu_mixtral", "min_chars"), ("corpora", "wmdp_bio", "min_chars"),
    ("clearings", "rand", "draws"), ("clearings", "rand", "rank"), ("clearings", "span_boot", "resamples"),
]  # fmt: skip
SEEDS = [("study", "runs", 0, "seed"), ("study", "runs", 0, "seed", 0), ("worlds", "miniature", "seed"),
         ("models", "miniature", "seed")]  # fmt: skip
REALS = [
    ("study", "measures", "relearning", "lr", 0), ("study", "runs", 0, "c"), ("study", "runs", 0, "c", 1),
    ("study", "evaluate", 3, "c"),
    ("models", "miniature", "lr"), ("methods", "rmu", "lr"), ("methods", "rmu", "alpha"),
    ("clearings", "strength_0.5", "strength"),
    ("prompts", "wmdp_bio", "fit"), ("benchmarks", "wmdp_bio", "fit"),
]  # fmt: skip


def where(path: tuple) -> str:
    """The part of a place that any sentence about it names."""
    return ".".join(map(str, path[:3]))


def check_refused(path: tuple, values: list) -> None:
    """All of the values are refused at a place."""
    for value in values:
        sentence = refusal(put(*path, value=value))
        assert where(path) in sentence or where(path[:2]) in sentence, sentence


def thirds(paths: list[tuple], values: list) -> list:
    """Cases of (place, values): at each place a third of the values, at the next another one; the rest are long."""
    return [
        pytest.param(
            path, values[part::3], id=f"{'.'.join(map(str, path))}-{part}",
            marks=[pytest.mark.long] if (part + number) % 3 else [],
        )
        for number, path in enumerate(paths) for part in range(3)
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "values"), thirds(INTEGERS, NUMBERS + WHOLE))
def test_what_is_no_number_of_things_is_refused(path, values):
    check_refused(path, values)


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: ".".join(map(str, path)))
def test_what_is_no_seed_is_refused(path):
    check_refused(path, [value for value in NUMBERS if value != 10**9] + WHOLE)
    config = merged()
    for name in ("miniature", "miniature_untaught"):
        put("models", name, "source", value="fictional")(config)
    put(*path, value=2**63 - 1)(config)
    complete(config, SCHEMA)


@pytest.mark.parametrize(("path", "values"), thirds(REALS, NUMBERS))
def test_what_is_no_quantity_is_refused(path, values):
    check_refused(path, values)


@pytest.mark.parametrize(
    ("path", "value", "hint"),
    [
        (("study", "measures", "coherence", "shown"), "2", "write 2 without quotation marks, and in a file"),
        (("study", "measures", "coherence", "shown"), "1e1", "write 10"),
        (("study", "measures", "coherence", "shown"), 4.0, "write 4, without a point"),
        (("methods", "rmu", "lr"), "5e-5", "write 5.0e-05"),
        (("methods", "rmu", "lr"), "0.5", "write 0.5 without quotation marks"),
        (("methods", "rmu", "lr"), "nan", "not of type 'number'. Valid"),
    ],
)
def test_how_a_number_is_written_is_said(path, value, hint):
    assert hint.removesuffix(" Valid") in refusal(put(*path, value=value))


@pytest.mark.parametrize(("width", "heads"), [(33, 1), (32, 3), (32, 5), (32, 64), (32, 32), (30, 2)])
def test_heads_that_cannot_share_the_width_are_refused(width, heads):
    shape = {"source": "fictional", "world": "miniature", "width": width, "heads": heads}
    assert "models.odd.width" in refusal(put("models", "odd", value=shape))


# --- plans


def evaluate(*entries: tuple, **cell: Any) -> Change:
    """A change of `study.evaluate`: (clearings, benchmarks) of every entry; `cell` limits the last."""
    listed = [{"clearings": list(clearings), "benchmarks": list(benchmarks)} for clearings, benchmarks in entries]
    listed[-1] |= cell
    return put("study", "evaluate", value=listed)


HAZARDOUS = ["gloomcraft", "riftlore"]
HUB = {"source": "hub", "repo": "o/n", "revision": COMMIT, "layers": 6}


def published(settings: dict):
    """The method rmu is a released model, and its variants are as it is."""
    variants = (put("methods", f"rmu_{name}", value={"like": "rmu"}) for name in (10, 30, 300, 1000, "first"))
    return both(put("methods", "rmu", value=settings), *variants)


RELEASED = published({"kind": "published", "model": "released"})
DATASET = {"source": "dataset", "dataset": "wmdp"}
PLAIN_FILE = {"source": "file", "path": "somewhere.jsonl"}
PLANS = {
    "the same questions under two topics": (
        lambda config: (
            config["benchmarks"].update(again=config["benchmarks"]["gloomcraft"] | {"topic": "everyday"}),
            config["study"]["evaluate"][0]["benchmarks"].append("again"),
        ),
        ["study.evaluate", "'gloomcraft'", "'again'", "one topic"],
    ),
    "a clearing without none on its benchmark": (
        evaluate((["none", "span"], HAZARDOUS), (["span"], ["everyday"])),
        ["study.evaluate", "'span'", "'everyday'", "`none`"],
    ),
    "none on one topic, the primary on the other": (
        evaluate((["none"], ["gloomcraft"]), (["span"], HAZARDOUS)),
        ["study.evaluate", "'riftlore'", "`none`"],
    ),
    "a null without none in one cell": (
        evaluate((["none", "span"], HAZARDOUS), (["rand"], ["everyday"]), layer=3, c=4),
        ["study.evaluate", "'rand'", "layer 3, c = 4"],
    ),
    "none in one cell alone": (
        evaluate((["span"], HAZARDOUS), (["none"], HAZARDOUS), layer=3),
        ["study.evaluate", "'span'", "layer 2", "`none`"],
    ),
    "a primary in one cell alone": (
        evaluate((["none"], HAZARDOUS), (["span"], HAZARDOUS), c=4),
        ["study.evaluate", "study.headline.clearing ('span')", "layer 2, c = 2"],
    ),
    "a layer of no run": (
        evaluate((["none", "span"], HAZARDOUS), (["topic"], HAZARDOUS), layer=[3, 4]),
        ["study.evaluate.1.layer has 4", "layer: 2, 3"],
    ),
    "a value of c of no run": (
        evaluate((["none", "span"], HAZARDOUS), (["topic"], HAZARDOUS), c=5),
        ["study.evaluate.1.c has 5", "c: 2, 4, 8"],
    ),
    "a cell of no run": (
        both(
            put("study", "runs", value=[{"method": "rmu", "layer": [2, 3], "c": 4, "seed": 0},
                                        {"method": "rmu", "layer": 3, "c": 8, "seed": 0}]),
            evaluate((["none", "span"], HAZARDOUS), (["topic"], HAZARDOUS), layer=2, c=8),
        ),
        ["study.evaluate.1", "no run"],
    ),
    "no question on a hazardous topic": (
        evaluate((["none", "span"], ["gloomcraft", "everyday"])),
        ["study.evaluate", "'riftlore'", "questions", "riftlore, riftlore_text"],
    ),
    "running text alone": (
        evaluate((["none", "span"], ["gloomcraft_text", "riftlore_text"])),
        ["study.evaluate", "'gloomcraft'", "questions"],
    ),
    "a benchmark's topic misspelt": (
        both(
            put("benchmarks", "riftlore", "topic", value="Riftlore"),
            put("benchmarks", "riftlore_text", "topic", value="rift_lore"),
        ),
        ["study.evaluate", "'riftlore'", "of this topic are: none"],
    ),
    "the base among the runs": (put("study", "runs", 0, "method", value=["rmu", "base"]), ["study.runs", "'base'"]),
    "a run twice": (
        put("study", "runs", value=[DEFAULT["study"]["runs"][0], {"method": "rmu", "layer": 3, "c": 4.0, "seed": 2}]),
        ["study.runs", "rmu/layer=3/c=4/seed=2", "more than once"],
    ),
    "a value twice": (put("study", "runs", 0, "c", value=[4, 4.0]), ["study.runs.0.c", "non-unique"]),
    "the same corpus to forget and to retain": (
        put("study", "retain", value=["gloomcraft"]),
        ["study.forget", "'gloomcraft'", "leave one out"],
    ),
    "one of the domains to forget and to retain": (
        put("corpora", "everyday", "domains", value=["rivers", "riftlore"]),
        ["study.forget", "'riftlore'", "'everyday'"],
    ),
    "one file to forget and to retain": (
        both(
            put("corpora", "riftlore", value=PLAIN_FILE | {"topic": "riftlore"}),
            put("corpora", "everyday", value=PLAIN_FILE | {"topic": "everyday", "path": "src/../somewhere.jsonl"}),
        ),
        ["study.forget", "'riftlore'", "'everyday'"],
    ),
    "a file of one's own where the study writes": (
        put("corpora", "everyday", value=PLAIN_FILE | {"topic": "x", "path": "results/miniature/corpora/x.jsonl"}),
        ["corpora.everyday.path", "copy it elsewhere"],
    ),
    "one data set to forget twice": (
        both(*(put("corpora", name, value=DATASET | {"topic": name}) for name in HAZARDOUS)),
        ["study.forget", "'gloomcraft'", "'riftlore'"],
    ),
    "the same prompts in a copy": (
        both(
            put("prompts", "riftlore", value={"source": "file", "topic": "riftlore", "path": "LICENSE"}),
            put("prompts", "everyday", value={"source": "file", "topic": "everyday", "path": "./tests/../LICENSE"}),
        ),
        ["study.prompts", "'riftlore'", "'everyday'"],
    ),
    "a retained corpus of a hazardous topic": (
        put("corpora", "everyday", "topic", value="riftlore"),
        ["study.forget", "'riftlore'", "'everyday'"],
    ),
    "the same prompts as hazardous and benign": (
        put("prompts", "everyday", "domains", value=["riftlore"]),
        ["study.prompts", "'riftlore'", "'everyday'"],
    ),
    "a released model that is the base": (
        published({"kind": "published", "model": "miniature"}),
        ["methods.rmu.model", "'miniature'", "base model itself"],
    ),
    "a released model that is the base by another name": (
        both(
            put("models", "miniature", value=HUB), with_worlds, RELEASED,
            put("models", "released", value=HUB | {"dtype": "bfloat16", "parameters": 5}),
        ),
        ["methods.rmu.model", "'released'", "'miniature'"],
    ),
    "one model under two names": (
        both(renamed("models", "miniature", "twin"), put("study", "model", value=["miniature", "twin"])),
        ["study.model", "'twin'", "same model"],
    ),
    "a naive model that is the base": (
        put("study", "naive_model", value="miniature"),
        ["study.naive_model", "'miniature'"],
    ),
    "fewer measured than shown": (
        put("study", "measures", "coherence", "prompts", value=3),
        ["study.measures.coherence.prompts is 3", "`shown` (4)", "4 or more"],
    ),
    "a null of coherence that is measured anyway": (
        put("study", "measures", "coherence", "nulls", value=["span"]),
        ["study.measures.coherence.nulls", "'span'"],
    ),
    "a chat template without a template": (
        put("benchmarks", "everyday", "chat_template", value=True),
        ["benchmarks.everyday.chat_template", "'miniature'", "no chat template"],
    ),
    "an empty evaluation": (put("study", "evaluate", value=[]), ["study.evaluate", "non-empty"]),
    "a dictionary for the evaluation": (put("study", "evaluate", value={}), ["study.evaluate", "array"]),
    "a strength of nothing": (put("clearings", "span", "strength", value=0), ["clearings.span.strength", "minimum"]),
    "a training of no steps": (put("methods", "rmu", "steps", value=0), ["methods.rmu.steps", "minimum"]),
    "half a headline's cell": (put("study", "headline", "layer", value=None), ["study.headline", "null for both"]),
    "a main cell that no run has": (
        put("study", "headline", value={"clearing": "span", "layer": 2, "c": 5}),
        ["study.headline", "or null"],
    ),
    "a world too small for its questions": (
        put("worlds", "miniature", value={"entities": 4, "values": 5}),
        ["worlds.miniature", "four values", "`entities`"],
    ),
    "control vectors for a null of coherence of a released model": (
        both(
            published({"kind": "published", "model": "miniature_untaught"}),
            evaluate((["none", "span"], HAZARDOUS)),
            put("study", "measures", "emergence", value={}),
            put("study", "measures", "coherence", "nulls", value=["u"]),
        ),
        ["'u'", "saved control vectors"],
    ),
    "a prior that is not used": (put("benchmarks", "everyday", "prior", value="So:"), ["benchmarks.everyday.prior"]),
    "a blank column": (put("prompts", "wmdp_bio", "column", value=""), ["prompts.wmdp_bio.column"]),
    "half a character": (
        put("benchmarks", "everyday", "description", value="\ud800"),
        ["benchmarks.everyday.description"],
    ),
    "a commit and a line break": (
        put("datasets", "wmdp", "revision", value=COMMIT + "\n"),
        ["datasets.wmdp.revision", "40 hexadecimal"],
    ),
    "a repository and a line break": (put("datasets", "wmdp", "repo", value="o/n\n"), ["datasets.wmdp.repo"]),
    "a hash and a line break": (
        put("packages", value={"p": PACKAGE | {"sha256": "0" * 64 + "\n"}}),
        ["packages.p.sha256"],
    ),
    "an option for a package": (
        put("packages", value={"p": PACKAGE | {"package": "-r"}}),
        ["packages.p.package"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_that_must_fail_fails_at_once(plan):
    change, parts = PLANS[plan]
    sentence = refusal(change)
    assert [part for part in parts if part not in sentence] == [], sentence


@pytest.mark.parametrize("primary", ["none", "rand", "randn", "ones", "benign", "on_base"])
def test_a_primary_that_brings_nothing_back_is_refused(primary):
    assert "study.headline.clearing" in refusal(put("study", "headline", "clearing", value=primary))


@pytest.mark.parametrize(
    "text",
    [
        None, "", "{", "[]", "{}", '{"num_hidden_layers": "6"}', '{"num_hidden_layers": true}', '{"n_layer": -1}',
        '{"num_hidden_layers": null}', '{"num_hidden_layers": NaN}', '{"text_config": {}}', "[" * 100_000, b"\xff\xfe",
        '{"num_hidden_layers": 1' + "0" * 5000 + "}",
    ],
    ids=lambda text: ascii(text)[:30],
)  # fmt: skip
def test_a_model_folder_that_does_not_say_its_blocks_is_one_sentence(tmp_path, text):
    model_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    if text is not None:
        (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    sentence = refusal(put("models", "miniature", value={"source": "folder", "path": str(tmp_path)}), with_worlds)
    assert "models.miniature.path" in sentence and "config.json" in sentence


@pytest.mark.parametrize(
    "config",
    [{"num_hidden_layers": 3}, {"n_layer": 3}, {"text_config": {"num_hidden_layers": 3}, "num_hidden_layers": 9}],
)
def test_the_blocks_of_a_model_folder_are_counted(tmp_path, config):
    model_folder(tmp_path, **config)
    sentence = refusal(put("models", "miniature", value={"source": "folder", "path": str(tmp_path)}), with_worlds)
    assert "layer 3, outside the model 'miniature'" in sentence and "from 2 to 2" in sentence


def test_a_pipe_in_a_model_folder_is_not_waited_for(tmp_path):
    model_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    os.mkfifo(tmp_path / "config.json")
    folder = put("models", "miniature", value={"source": "folder", "path": str(tmp_path)})
    assert "config.json cannot be read" in refusal(folder, with_worlds)


def test_a_chat_template_is_found_in_a_model_folder(tmp_path):
    model_folder(tmp_path, num_hidden_layers=6)
    config = merged()
    with_worlds(config)
    config["models"]["miniature"] = {"source": "folder", "path": str(tmp_path)}
    config["benchmarks"]["everyday"]["chat_template"], config["study"]["naive_model"] = True, ""
    for text in ("{}", '{"chat_template": null}'):
        (tmp_path / "tokenizer_config.json").write_text(text)
        with pytest.raises(UserError, match="no chat template"):
            complete(config, SCHEMA)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    complete(config, SCHEMA)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "chat_template.jinja").touch()
    complete(config, SCHEMA)


# --- what a layered study inherits

NO_CELL = {"clearing": "span", "layer": None, "c": None}


def test_a_study_of_other_runs_has_no_headline_cell_that_it_never_named():
    config = merged()
    config["study"]["runs"] = [{"method": "rmu", "layer": 2, "c": [4, 16], "seed": 0}]
    found = complete(config, SCHEMA)
    assert found["study"]["headline"] == NO_CELL and complete(found, SCHEMA) == found
    config["study"]["headline"] |= {"layer": 3, "c": 5}
    with pytest.raises(UserError, match="study.headline"):
        complete(config, SCHEMA)


def test_the_headline_may_be_left_to_the_rule():
    config = merged()
    config["study"]["headline"] = {"clearing": "span"}
    assert complete(config, SCHEMA)["study"]["headline"] == NO_CELL
    assert complete(merged(), SCHEMA)["study"]["headline"] == {"clearing": "span", "layer": 3, "c": 4}


def test_the_studies_that_the_documentation_shows_are_planned(tmp_path, monkeypatch):
    """One's own model and data, and then a released model alone."""
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/methods.md"))
    blocks = [yaml.safe_load(part.split("```")[0]) for part in pages.split("```yaml\n")[1:]]
    own, released = (next(b for b in blocks if name in b.get("methods", {})) for name in ("rmu_mine", "zephyr_rmu"))
    monkeypatch.chdir(tmp_path)
    for entry in (own["models"]["mine"], released["models"]["zephyr_rmu"]):
        entry["path"] = str(tmp_path / Path(entry["path"]).name)
        Path(entry["path"]).mkdir()
        model_folder(Path(entry["path"]), num_hidden_layers=32)
    (tmp_path / "mine").mkdir()
    write_texts(tmp_path / "mine")
    for file, kind in (
        ("forget", "corpus"),
        ("retain", "corpus"),
        ("plain_prompts", "prompts"),
        ("plain_questions", "questions"),
    ):
        (tmp_path / f"mine/{file}.jsonl").write_text(
            (tmp_path / f"mine/{kind}.jsonl").read_text().replace("text ", file)
        )
    config = copy.deepcopy(DEFAULT)
    update_config(config, own)
    assert list(sweep.chosen(complete(config, SCHEMA))["methods"]) == ["base", "rmu_mine"]
    update_config(config, released)
    found = complete(config, SCHEMA)
    assert list(sweep.chosen(found)["methods"]) == ["base", "zephyr_rmu"]


def test_a_released_model_alone_is_a_study():
    config = merged(ROOT / "studies/zephyr.yaml")
    config["study"]["runs"] = [{"method": "zephyr_rmu", "layer": 7, "c": 6.5, "seed": 0}]
    assert list(sweep.chosen(complete(config, SCHEMA))["methods"]) == ["base", "zephyr_rmu"]
    config = merged()
    config["methods"]["released"] = {"kind": "published", "model": "miniature_untaught"}
    config["study"]["runs"] = [{"method": "released", "layer": 2, "c": 6.5, "seed": 0}]
    assert complete(config, SCHEMA)["study"]["headline"] == NO_CELL


# What is accepted though it means nothing: why.
ACCEPTED = {
    "study: {evaluate: {}}": "Snakemake merges it into the list that is there, and so it says nothing",
    "study: {}": "it says nothing",
    "clearings: {unused: {direction: ones, draws: 5}}": "a setting that its kind of direction does not use",
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_says_nothing_changes_nothing(text):
    config = copy.deepcopy(DEFAULT)
    update_config(config, yaml.safe_load(text))
    assert len(ACCEPTED) <= 10 and complete(config, SCHEMA)["study"] == complete(merged(), SCHEMA)["study"]


# --- mutations

ODD = [
    None, True, False, 0, 1, -1, 2**63, 10**400, 0.5, 4.0, math.nan, math.inf, 1e300, "", " ", ".", "..", "/", "~",
    "no", "5e-5", "all", "none", "base", "x" * 5000, "a\nb", "\x00", "\ud800", "\u2028", "{b}", "{", "{{7*7}}", "<b>",
    "../../x", "$(touch x)", "'; touch x; '", "-rf", "é", "None", "NaN", [], [[]], {}, {"a": {"b": 1}}, [None],
    ["none", "none"],
    datetime.date(2026, 1, 31), b"bytes", {1: 2}, {None: None},
]  # fmt: skip


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from places(part, (*path, key))


def at(config: dict, path: tuple) -> Any:
    for key in path:
        config = config[key]
    return config


def named_as(path: tuple) -> tuple:
    """The key that a value, or the list it is in, stands under, and how deep."""
    return next((key for key in path[::-1] if not isinstance(key, int)), ""), isinstance(path[-1], int), len(path)


def mutate(config: dict, rng: random.Random) -> str:
    """Change a configuration in one place, and say how."""
    found = list(places(config))
    path, odd = rng.choice(found), copy.deepcopy(rng.choice(ODD))
    holder, key = at(config, path[:-1]), path[-1]
    kind = rng.choice(["odd", "delete", "rename", "swap", "wrap", "twice", "scale", *4 * ["alike"]])
    alike = [one for one in found if named_as(one) == named_as(path) and one != path]
    other = rng.choice(alike if kind == "alike" and alike else found)
    value = holder[key]
    if kind == "delete":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        new = odd if isinstance(odd, str | int | float | bytes | None) else "renamed"
        holder[new] = holder.pop(key)
    elif kind in ("swap", "alike"):
        holder[key] = copy.deepcopy(at(config, other))
    elif kind == "wrap":
        holder[key] = [value] if rng.random() < 0.5 else {"x": value}
    elif kind == "twice" and isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    elif kind == "scale" and isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = value * rng.choice([-1, 0, 0.5, 1.0, 2, 3, 1000, 10**9, 10**30])
    else:
        holder[key] = odd
    return f"{kind} at {path}: {ascii(odd)[:60]}, {other}"


def mutated(number: int) -> tuple[dict, str]:
    """One of the shipped configurations with one to three mutations."""
    rng = random.Random(f"{SEED}/{number}")
    file = rng.choice([None, *STUDIES])
    config = merged(*([file] if file else []))
    # Half of the mutations are where most of a study is written.
    told = [mutate(config["study"] if rng.random() < 0.5 and isinstance(config.get("study"), dict) else config, rng)
            for _ in range(rng.choice([1, 1, 2, 3]))]  # fmt: skip
    return config, f"OVERPAINT_SEED={SEED}, mutation {number} of {file}: {'; '.join(told)}"


def plan_all(config: dict) -> dict:
    """What workflow/rules/common.smk computes of a configuration before it asks for any job."""
    config = complete(config, SCHEMA)
    read_preregistration(config, PLAN_SCHEMA)
    study, used = config["study"], sweep.chosen(config)
    assert all(resources.model_mb(entry) > 0 for entry in used["models"].values())
    runs = sweep.expand_runs(study["runs"], config["methods"])
    for grids in (
        study["measures"]["depth"]["runs"],
        study["measures"]["relearning"]["runs"],
        study["measures"]["perturbations"]["runs"],
        study["measures"]["emergence"]["runs"],
    ):
        sweep.picked(config, grids)
    for run, settings in runs.items():
        if run != "base":
            assert sweep.evaluation_plan(config, settings)
        if sweep.prefix_settings(settings):
            sweep.prefix_name(settings)
        resources.memory_mb("unlearn", 100.0)
    for catalogue, names in sweep.used_texts(study).items():
        for model in sweep.as_list(study["model"]):
            assert all(sweep.entry_for_model(config, config[catalogue][name], model) for name in names)
    sweep.plain_questions(config), sweep.naive_models(config), sweep.hazardous_topics(config)
    json.dumps(used, allow_nan=False).encode()
    return config


@pytest.mark.parametrize("many", MANY)
def test_no_mutation_ends_in_anything_but_a_study_or_a_sentence(many):
    refused, accepted, count = 0, 0, MUTATIONS * (1 + 2 * many)
    for number in range(count):
        config, told = mutated(number)
        try:
            found = plan_all(config)
            accepted += 1
            assert complete(found, SCHEMA) == found, told
        except UserError as error:
            refused += 1
            sentence = str(error)
            assert sentence.isprintable() and sentence.endswith(".") and len(sentence) < 1000, f"{told}\n{sentence}"
        except Exception as error:
            raise AssertionError(told) from error
    assert refused > count / 4 and accepted > count / 20, f"{SEED}: {refused} refused, {accepted} accepted"


def test_no_mutation_of_a_plan_ends_in_anything_but_a_plan_or_a_sentence(tmp_path):
    config, (path, rng) = complete(merged(), SCHEMA), (tmp_path / "preregistration.yaml", random.Random(f"{SEED}/plan"))
    config["study"]["preregistration"] = str(path)
    for number in range(80):
        plan = yaml.safe_load((ROOT / "preregistration.yaml").read_text()) | {"studies": ["miniature"]}
        told = f"OVERPAINT_SEED={SEED}, plan {number}: {mutate(plan, rng)}"
        try:
            path.write_text(yaml.safe_dump(plan))
            read_preregistration(config, PLAN_SCHEMA)
        except UserError as error:
            assert "preregistration.yaml" in str(error) and str(error).isprintable() and str(error).endswith("."), (
                f"{told}\n{error}"
            )
        except (yaml.YAMLError, ValueError):
            assert not path.read_text(), told  # no file can say it
        except Exception as error:
            raise AssertionError(told) from error


def test_files_that_nest_or_repeat_without_end_are_one_sentence():
    holds_itself: dict = {}
    holds_itself["x"] = [holds_itself]
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    many: list = [0] * 10
    for _ in range(12):
        many = [many] * 10
    for value in (holds_itself, deep, many):
        sentence = refusal(put("study", "measures", "coherence", "shown", value=value))
        assert "study" in sentence and "without end" in sentence


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("mutated"))


@pytest.mark.parametrize("many", MANY)
def test_snakemake_plans_what_is_accepted_and_says_why_it_does_not_plan_the_rest(fresh, many):
    numbers, seen, each = iter(range(3 * MUTATIONS, 30 * MUTATIONS)), {True: 0, False: 0}, EACH * (1 + 2 * many)
    while min(seen.values()) < each:
        config, told = mutated(next(numbers))
        try:
            text = yaml.safe_dump(config)
            layered = copy.deepcopy(DEFAULT)
            update_config(layered, yaml.safe_load(text))
        except (yaml.YAMLError, ValueError, TypeError, AttributeError):
            continue  # no file can say it, or Snakemake cannot lay it over another
        try:
            accepted = bool(plan_all(layered))
        except UserError as error:
            accepted, sentence = False, str(error)
        if seen[accepted] == each:
            continue
        seen[accepted] += 1
        (fresh / "mutated.yaml").write_text(text)
        done = snakemake(fresh, "--dry-run", "--quiet", "--configfile", "mutated.yaml")
        assert "Traceback" not in done.stdout, f"{told}\n{done.stdout[-3000:]}"
        assert (done.returncode == 0) == accepted, f"{told}\n{done.stdout[-3000:]}"
        assert accepted or sentence in done.stdout, f"{told}\n{done.stdout[-3000:]}"
