"""The command `overpaint`: it writes and checks studies, shows results, and says mistakes in one sentence."""

import json
import shutil
import sys

import pandas as pd
import pytest
import yaml
from helpers.checkout import MODEL, OUT, RUNS, planned
from helpers.downloads import hub_content, loopback_hub
from huggingface_hub import constants
from typer.testing import CliRunner

from overpaint.commands import app, showing
from overpaint.errors import UserError

STUDY = "--study=studies/smoke.yaml"
RUN = RUNS[0].removeprefix(f"{MODEL}/")
TEXTS = {
    "forget": "corpora/gloomcraft", "retain": "corpora/everyday", "prompts": "prompts/gloomcraft",
    "plain_prompts": "prompts/everyday", "questions": "benchmarks/gloomcraft", "plain_questions": "benchmarks/everyday",
}  # fmt: skip


@pytest.fixture
def said(study, monkeypatch, capsys):
    """said(arguments): what the command says in the checkout of a finished study, and its status."""
    monkeypatch.chdir(study)

    def run(*arguments: str) -> tuple[str, int]:
        status = app.main(*arguments)
        out = capsys.readouterr()
        return (out.err if status else out.out), status

    return run


@pytest.fixture
def mine(study, tmp_path):
    """A model folder and a folder of texts of one's own."""
    shutil.copytree(study / MODEL / "checkpoint", tmp_path / "model")
    for name, source in TEXTS.items():
        shutil.copy(study / MODEL / f"{source}.jsonl", tmp_path / f"{name}.jsonl")
    yield ("--model", str(tmp_path / "model"), "--texts", str(tmp_path))
    (study / "studies/mine.yaml").unlink(missing_ok=True)


def test_a_new_study_is_one_that_snakemake_plans(said, mine, study, dry_run):
    text, status = said("new", "mine", *mine)
    assert status == 0 and "Wrote studies/mine.yaml: layer 2" in text and "make study STUDY=studies/mine.yaml" in text
    jobs = planned(dry_run(study, "--configfile", "studies/mine.yaml").stdout)
    assert jobs["unlearn"] == 10 and jobs["evaluate"] == 10 and jobs["prepare_texts"] == 6
    norm = float(text.partition("prompts have one of ")[2].partition(",")[0])
    length = float(text.partition(" 4 (")[2].partition(" long")[0])
    assert length == pytest.approx(4 * norm, rel=0.01) and norm > 0
    written = yaml.safe_load((study / "studies/mine.yaml").read_text())
    assert said("check", "studies/mine.yaml")[0].startswith("Study 'mine' is right") and written["study"]["runs"]
    assert said("new", "mine", *mine) == ("There is a studies/mine.yaml already: choose another name, or edit it.\n", 1)


@pytest.mark.parametrize(
    ("file", "row", "sentence"),
    [
        ("questions", {"question": "who ?", "choices": ["a", "b"], "answer": 2}, "`answer` is 2"),
        ("prompts", {"text": 7}, "`text` is missing or no str"),
    ],
)
def test_a_new_study_of_bad_rows_is_a_sentence_and_no_file(said, mine, study, tmp_path, file, row, sentence):
    with (tmp_path / f"{file}.jsonl").open("a") as rows:
        rows.write(json.dumps({"id": "x", "unit": "x", "split": "fit"} | row) + "\n")
    text, status = said("new", "mine", *mine)
    assert status == 1 and sentence in text and len(text.splitlines()) == 1
    assert not (study / "studies/mine.yaml").exists()


