"""A headless Chromium, Debian's where there is none, and pages of a study that never ran."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.answers import explored
from helpers.synthetic import HOSTILE, Tables

from overpaint.report import explorer
from overpaint.report.index import render_index
from overpaint.report.notebooks import execute_report

NOTEBOOKS = Path(__file__).parents[2] / "reports"
LONG = "<script>alert(1)</script>" + "tower" * 20_000  # one line of 100 kB


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Chromium, driven by Playwright."""
    if not find_spec("playwright"):
        pytest.fail("These tests need Playwright: run them with `make test-browser`.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> Path:
    """The folder of all pages, of tables whose completions are hostile."""
    folder = tmp_path_factory.mktemp("study")
    study = Tables(topics=("north", "<b>south</b>"))
    tables, reports = study.write(folder / "tables"), folder / "reports"
    completions = study.completions()
    completions.loc[completions.clearing == "topic", "completion"] = LONG
    completions.assign(prompt=completions.prompt + HOSTILE).to_parquet(tables / "completions.parquet")
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        values = {"tables": tables, "primary": "topic", "study": "synthetic"}
        page = reports / f"{notebook.stem}.html"
        execute_report(notebook, values, folder / f"logs/{notebook.name}", page, notebook.stem.title())
    render_index(tables, "topic", "synthetic", reports / "index.html", reports / "summary.txt")
    explorer.render(*explored(folder, 40, HOSTILE), reports / "explorer.html")
    explorer.render(*explored(folder, 3333), reports / "many.html")
    return reports


def _chromium() -> str:
    """The path of Chromium, which Debian's package brings where it is missing."""
    if not shutil.which("chromium") and (os.geteuid() or not shutil.which("apt-get")):
        pytest.fail("These tests need Chromium: install it, so that the command `chromium` is on the path.")
    if not shutil.which("chromium"):
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            done = subprocess.run(["apt-get", *command], capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"apt-get cannot install chromium: {done.stderr.strip().splitlines()[-1]}")
    return shutil.which("chromium")
