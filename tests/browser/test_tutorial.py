"""docs/tutorial.md: its files and commands, as they are written, with a tiny random model in the place of one's own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.checkout import ROOT, copy_checkout, planned

PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
FILES = re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.browser
OWN = "/models/my-model"
OUT = "results/mine"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, make_model, tokenizer) -> Path:
    """A checkout with the environment of these tests, a model folder beside it, and the page's files in it."""
    folder, model = copy_checkout(tmp_path_factory.mktemp("hour") / "checkout"), tmp_path_factory.mktemp("model")
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
        os.utime(folder / name, (0, 0))  # the environment is newer, so that make leaves it
    make_model("llama", blocks=9).save_pretrained(model)
    tokenizer.save_pretrained(model)
    for name, text in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace(OWN, str(model)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def said(checkout) -> list[str]:
    """What each block of commands said."""
    texts = []
    for block in COMMANDS:
        run = ["bash", "-e", "-c", block]
        done = subprocess.run(run, cwd=checkout, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout[-5000:]
        texts.append(done.stdout)
    return texts


def test_the_page_has_three_files_and_a_study_and_its_model():
    assert [Path(name).suffix for name, _ in FILES] == [".jsonl"] * 3 + [".yaml"]
    assert OWN in FILES[-1][1] and len(COMMANDS) == 3 and len(PYTHON) == 1


def test_its_commands_lead_to_the_report(checkout, said):
    plan, ran = planned(said[1]), said[2]
    assert plan["unlearn"] == 2 and plan["render_index"] == 1
    assert f"{OUT}/reports/index.html" in ran and (checkout / OUT / "reports/summary.txt").read_text() in ran
    scores = pd.read_parquet(checkout / OUT / "tables/scores.parquet")
    assert set(scores.clearing[scores.method == "rmu_mine"]) == {"none", "topic", "rand", "randn"}
    assert scores.draw.max() == 9 and set(scores.topic) >= {"mine", "plain"}


def test_a_mistake_in_the_study_is_answered_by_the_dry_run(checkout):
    study = checkout / "studies/mine.yaml"
    study.with_name("wrong.yaml").write_text(study.read_text().replace("layer: 7", "layer: 70"))
    wrong = COMMANDS[1].replace("mine.yaml", "wrong.yaml")
    done = subprocess.run(["bash", "-e", "-c", wrong], cwd=checkout, capture_output=True, text=True)
    assert done.returncode and "layer 70" in done.stdout + done.stderr


def test_its_python_shows_the_cell(checkout, said, monkeypatch, capsys):
    monkeypatch.chdir(checkout)
    exec(PYTHON[0], {})
    assert "forgotten_accuracy" in capsys.readouterr().out


def test_its_report_opens(checkout, said, browser):
    page = browser.new_page()
    page.goto((checkout / OUT / "reports/index.html").as_uri())
    assert "mine" in page.locator("main").inner_text() and page.locator("figure svg[role=img]").first.is_visible()