def test_a_model_of_the_hub_is_looked_up_at_its_newest_commit(said, mine, study, tmp_path, monkeypatch):
    hub_content.write_all(tmp_path / "hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with loopback_hub.serve(tmp_path / "hub", gated=set()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        text, status = said("new", "mine", "--model", hub_content.BASE, *mine[2:])
        assert status == 0 and "measured when the study runs" in text
        entry = yaml.safe_load((study / "studies/mine.yaml").read_text())["models"]["mine"]
        assert entry["revision"] == hub.revision(f"models/{hub_content.BASE}") and entry["layers"] == 9
        (study / "studies/mine.yaml").unlink()
        text, status = said("new", "mine", "--model", "nobody/nothing", *mine[2:])
    assert status == 1 and "/nobody/nothing cannot be read" in text and not (study / "studies/mine.yaml").exists()


def test_one_question_is_shown_under_every_state(said, study):
    rows = pd.read_parquet(study / RUNS[0] / "answers.parquet")
    row = rows[(rows.clearing == "none") & (rows.kind == "question")].iloc[5]
    text, _ = said("show", RUN, row.id, STUDY)
    assert all(f"{score:.2f}" in text for score in row.scores)
    asked = rows[rows.id == row.id]
    assert all(name in text for name in set(asked.clearing) - {"none"}) and f"{row.answer + 1}*" in text
    right = int(asked[asked.clearing == "rand"].correct.sum())
    [line] = [line for line in text.splitlines() if line.split()[:1] == ["rand"]]
    assert line.endswith(f"{right} of 2")


def test_the_question_shown_first_is_one_that_clearing_gives_back(said, study):
    rows = pd.read_parquet(study / RUNS[0] / "answers.parquet")
    benchmark, identity = showing._chosen(rows[rows.kind == "question"], "", "span")
    of_it = rows[(rows.benchmark == benchmark) & (rows.id == identity)].set_index("clearing").correct
    assert of_it["span"] and not of_it["none"]


def test_texts_of_data_sets_are_not_shown(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"id": "1", "question": "who ?", "choices": ["a"]}\n')
    assert "who ?" in showing._text(tmp_path / "x.jsonl", "1", {})[0]
    assert "left out" in showing._text(tmp_path / "x.jsonl", "1", {"dataset": "wmdp"})[0]


def test_results_are_summed_up_packed_and_verified(said, study, tmp_path):
    assert said("summary", "studies/smoke.yaml")[0] == (study / OUT / "reports/summary.txt").read_text()
    text, status = said("pack", STUDY, str(tmp_path / "a.tar"), "fit_junk")
    assert status == 0 and "outputs in" in text and (tmp_path / "a.tar").exists()
    assert "each as its job wrote it" in said("unpack", STUDY, str(tmp_path / "a.tar"))[0]
    assert "each as its job wrote it" in said("verify", STUDY)[0]
    page = study / OUT / "reports/map.html"
    before = page.read_bytes()
    page.write_bytes(before + b" ")
    with pytest.raises(SystemExit) as stopped:
        said("verify", STUDY)
    page.write_bytes(before)
    assert stopped.value.code == 1


def test_an_export_is_asked_of_snakemake(said, monkeypatch):
    asked = []
    monkeypatch.setattr(app.subprocess, "run", lambda command: asked.append(command) or type("", (), {"returncode": 0}))
    folder = f"{RUNS[0]}/export/span"
    assert said("export", RUN, "span", STUDY) == (f"{folder}\n", 0)
    assert asked[0][1:3] == ["-m", "snakemake"] and asked[0][-3:] == ["--configfile=studies/smoke.yaml", "--", folder]
    assert asked[0][0] == sys.executable


MISTAKES = {
    ("shw",): "No such command 'shw'",
    ("show",): "Missing argument 'run'",
    ("check", "nope.yaml"): "There is no file nope.yaml",
    ("summary", "studies/map.yaml"): "run the study first",
    ("show", "rmu", STUDY): f"There is no run 'rmu' of 'smoke' in {OUT}: its base models are smoke and the runs {RUN}",
    ("show", RUN, "nobody", STUDY): "The run has no question 'nobody': ids are like",
    ("export", RUN, "spam", STUDY): "There is no clearing 'spam' in this study: name one of benign, ",
    ("new", "mine", "--model", "nowhere", "--texts", "."): "There is no folder nowhere",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_sentence(said, arguments):
    text, status = said(*arguments)
    assert status == 1 and MISTAKES[arguments] in text and len(text.splitlines()) == 1


def test_every_command_says_what_it_is_for():
    for command in app.app.registered_commands:
        assert command.callback.__doc__.strip().endswith(".")
        assert CliRunner().invoke(app.app, [command.callback.__name__, "--help"]).exit_code == 0
    with pytest.raises(UserError):
        showing.show(showing.Path("nowhere"), "rmu")
