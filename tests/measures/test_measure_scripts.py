"""Scripts of the measures, run as Snakemake runs them, where the smoke study leaves something out."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.scripts import run

from overpaint.junk.directions import Junk, unit
from overpaint.models import pretrain
from overpaint.models.overlay import Overlay
from overpaint.sources import texts, world

ENTRY = {"metric": "acc", "prior": "", "max_scored": 0, "kind": "questions"}
STUDY = {"name": "small", "model": "tiny", "split": "test", "headline": {"clearing": "topic"}}
CLEARINGS = {
    "none": {"direction": "none"},
    "topic": {"direction": "topic", "scope": "all", "target": "zero", "strength": 1, "on_base": False},
}


@pytest.fixture(scope="module")
def given(facts, tokenizer, tmp_path_factory) -> dict:
    """A small model, one that was started otherwise, an empty overlay, junk, corpora and questions on two topics."""
    folder, generator = tmp_path_factory.mktemp("given"), torch.Generator().manual_seed(0)
    for seed, name in enumerate(("model", "naive")):
        torch.manual_seed(seed)
        pretrain.save_checkpoint(pretrain.build_model(len(tokenizer), 16, 2, 2), tokenizer, folder / name)
    topics, sites = (
        ["gloomcraft", "riftlore"],
        [f"{i}/{place}" for i in (0, 1) for place in ("input", "attention", "mlp")],
    )
    for topic in topics:
        texts.write_rows(world.corpus_rows(facts, [topic]), folder / f"{topic}.jsonl")
        texts.write_rows(world.question_rows(facts, [topic]), folder / f"{topic}_questions.jsonl")
    Overlay(settings={"layer": 1, "c": 4, "seed": 0}).save(folder / "overlay")
    directions = {topic: unit(torch.randn(16, generator=generator)) for topic in topics}
    Junk(directions, 2, {site: torch.zeros(16) for site in sites}).save(folder / "junk")
    return {
        "model": folder / "model",
        "naive": folder / "naive",
        "overlay": folder / "overlay",
        "junk": folder / "junk",
        "forget": [folder / f"{topic}.jsonl" for topic in topics],
        "benchmarks": [folder / f"{topic}_questions.jsonl" for topic in topics],
    }


def relearned(folder: Path, given: dict, clearings: dict = CLEARINGS, **changes) -> pd.DataFrame:
    settings = {"examples": [0, 3], "lr": [1e-2], "batch": 2, "max_tokens": 64}
    params = {"settings": settings, "clearings": clearings, "topics": ["gloomcraft", "riftlore"], "split": "test"}
    params["benchmarks"] = {topic: ENTRY | {"topic": topic} for topic in params["topics"]}
    made = run(
        "relearn", folder, given | {"retain": given["forget"][:1]} | changes, ["relearning"], **params, dtype="float32"
    )
    return pd.read_parquet(made["relearning"])


def test_relearn_starts_from_the_model_and_its_cleared_form_or_the_base_and_the_control(tmp_path, given):
    clearings = {"none": CLEARINGS["none"]}
    found = relearned(tmp_path / "run", given, naive=[])
    base = relearned(tmp_path / "base", given, clearings, junk=[])
    assert set(found.state) == {"cleared", "unlearned"} and set(base.state) == {"base", "naive"}
    index = ["texts", "topic", "examples"]
    means = pd.concat([found, base]).groupby(["state", *index]).nll.mean().unstack("state")
    pd.testing.assert_series_equal(means.base, means.unlearned, check_names=False), "this run changed nothing"
    start = means.drop(columns="base").xs(0, level="examples")
    assert (start.xs("hazardous") == start.xs("benign")).all(axis=None)
    taught = means.drop(columns="base").xs(3, level="examples").to_numpy().ravel()
    assert len({*taught, *start.to_numpy().ravel()}) == 9 + 6, (
        "every start is another, and each learns; gloomcraft's are taught"
    )


def test_perturbations_of_the_base_and_of_a_run_that_changed_nothing_are_the_same(tmp_path, given):
    settings = {"rounding": [4], "noise": [0.1], "draws": 1, "scales": [0.5], "words": [1], "filler": [1]}
    params = {"settings": settings | {"questions": 8}, "topics": ["gloomcraft"], "split": "test", "dtype": "float32"}
    params["benchmarks"] = {topic: ENTRY | {"topic": topic} for topic in ("gloomcraft", "riftlore")}
    inputs = given | {"forget": given["forget"][:1], "retain": given["forget"][1:]}

    def perturbed(name: str, clearings: dict, **changes) -> pd.DataFrame:
        made = run("measure_perturbations", tmp_path / name, inputs | changes, ["perturbations"], **params,
                   clearings=clearings)  # fmt: skip
        return pd.read_parquet(made["perturbations"])

    base, found = perturbed("base", {"none": CLEARINGS["none"]}, junk=[]), perturbed("run", CLEARINGS, naive=[])
    assert set(base.state) == {"base", "naive"} and set(found.state) == {"unlearned", "cleared"}
    assert "scaled" not in set(base.perturbation) and set(found[found.perturbation == "scaled"].state) == {"unlearned"}
    same = (
        found[found.state.eq("unlearned") & found.perturbation.ne("scaled")]
        .drop(columns="state")
        .reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(same, base[base.state == "base"].drop(columns="state"), check_like=True)  # fmt: skip
    assert set(found[found.perturbation == "filler"].topic) == {"gloomcraft"}
    assert set(found[found.perturbation.str.endswith("_words")].topic) == {"riftlore"}


def read(folder: Path, given: dict, clearings: dict, **changes) -> pd.DataFrame:
    inputs = {key: path for key, path in (given | changes).items() if key != "forget"}
    params = {"clearings": clearings, "split": "test", "dtype": "float32", "hazardous": ["gloomcraft"]}
    params["benchmarks"] = {topic: ENTRY | {"topic": topic} for topic in ("gloomcraft", "riftlore")}
    return pd.read_parquet(run("measure_depth", folder, inputs, ["depth"], **params)["depth"])


def test_measure_depth_reads_the_base_and_the_control_or_a_run_and_its_cleared_form(tmp_path, given):
    base = read(tmp_path / "base", given, {"none": CLEARINGS["none"]}, junk=[])
    found = read(tmp_path / "run", given, CLEARINGS, naive=[])
    assert set(base.state) == {"base", "naive"} and set(found.state) == {"unlearned", "cleared"}
    both, index = pd.concat([base, found]), ["topic", "unit", "depth", "quantity"]
    shares = both[both.quantity == "lens_probability"].groupby(["state", *index]).value.mean().unstack("state")
    assert (shares.base == shares.unlearned).all(), "this run changed nothing"
    assert (shares.base != shares.naive).mean() > 0.9 and (shares.base != shares.cleared).mean() > 0.9


def test_gather_measures_writes_empty_tables_where_nothing_was_measured(tmp_path):
    rng, runs = np.random.default_rng(0), {"base": {"method": "base"}}
    row = {
        "clearing": "none",
        "direction_of": "",
        "draw": None,
        "refit": None,
        "benchmark": "text",
        "topic": "fire",
        "agreed": 3,
        "tokens": 4,
    }
    rows = [row | {"id": str(i), "unit": str(i), "kl": rng.random()} for i in range(5)]
    pd.DataFrame(rows).to_parquet(tmp_path / "agreement.parquet")
    names = ["agreement", "coherence", "depth", "relearning", "perturbations", "uds", "emergence"]
    inputs = {name: [] for name in names} | {"agreement": [tmp_path / "agreement.parquet"]}
    measured = {name: [] for name in names} | {"agreement": ["base"]}
    made = run(
        "gather_measures", tmp_path / "made", inputs, [*names, *(f"{name}_csv" for name in names)],
        models=["tiny"], runs=runs, hazardous=["fire"], nulls=["rand"], measured=measured,
        config=json.dumps({"study": STUDY, "clearings": CLEARINGS}),
    )  # fmt: skip
    sizes = {name: len(pd.read_parquet(made[name])) for name in names}
    assert sizes == dict.fromkeys(names, 0) | {"agreement": 2}
    for name in names:
        assert list(pd.read_csv(made[f"{name}_csv"]).columns) == list(pd.read_parquet(made[name]).columns)


def completed(folder: Path, given: dict, clearings: dict, nulls: dict, **changes) -> tuple[pd.DataFrame, pd.DataFrame]:
    inputs = {key: path for key, path in (given | changes).items() if key not in ("forget", "benchmarks")}
    made = run(
        "complete_prompts", folder, inputs, ["completions", "coherence"],
        topics={"gloomcraft": "gloomcraft", "riftlore": "riftlore"}, prompts_shown=2, prompts_measured=5,
        split="test", dtype="float32", nulls=nulls, clearings=clearings,
    )  # fmt: skip
    return pd.read_json(made["completions"], lines=True), pd.read_csv(made["coherence"], keep_default_na=False)


def test_complete_prompts_continues_the_same_prompts_by_every_model(tmp_path, given, facts):
    prompts, none = [tmp_path / f"{topic}.jsonl" for topic in ("gloomcraft", "riftlore")], {"none": CLEARINGS["none"]}
    for path in prompts:
        texts.write_rows(world.prompt_rows(facts, [path.stem]), path)
    own = [json.loads(line) for line in prompts[1].read_text().splitlines()]
    texts.write_rows([{k: v for k, v in row.items() if k != "answer"} for row in own], prompts[1])
    given = given | {"prompts": prompts}
    read, base = completed(tmp_path / "base", given, none, {}, junk=[])
    told, found = completed(tmp_path / "run", given, CLEARINGS, {"topic_from": CLEARINGS["topic"]}, naive=[])
    assert base.groupby(["naive", "topic"]).size().to_dict() == {(n, t): 5 for n in (False, True) for t in base.topic}
    assert set(found.clearing) == {"none", "topic", "topic_from"} and not found.naive.any()
    assert set(read.prompt) == set(told.prompt) and len(read) == 4 and len(told) == 8, "no nulls, no naive model"
    same = found[found.clearing == "none"].drop(columns="naive").reset_index(drop=True)
    assert same.equals(base[~base.naive].drop(columns="naive")), "this run changed nothing"
    writings = base.groupby("naive")[["tokens", "nll"]].sum()
    assert writings.nll[False] != writings.nll[True], "the naive model writes something else"
    assert set(told.answer[told.topic == "gloomcraft"]) <= {fact.value for fact in facts}
    assert set(told.answer[told.topic == "riftlore"]) == {""}
    assert told.holds_answer[told.topic == "riftlore"].isna().all()
    assert told.holds_answer[told.topic == "gloomcraft"].isin([True, False]).all()
    assert set(found.holds_answer[found.topic == "riftlore"]) == {""}
