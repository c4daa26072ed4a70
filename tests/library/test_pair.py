"""A pair of models by hand has the answers that the workflow has, and names at the top that load nothing early."""

import os
import re
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
import torch
from helpers.checkout import MODEL, ROOT, RUNS

import overpaint
from overpaint.errors import UserError
from overpaint.junk.directions import Junk
from overpaint.models.load import load_model

HAZARDOUS, BENIGN = ["gloomcraft", "riftlore"], ["everyday"]
CLEARINGS = {name: {"direction": name} for name in ("span", "topic", "benign")} | {
    "rand": {"direction": "rand", "draws": 2},
    "strength_0.5": {"direction": "span", "scope": "writes", "strength": 0.5},
}


@pytest.fixture(scope="module")
def files(study):
    """files(kind, names): the study's files of these prompts or questions, by topic."""
    return lambda kind, names: {name: study / MODEL / kind / f"{name}.jsonl" for name in names}


@pytest.fixture(scope="module")
def pair(study, files) -> overpaint.Pair:
    loaded = overpaint.Pair.load(study / MODEL / "checkpoint", study / RUNS[0] / "overlay.safetensors", layer=1)
    return loaded.fit(files("prompts", HAZARDOUS), files("prompts", BENIGN))


@pytest.fixture(scope="module")
def found(pair, files) -> overpaint.Scored:
    return pair.ask(files("benchmarks", HAZARDOUS + BENIGN), CLEARINGS)


def test_the_junk_and_the_answers_are_those_of_the_workflow(study, pair, found):
    junk = Junk.load(study / RUNS[0] / "junk.safetensors")
    assert all(torch.equal(junk.topics[name], pair.run.junk.topics[name]) for name in HAZARDOUS)
    keys = ["clearing", "direction_of", "draw", "benchmark", "id"]
    for run, path in (("base", f"{MODEL}/base"), ("unlearned", RUNS[0])):
        ours, theirs = found.runs[run], pd.read_parquet(study / path / "answers.parquet")
        both = ours.merge(theirs, on=keys, suffixes=("", "_theirs"))
        assert set(both.clearing) == ({"none"} if run == "base" else {"none", *CLEARINGS})
        assert both.nll.equals(both.nll_theirs) and both.correct.eq(both.correct_theirs).all()
    assert not found.runs["base"].nll.equals(found.runs["unlearned"].nll[: len(found.runs["base"])])


def test_scores_are_those_of_the_study_for_its_run(study, found):
    table = pd.read_parquet(study / "results/smoke/tables/scores.parquet")
    table = table[
        (table.seed == "0") & (table.clearing == "span") & (table.metric == "accuracy") & (table.part == "all")
    ]
    ours = found.scores[found.scores.clearing.eq("span") & found.scores.metric.eq("accuracy")]
    ours = ours[ours.part == "all"].set_index("benchmark")
    for row in table.itertuples():
        assert (row.value, row.low, row.high) == tuple(ours.loc[row.benchmark, ["value", "low", "high"]])
    assert len(table) == 4 and found.plot().axes[0].get_title(loc="left") == "hazardous"
    assert found._repr_html_().startswith("<svg")


def test_an_unlearned_folder_is_the_same_as_its_overlay(study, pair, tmp_path):
    model = load_model(study / MODEL / "checkpoint")
    pair.run.overlay.apply(model)
    model.save_pretrained(tmp_path / "unlearned")
    folder = overpaint.Pair.load(study / MODEL / "checkpoint", tmp_path / "unlearned", layer=1)
    assert set(folder.run.overlay.tensors) == set(pair.run.overlay.tensors)
    assert all(torch.equal(folder.run.overlay.tensors[name], own) for name, own in pair.run.overlay.tensors.items())


def test_mistakes_are_sentences(study, files, pair, found):
    base = study / MODEL / "checkpoint"
    with pytest.raises(UserError, match="Layer 9 is none of the model in .*: it has blocks 0 to 2"):
        overpaint.Pair.load(base, base, layer=9)
    with pytest.raises(UserError, match="0 tensors .* differ"):
        overpaint.Pair.load(base, base, layer=1)
    bare = overpaint.Pair(pair.run.__class__(pair.run.model, pair.run.tokenizer))
    asked = files("benchmarks", HAZARDOUS)
    for mistake, said in (
        (lambda: bare.clearings(), "no junk yet: call fit"),
        (lambda: pair.fit({}), "one hazardous topic or more"),
        (lambda: pair.fit(files("prompts", HAZARDOUS), position="first"), "use last or mean"),
        (lambda: pair.ask(files("benchmarks", BENIGN)), "No question is about a topic .*: name gloomcraft, riftlore"),
        (lambda: pair.ask(asked, primary="x"), "'x' is not asked"),
        (lambda: pair.ask(asked, {"span": {"direction": "spam"}}), "no direction spam: use none, .*span"),
        (lambda: found.plot({"f1": "F1"}), "no metric f1 .*: name one of accuracy"),
    ):
        with pytest.raises(UserError, match=said):
            mistake()


def test_the_notebook_and_the_example_of_the_page_run(study, files, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/base").symlink_to(study / MODEL / "checkpoint")
    (tmp_path / "models/unlearned").symlink_to(study / RUNS[0] / "overlay.safetensors")
    (tmp_path / "mine").mkdir()
    for kind, names in (("prompts", "prompts"), ("benchmarks", "questions")):
        (tmp_path / f"mine/{names}.jsonl").symlink_to(files(kind, ["gloomcraft"])["gloomcraft"])
        (tmp_path / f"mine/plain_{names}.jsonl").symlink_to(files(kind, ["everyday"])["everyday"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(overpaint.library.pair, "SETTINGS", overpaint.library.pair.SETTINGS | {"draws": 2})
    _, example = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/reading.md").read_text(), re.MULTILINE | re.DOTALL)
    exec(example.replace("layer=7", "layer=1"), {})
    assert (tmp_path / "pair.pdf").stat().st_size > 5000
    book, names = nbformat.read(ROOT / "docs/library.ipynb", as_version=4), {}
    nbformat.validate(book)
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        assert not cell.outputs and cell.execution_count is None
        exec(cell.source.replace('"models/unlearned", 7', '"models/unlearned", 1'), names)
    assert set(names["found"].scores.metric) >= {"accuracy", "recovered_accuracy"}
    assert set(names["answers"].clearing) == {"none", "span", "half"}


def test_names_at_the_top_are_lazy_and_listed():
    code = "import sys, overpaint; print(*{'torch', 'pandas', 'pyarrow'} & set(sys.modules), *overpaint.__all__)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    said = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert said.stdout == "Pair Results Scored UserError load\n"
    assert all(getattr(overpaint, name).__module__ == place for name, place in overpaint.PLACES.items())
    stub = (ROOT / "src/overpaint/__init__.pyi").read_text()
    assert set(re.findall(r"import (\w+) as \1", stub)) == set(overpaint.__all__) <= set(dir(overpaint))
