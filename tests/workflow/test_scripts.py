"""Scripts of the rules, run as Snakemake runs them, on small real inputs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from helpers.checkout import ROOT
from helpers.scripts import run

from overpaint.jobs.provenance import write_record
from overpaint.junk import activations
from overpaint.junk.activations import Activations
from overpaint.junk.directions import Junk
from overpaint.models.load import load_model
from overpaint.models.overlay import Overlay, base_fingerprint
from overpaint.models.parts import blocks, down_projection, parameter_names
from overpaint.sources import harness, texts, world

PLAN = ROOT / "preregistration.yaml"
RUN = ["study", "model", "method", "layer", "c", "seed"]
TABLES = [
    "cells", "hypotheses", "layers", "models", "scores", "nulls", "mcnemar", "activations", "junk", "depths", "weights",
    "history", "completions", "provenance", "costs",
]  # fmt: skip
EMPTY = {"layers", "models"}  # these runs have one layer, and one base model or too little that was lost


@pytest.fixture(scope="module")
def world_file(tmp_path_factory) -> Path:
    folder, settings = tmp_path_factory.mktemp("world"), {"seed": 1, "entities": 8, "values": 8}
    return run("generate_world", folder, {}, ["world", "taught"], settings=settings)["world"]


def test_generate_world_writes_the_world_of_its_settings(world_file):
    assert world.load(world_file) == world.generate(seed=1, entities=8, values=8)
    assert world.load(world_file) != world.generate(seed=2, entities=8, values=8)


@pytest.mark.parametrize("kind", ["corpus", "prompts", "questions", "text"])
def test_texts_are_prepared_from_a_world(tmp_path, world_file, kind):
    settings = {"source": "fictional", "domains": ["rivers"], "topic": "rivers", "kind": kind}
    made = run("prepare_texts", tmp_path, {"source": world_file}, ["rows"], settings=settings, batches={})
    rows, facts = texts.read_rows(made["rows"], kind), world.load(world_file)
    expected = {
        "corpus": world.corpus_rows,
        "prompts": world.prompt_rows,
        "questions": world.question_rows,
        "text": world.text_rows,
    }
    assert rows == expected[kind](facts, ["rivers"]) and rows != expected[kind](facts, ["guilds"])


def test_texts_are_prepared_from_a_file_of_ones_own(tmp_path):
    (tmp_path / "own.jsonl").write_text('{"id": "1", "text": "eins"}\n\n{"id": "2", "text": "zwei"}\n')
    settings = {"kind": "corpus", "source": "file", "topic": "own", "path": str(tmp_path / "own.jsonl")}
    made = run("prepare_texts", tmp_path, {"source": tmp_path / "own.jsonl"}, ["rows"], settings=settings, batches={})
    assert texts.read_texts(made["rows"]) == ["eins", "zwei"]


@pytest.mark.parametrize(("batch", "least", "enough"), [(2, 3, True), (3, 3, False), (2, 4, False)])
def test_a_corpus_below_one_batch_ends_the_script_by_the_name_of_its_source(tmp_path, capfd, batch, least, enough):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/part.jsonl").write_text('{"text": "eins"}\n{"text": "zwei"}\n')
    settings = {"kind": "corpus", "source": "dataset", "topic": "own", "dataset": "pages", "files": ["*"]}
    settings |= {"column": "text", "min_chars": 0, "fit": 0.25}
    try:
        run("prepare_texts", tmp_path, {"source": tmp_path / "pages"}, ["rows"], settings=settings,
            batches={"rmu": (batch, least)})  # fmt: skip
    except SystemExit:
        said = capfd.readouterr().err
        assert not enough and not (tmp_path / "rows").exists()
        assert f"{tmp_path}/pages has {2 * (least < 4)} texts longer than {least}" in said
    else:
        assert enough and len(texts.read_texts(tmp_path / "rows")) == 2


def test_a_malformed_file_ends_the_script_and_leaves_no_rows(tmp_path, capfd):
    (tmp_path / "own.jsonl").write_text('{"id": "1"}\n')
    settings = {"kind": "corpus", "source": "file", "topic": "own", "path": str(tmp_path / "own.jsonl")}
    with pytest.raises(SystemExit) as caught:
        run("prepare_texts", tmp_path, {"source": tmp_path / "own.jsonl"}, ["rows"], settings=settings, batches={})
    assert caught.value.code == 1 and not (tmp_path / "rows").exists()
    assert "own.jsonl, line 1: `text` is missing" in capfd.readouterr().err


# --- the junk direction

WIDTH, DEPTHS, LAYER = 24, 4, 1
TOPICS = {"fire": "fire_prompts", "ice": "ice_prompts"}


def random_activations(generator: torch.Generator, count: int = 12) -> Activations:
    last, mean = torch.randn(2, count, DEPTHS, WIDTH, generator=generator)
    sites = {site: torch.randn(WIDTH, generator=generator) for site in ("0/input", "1/input", "final")}
    return Activations(last, mean, torch.randn(DEPTHS, WIDTH, generator=generator), sites)


def test_what_a_training_needs_to_go_on_is_removed_when_the_outputs_are_in_place(
    tmp_path, originals, tokenizer, monkeypatch
):
    originals["llama"].save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    inputs = {"model": tmp_path / "model", "forget": [], "retain": [], "prefix": [], "released": []}
    outputs, settings = ["overlay", "history", "snapshots"], {"kind": "base", "method": "base"}
    (tmp_path / "resume.safetensors").write_text("of a training")
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr("overpaint.jobs.job.write_record", lambda *facts: 1 / 0)
        run("unlearn", tmp_path, inputs, outputs, settings=settings, topics=[], dtype="float32")
    assert (tmp_path / "resume.safetensors").exists() and not (tmp_path / "overlay").exists()
    run("unlearn", tmp_path, inputs, outputs, settings=settings, topics=[], dtype="float32")
    assert not (tmp_path / "resume.safetensors").exists()


def shifted(found: Activations, shift: torch.Tensor) -> Activations:
    """The same with `shift` added to every prompt after block `LAYER`."""
    last, mean = found.last.clone(), found.mean.clone()
    last[:, LAYER + 1 :] += shift
    mean[:, LAYER + 1 :] -= shift
    return Activations(last, mean, found.first, found.sites)


@pytest.fixture
def junk_inputs(tmp_path) -> tuple[dict[str, Path], dict[str, torch.Tensor]]:
    """Activations of base and run: each hazardous topic is moved along a direction, on other prompts along another."""
    generator = torch.Generator().manual_seed(0)
    controls = {topic: torch.nn.functional.normalize(torch.rand(WIDTH, generator=generator), dim=0) for topic in TOPICS}
    base, moved = {}, {}
    for split in texts.SPLITS:
        for topic, name in [*TOPICS.items(), ("calm", "calm_prompts")]:
            base[split, name] = random_activations(generator)
            along = torch.eye(WIDTH)[0] if split == "test" else controls.get(topic, torch.zeros(WIDTH))
            moved[split, name] = shifted(base[split, name], 5 * along)
    activations.save(base, tmp_path / "base.safetensors")
    activations.save(moved, tmp_path / "run.safetensors")
    Overlay({}, controls, {"layer": LAYER, "c": 5.0, "scale": {"fire": 5.0, "ice": 5.0}}).save(
        tmp_path / "overlay.safetensors"
    )
    return {name: tmp_path / f"{name}.safetensors" for name in ("base", "run", "overlay")}, controls


def test_fit_junk_finds_the_planted_directions_on_the_fitting_part_alone(tmp_path, junk_inputs):
    inputs, controls = junk_inputs
    made = run("fit_junk", tmp_path, inputs, ["junk", "table", "depths"], topics=TOPICS, position="last")
    junk = Junk.load(made["junk"])
    assert junk.depth == LAYER + 1 and list(junk.topics) == list(TOPICS)
    for topic, direction in junk.topics.items():
        assert float(direction @ controls[topic]) > 0.999
        assert abs(float(direction[0])) < 0.9, "fitted on the reported part"
    assert set(junk.means) == {"0/input", "1/input", "final"}


def test_fit_junk_takes_the_tokens_it_is_told(tmp_path, junk_inputs):
    inputs, controls = junk_inputs
    made = run("fit_junk", tmp_path, inputs, ["junk", "table", "depths"], topics=TOPICS, position="mean")
    assert all(float(d @ controls[topic]) < -0.999 for topic, d in Junk.load(made["junk"]).topics.items())


def test_fit_junk_describes_each_topic_in_a_tidy_table(tmp_path, junk_inputs):
    made = run("fit_junk", tmp_path, junk_inputs[0], ["junk", "table", "depths"], topics=TOPICS, position="last")
    table = pd.read_csv(made["table"])
    assert list(table.columns) == ["topic", "direction", "quantity", "value", "null_low", "null_high"]
    assert list(dict.fromkeys(table.direction)) == ["topic", "pooled", "contrast", "top_k", "u", "benign"]
    for topic in TOPICS:
        found = table[(table.topic == topic) & (table.direction == "topic")].set_index("quantity")
        assert found.index.is_unique and found.value["rank1_share"] == pytest.approx(1, abs=1e-5)
        assert found.value["cos_u"] > found.null_high["cos_u"] > found.null_low["cos_u"]
        assert found.value["cos_tokens"] == pytest.approx(-1, abs=1e-3), "positions that move against each other"
        assert found.value["auc"] < 0.9, "held prompts move along another direction"
    depths = pd.read_csv(made["depths"])
    assert list(depths.columns) == ["topic", "depth", "other_depth", "quantity", "value"]
    assert set(depths.topic) == set(TOPICS) and set(depths.quantity) == {"norm"}, "no site was moved"


# --- evaluation


def test_prepare_task_writes_the_rows_of_a_task(tmp_path, facts):
    asked = [
        {key: row[key] for key in ("question", "choices", "answer")} for row in world.question_rows(facts, ["rivers"])
    ]
    folder = tmp_path / "dataset/wmdp-bio"
    folder.mkdir(parents=True)
    pd.DataFrame(asked).to_parquet(folder / "test-00000-of-00001.parquet", index=False)
    settings = {"task": "wmdp_bio", "metric": "acc", "fit": 0.25}
    made = run("prepare_task", tmp_path, {"dataset": folder.parent}, ["rows"], settings=settings, batches={})
    rows = [json.loads(line) for line in made["rows"].read_text().splitlines()]
    assert rows == harness.rows("questions", settings, folder.parent)
    assert [row["document"] for row in rows] == asked


def test_evaluate_loads_the_model_once_for_all_clearings(tmp_path, facts, llama, tokenizer, junk, monkeypatch):
    llama.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    names = parameter_names(llama, [down_projection(blocks(llama)[1])])
    changed = {name: dict(llama.named_parameters())[name] + 0.1 for name in names}
    settings = {"layer": 1, "c": 4.0, "seed": 0}
    Overlay(changed, {}, settings, base_fingerprint(llama, names)).save(tmp_path / "overlay")
    junk.save(tmp_path / "junk")
    texts.write_rows(world.question_rows(facts, ["gloomcraft"]), tmp_path / "rows.jsonl")
    entry = {"kind": "questions", "topic": "gloomcraft", "metric": "acc", "max_scored": 4, "prior": ""}
    entry |= {"scoring": "continuation", "description": "", "chat_template": False}
    clearing = {"target": "zero", "scope": "all", "draws": 2, "rank": 1, "strength": 1, "on_base": False}
    clearings = {name: clearing | {"direction": name} for name in ("none", "span", "rand")}
    clearings["on_base"] = clearings["span"] | {"on_base": True}
    loads, load = [], load_model
    monkeypatch.setattr(
        "overpaint.models.load.load_model", lambda *given, **more: loads.append(given) or load(*given, **more)
    )
    inputs = {name: tmp_path / name for name in ("model", "overlay", "junk")} | {
        "benchmarks": [tmp_path / "rows.jsonl"]
    }
    plan = [{"clearings": list(clearings), "benchmarks": ["own"]}]
    made = run(
        "evaluate", tmp_path, inputs, ["answers", "agreement"],
        evaluation_plan=plan, clearings=clearings, benchmarks={"own": entry}, split="test", dtype="float32",
    )  # fmt: skip
    assert len(loads) == 1
    found = pd.read_parquet(made["answers"])
    assert set(found.clearing[found.split == "fit"]) == {"none"}, "the other split is asked without clearing alone"
    found = found[found.split == "test"]
    assert found.groupby(["clearing", "draw"], dropna=False).size().tolist() == [4] * 5
    scores = found.groupby(["clearing", "draw"], dropna=False).nll.sum()
    assert len(set(scores.round(4))) == 5, "a clearing does nothing here"


# --- the tables

SETTINGS = {"kind": "rmu", "method": "rmu", "layer": 1, "c": 4, "seed": 0}
RUNS = {"base": {"kind": "base", "method": "base"}, "rmu/layer=1/c=4/seed=0": SETTINGS}
UNLEARNED = ["rmu/layer=1/c=4/seed=0"]
CLEARINGS = {n: {"direction": n, "on_base": False} for n in ("none", "span", "rand")}
CONFIG = {
    "study": {"name": "small", "model": "tiny", "split": "test", "headline": {"clearing": "span"}},
    "clearings": CLEARINGS,
}


def answers(clearings: dict[str, float]) -> pd.DataFrame:
    """Answers to ten questions each about a hazardous and a benign topic, right in a given share."""
    return pd.DataFrame(
        {
            "clearing": clearing,
            "direction_of": "",
            "draw": 0 if clearing == "rand" else None,
            "refit": None,
            "benchmark": topic,
            "topic": topic,
            "id": str(number),
        }
        | {
            "unit": str(number),
            "split": "test",
            "part": "",
            "kind": "question",
            "answer": 0,
            "correct": number < 10 * share,
        }
        | {"nll": 1 - share, "tokens": 0, "scores": [0.0, -1.0]}
        for clearing, share in clearings.items()
        for topic in ("fire", "calm")
        for number in range(10)
    )


def activation_rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns = ["norm", "norm_low", "norm_high", "cosine", "cosine_low", "cosine_high"]
    frame = pd.DataFrame(rng.random((4, 6)), columns=columns)
    frame.insert(0, "topic", ["fire", "fire", "calm", "calm"])
    return frame.assign(prompts=frame.topic, position="last", depth=[0, 1, 0, 1], n=10)


def gather(folder: Path, shown: bool = True, models: tuple[str, ...] = ("tiny",)) -> dict[str, Path]:
    """Run the gathering on a base and one run of each model, all alike, with or without completions."""
    source = folder / "inputs"
    source.mkdir()
    for name, shares in (("base", {"none": 1.0}), ("run", {"none": 0.2, "span": 0.6, "rand": 0.3})):
        answers(shares).to_parquet(source / f"{name}.parquet", index=False)
    for name in ("base", "run", "cleared"):
        activation_rows().to_csv(source / f"{name}.csv", index=False)
    row = {"topic": "fire", "quantity": "cos_u", "value": 0.5}
    pd.DataFrame([row | {"direction": "topic", "null_low": 0, "null_high": 1}]).to_csv(source / "junk.csv", index=False)
    depth = {"topic": "fire", "depth": 2, "other_depth": None, "quantity": "norm", "value": 1.0}
    pd.DataFrame([depth]).to_csv(source / "depths.csv", index=False)
    weight = {"run": UNLEARNED[0], "tensor": "a.weight", "topic": "all", "quantity": "relative_change", "value": 0.1}
    pd.DataFrame([weight | {"null_low": None, "null_high": None}]).to_csv(source / "weights.csv", index=False)
    pd.DataFrame([row | {"step": step} for step in range(3)]).to_csv(source / "history.csv", index=False)
    said = {"topic": "calm", "clearing": "none", "part": "", "prompt": "1.0", "answer": "2", "completion": "<b>2</b>"}
    lines = [json.dumps(said | {"holds_answer": held}) + "\n" for held in (True, None)]
    (source / "completions.jsonl").write_text("".join(lines) if shown else "")
    facts = {
        "rule": "unlearn", "outputs": {}, "cpu_seconds": 2.0, "startup_cpu_seconds": 0.5,
        "seconds": 1.5, "peak_mb": 10, "started": "now", "git": None,
        "dirty": None, "python": "3.11", "packages": {}, "hardware": {}, "settings": {}, "inputs": {},
        "cluster_job": None,
    }  # fmt: skip
    write_record(facts, source / "x.job.json")
    inputs = {
        "answers": [source / "base.parquet", source / "run.parquet"],
        "uncleared": [source / "base.csv", source / "run.csv"],
        "cleared": [source / "cleared.csv"],
        "junk": [source / "junk.csv"],
        "depths": [source / "depths.csv"],
        "weights": [source / "weights.csv"],
        "history": [source / "history.csv"],
        "completions": [source / "completions.jsonl"] * 2,
        "jobs": [source / "x.job.json"],
        "before": [],
        "preregistration": PLAN,
    }
    inputs |= {
        name: paths * len(models) for name, paths in inputs.items() if name not in ("jobs", "before", "preregistration")
    }
    outputs = [*TABLES, *(f"{name}_csv" for name in TABLES), "config", "preregistration"]
    return run(
        "gather_tables", folder, inputs, outputs,
        config=json.dumps(CONFIG), preregistration=json.dumps(yaml.safe_load(PLAN.read_text())),
        models=list(models), runs=RUNS, unlearned=UNLEARNED, completed=list(RUNS), hazardous=["fire"], nulls=["rand"],
        families={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def gathered(tmp_path_factory) -> dict[str, Path]:
    return gather(tmp_path_factory.mktemp("gather"))


@pytest.mark.parametrize("name", TABLES)
def test_gather_tables_writes_each_table_in_both_formats(gathered, name):
    table = pd.read_parquet(gathered[name])
    assert len(table) > 0 or name in EMPTY
    assert list(pd.read_csv(gathered[f"{name}_csv"]).columns) == list(table.columns)
    if name not in ("provenance", "costs"):
        assert list(table.columns[:6]) == RUN
        assert name in EMPTY or (set(table.study) == {"small"} and set(table.model) == {"tiny"})


def test_gather_tables_keeps_numbers_and_labels(gathered):
    scores = pd.read_parquet(gathered["scores"])
    rows = scores[(scores.seed == "0") & (scores.benchmark == "fire")].set_index(["metric", "clearing"]).value
    assert rows["accuracy", "none"] == pytest.approx(0.2) and rows["accuracy", "span"] == pytest.approx(0.6)
    assert rows["recovered_accuracy", "span"] == pytest.approx(0.5) and rows["forgotten_accuracy", "none"] == 0.8
    shown = pd.read_parquet(gathered["activations"])
    assert set(zip(shown.method, shown.clearing, strict=True)) == {("base", "none"), ("rmu", "none"), ("rmu", "span")}
    assert set(zip(shown.topic, shown.role, strict=True)) == {("fire", "hazardous"), ("calm", "benign")}
    assert pd.read_parquet(gathered["history"]).step.tolist() == [0, 1, 2]


def test_gather_tables_compares_with_draws_and_tests_what_was_gained(gathered):
    null = pd.read_parquet(gathered["nulls"]).set_index(["seed", "metric", "clearing"]).loc[("0", "accuracy", "span")]
    assert null.value == pytest.approx(0.6) and null.null_mean == pytest.approx(0.3) and null.draws == 1
    test = (
        pd.read_parquet(gathered["mcnemar"]).set_index(["seed", "benchmark", "clearing"]).loc[("all", "fire", "span")]
    )
    assert (test.gained, test.lost, test.p, test.p_holm) == (4, 0, 0.125, 0.125)


def test_gather_tables_keeps_what_a_model_wrote_as_text(gathered):
    said = pd.read_parquet(gathered["completions"])
    assert said.method.tolist() == ["base"] * 2 + ["rmu"] * 2 and said.prompt.tolist() == ["1.0"] * 4
    assert said.completion.tolist() == ["<b>2</b>"] * 4 and set(said.role) == {"benign"}
    assert said.holds_answer.tolist() == [True, pd.NA] * 2 and said.answer.tolist() == ["2"] * 4


def test_gather_tables_keeps_the_whole_configuration(gathered):
    assert json.loads(gathered["config"].read_text()) == CONFIG


def test_gather_tables_keeps_the_models_apart_and_judges_them_together(tmp_path, gathered):
    both = gather(tmp_path, models=("tiny", "twin"))
    for name in set(TABLES) - {"provenance", "costs", "hypotheses"} - EMPTY:
        table, single = pd.read_parquet(both[name]), pd.read_parquet(gathered[name])
        parts = [table[table.model == model].reset_index(drop=True) for model in ("tiny", "twin")]
        pd.testing.assert_frame_equal(parts[0], single)
        pd.testing.assert_frame_equal(parts[1], single.assign(model="twin"))
    judged = pd.read_parquet(both["hypotheses"])
    assert judged.model.value_counts().to_dict() == {"tiny": 4, "twin": 4, "all": 4}
    assert "all" not in set(pd.read_parquet(gathered["hypotheses"]).model)


def test_gather_tables_keeps_the_plan_as_it_is(gathered):
    assert gathered["preregistration"].read_bytes() == PLAN.read_bytes()


def test_gather_tables_manages_without_completions(tmp_path):
    assert len(pd.read_parquet(gather(tmp_path, shown=False)["completions"])) == 0
