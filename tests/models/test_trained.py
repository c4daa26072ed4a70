"""Base models in bases/: what each was trained as is known and compared, and a new training is as good."""

import copy
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.checkout import ROOT
from helpers.configurations import DEFAULT, SCHEMA, STUDIES, both, merged, put, refusal
from helpers.models.evaluations import evaluate
from helpers.scripts import run

from overpaint.errors import UserError
from overpaint.jobs import provenance
from overpaint.models import trained
from overpaint.models.load import load_model, load_tokenizer
from overpaint.scoring.evaluation import Benchmark
from overpaint.sources import texts, world
from overpaint.study.configuration import complete
from overpaint.tables.statistics import mean

ENTRY = complete(copy.deepcopy(DEFAULT), SCHEMA)["models"]["miniature"]
OWN = put("models", "mine", value={"source": "trained", "world": "miniature"})
SHIPPED = ["miniature", "miniature_untaught"]
FACTS = {"seed": 0, "entities": 24, "values": 12}


def test_every_model_in_bases_is_of_a_shipped_study():
    named = {
        name
        for files in ([], *([path] for path in STUDIES))
        for name, entry in merged(*files)["models"].items()
        if entry["source"] == "trained"
    }
    assert {path.name for path in (ROOT / trained.FOLDER).iterdir()} == named
    assert sum(path.stat().st_size for path in (ROOT / trained.FOLDER).rglob("*")) < 40e6


def test_records_tell_the_machine_of_each_training():
    for job in (ROOT / trained.FOLDER).glob("*/checkpoint.job.json"):
        record = provenance.read_record(job)
        assert record["rule"] == "pretrain_model" and record["dirty"] is False and "torch" in record["packages"]
        assert {"processor", "capability", "mkl_branch", "blas"} <= record["hardware"].keys()
        assert record["hardware"]["threads"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("models", "miniature", "steps", value=1300), ["models.miniature.steps", "1300", "1400"]),
        (put("models", "miniature", "without", value=["rivers"]), ["models.miniature.without", "rivers", "[]"]),
        (put("worlds", "miniature", "seed", value=7), ["worlds.miniature", "models.miniature"]),
        (both(OWN, put("study", "model", value="mine")), ["models.mine", "bases/mine/checkpoint is not there"]),
    ],
)
def test_a_model_of_another_training_is_refused(change, words):
    sentence = refusal(change)
    assert all(word in sentence for word in [*words, "source: fictional"]), sentence


def test_what_a_training_does_not_ask_for_may_change():
    config = copy.deepcopy(DEFAULT)
    config["models"]["miniature"]["dtype"] = "bfloat16"
    assert complete(config, SCHEMA)["models"]["miniature"]["path"] == "bases/miniature/checkpoint"


def test_a_new_training_is_asked_for_by_one_word():
    config = copy.deepcopy(DEFAULT)
    config["models"]["miniature"] |= {"source": "fictional", "steps": 1300}
    assert "path" not in complete(config, SCHEMA)["models"]["miniature"]


def test_a_damaged_folder_is_refused_and_a_kept_one_found(tmp_path):
    out = tmp_path / "results"
    shutil.copytree(ROOT / "bases/miniature", out / "miniature")
    shutil.copytree(ROOT / "bases/miniature", out / "other")
    record = provenance.read_record(out / "other/checkpoint.job.json")
    provenance.write_record(record | {"rule": "convert_model"}, out / "other/checkpoint.job.json")
    assert trained.keep(out, tmp_path / "bases") == [tmp_path / "bases/miniature"]
    trained.check("miniature", ENTRY, FACTS, tmp_path)
    with pytest.raises(UserError, match="worlds.miniature is not the world"):
        trained.check("miniature", ENTRY, FACTS | {"seed": 1}, tmp_path)
    with (tmp_path / "bases/miniature/checkpoint/model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\7")
    with pytest.raises(UserError, match="is not what its training wrote"):
        trained.check("miniature", ENTRY, FACTS, tmp_path)
    with pytest.raises(UserError, match="record of convert_model, not of a training"):
        trained.check("other", ENTRY | {"path": str(out / "other/checkpoint")}, FACTS, tmp_path)
    assert trained.keep(out, tmp_path / "bases") and not trained.check("miniature", ENTRY, FACTS, tmp_path)
    with pytest.raises(UserError, match="No base model was trained in"):
        trained.keep(tmp_path / "bases/none", tmp_path / "bases")


@pytest.fixture
def right(tmp_path):
    """right(folder): whether each hazardous question of the default study is answered right, by unit, [1, units]."""
    facts = world.generate(**FACTS)
    asked = []
    for topic in ("gloomcraft", "riftlore"):
        texts.write_rows(world.question_rows(facts, [topic]), tmp_path / f"{topic}.jsonl")
        asked.append(Benchmark(topic, topic, tmp_path / f"{topic}.jsonl", "acc"))

    def ask(folder: Path):
        rows = evaluate(load_model(folder), load_tokenizer(folder), *asked)
        return pd.DataFrame(rows).groupby("unit", sort=False).correct.mean().to_numpy()[None]

    return ask


def test_the_naive_model_never_knew_what_the_base_knows(right):
    known, naive = (mean(right(ROOT / trained.place(name))) for name in SHIPPED)
    assert known.low > 0.9 and naive.high < 0.4


@pytest.mark.long
def test_a_new_training_is_as_good_and_on_the_same_machine_the_same(tmp_path, right):
    """It takes 70 to 93 CPU-seconds."""
    facts = run("generate_world", tmp_path, {}, ["world"], settings=FACTS)["world"]
    made = run("pretrain_model", tmp_path, {"world": facts}, ["model"], settings=ENTRY)
    new, before, naive = (
        mean(right(folder)) for folder in (made["model"], *(ROOT / trained.place(name) for name in SHIPPED))
    )
    assert new.low <= before.high and before.low <= new.high, "their intervals overlap"
    assert naive.high < new.low
    records = [provenance.read_record(path) for path in (made["job"], ROOT / "bases/miniature/checkpoint.job.json")]
    machine = [(record["hardware"], record["packages"]["torch"]) for record in records]
    if machine[0] == machine[1]:
        assert [*records[0]["outputs"].values()] == [*records[1]["outputs"].values()]
