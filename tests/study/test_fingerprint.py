"""The fingerprint of a script's library code: what changes it and what does not, on a copy of the package."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.checkout import ROOT

from overpaint import measures
from overpaint.study import fingerprint as module
from overpaint.study.fingerprint import fingerprint


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that fingerprints are taken of."""
    copy = tmp_path / "overpaint"
    shutil.copytree(ROOT / "src/overpaint", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copy)
    return copy


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that uses a part of the package."""
    path = tmp_path / "script.py"
    path.write_text('"""Do it."""\n\nfrom overpaint.sources import fictional, texts\n\nprint(texts)\n')
    return path


def taken(script: Path, *modules: str) -> str:
    """The fingerprint as a new process would take it."""
    module._read.cache_clear()
    return fingerprint(script, *modules)


def edit(path: Path, old: str, new: str) -> None:
    """Replace text that stands in a file once."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} holds {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))


COSMETICS: dict[str, Callable[[str], str]] = {
    "a comment": lambda text: "# A remark.\n" + text + "\n# Another.\n",
    "a comment after code": lambda text: text.replace("import random\n", "import random  # a remark\n"),
    "the module's docstring": lambda text: text.replace('"""Fictional worlds', '"""Entirely fictional worlds'),
    "a function's docstring": lambda text: text.replace('"""Write the facts', '"""Do write the facts'),
    "a class's docstring": lambda text: text.replace('"""One fact:', '"""A single fact:'),
    "blank lines": lambda text: text.replace("\n\n\n", "\n\n\n\n\n"),
    "line breaks and brackets": lambda text: text.replace(
        "random.Random(seed)\n", "(\n        random.Random(seed)\n    )\n"
    ),
    "quotes": lambda text: text.replace('else "fit"', "else 'fit'"),
}


@pytest.mark.parametrize("change", COSMETICS)
def test_cosmetics_change_nothing(package, script, change):
    before, path = taken(script), package / "sources/world.py"
    text = path.read_text()
    path.write_text(COSMETICS[change](text))
    assert path.read_text() != text, "the file was not changed at all"
    assert taken(script) == before
    edit(path, '"colour": 12', '"colour": 13')
    assert taken(script) != before, "nothing changes it"


def test_cosmetics_of_the_script_itself_change_nothing(package, script):
    before = taken(script)
    script.write_text(script.read_text().replace('"""Do it."""', '"""Do it well."""\n# so'))
    assert taken(script) == before
    script.write_text(script.read_text().replace("print(texts)", "print(fictional)"))
    assert taken(script) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("sources/texts.py", 'SPLITS = ("fit", "test")', 'SPLITS = ("test", "fit")'),
        ("sources/world.py", '"home": 12', '"home": 11'),
        ("sources/datafiles.py", "import csv\n", "import csv\n\nEXTRA = 1\n"),
        ("errors.py", "class UserError(Exception)", "class UserError(ValueError)"),
        ("__init__.py", "PLACES = {", "EXTRA = 1\nPLACES = {"),
    ],
)
def test_code_that_is_imported_at_any_remove_changes_it(package, script, name, old, new):
    before = taken(script)
    edit(package / name, old, new)
    assert taken(script) != before


def test_code_that_is_not_imported_does_not_change_it(package, script):
    before = taken(script)
    for name in (
        "sources/wikipedia.py",
        "junk/directions.py",
        "report/drawing.py",
        "tables/statistics.py",
        "unlearning/methods/rmu.py",
    ):
        (package / name).write_text((package / name).read_text() + "\nEXTRA = 1\n")
    assert taken(script) == before
    assert taken(script, "overpaint.junk") != before


def test_packages_on_the_way_to_a_module_count(package, script):
    script.write_text("from overpaint.unlearning.methods.base import unlearn\n")
    before = taken(script)
    for name in ("__init__.py", "unlearning/__init__.py", "unlearning/methods/__init__.py"):
        (package / name).write_text((package / name).read_text() + "\nEXTRA = 1\n")
        after = taken(script)
        assert after != before, name
        before = after


def test_a_package_that_is_named_stands_for_all_its_modules_and_one_that_is_imported_for_itself(package, script):
    script.write_text("from overpaint import report\n")
    before = taken(script), taken(script, "overpaint.report.sections")
    (package / "report/sections/depth/new.py").write_text("EXTRA = 1\n")
    after = taken(script), taken(script, "overpaint.report.sections")
    assert after[0] == before[0] and after[1] != before[1]


# --- notebooks


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A copy of a report."""
    return Path(shutil.copy(ROOT / "reports/finding.ipynb", tmp_path / "finding.ipynb"))


def test_the_code_of_a_notebook_counts_and_its_prose_does_not(package, script, notebook):
    before = taken(script, notebook)
    edit(notebook, "# What does clearing give back?", "# What does clearing bring back?")
    assert taken(script, notebook) == before != taken(script)
    edit(notebook, "accuracy.show(views)", "accuracy.show(views[:1])")
    assert taken(script, notebook) != before


def test_a_notebook_counts_the_sections_that_it_imports(package, script, notebook):
    before = taken(script, notebook)
    edit(package / "report/sections/depth/weights.py", "TENSORS = 12", "TENSORS = 13")
    assert taken(script, notebook) == before
    edit(package / "report/sections/finding/junk.py", "Grey: what unrelated ", "Grey: what random ")
    assert taken(script, notebook) != before
    edit(notebook, '"    junk,\\n",', "")
    without = taken(script, notebook)
    edit(package / "report/sections/finding/junk.py", "Grey: what random ", "Grey: what unrelated ")
    assert taken(script, notebook) == without


USERS = {  # an edit: the pages whose fingerprints it changes
    "measures/relearning/page.py": {"depth"},
    "report/sections/activations/shift.py": {"activations"},
    "measures/coherence/page.py": {"completions"},
    "report/sections/finding/recovery.py": {"finding", "map"},
    "report/sections/map/claims.py": {"map"},
    "report/sections/provenance.py": {"provenance"},
    "report/sections/measured.py": {"finding", "map", "activations", "depth", "completions"},
    "report/drawing.py": {"finding", "map", "activations", "depth", "completions", "provenance"},
    "report/index.py": set(),
}


@pytest.mark.parametrize("name", USERS)
def test_an_edit_of_a_section_changes_the_index_and_the_pages_that_use_it(package, name):
    render, index = (ROOT / f"workflow/scripts/render_{what}.py" for what in ("report", "index"))

    def all_taken() -> dict[str, str]:
        pages = {path.stem: taken(render, path) for path in sorted((ROOT / "reports").glob("*.ipynb"))}
        return pages | {"index": taken(index, "overpaint.report.sections", *measures.modules("page"))}

    before = all_taken()
    (package / name).write_text((package / name).read_text() + "\nEXTRA = 1\n")
    assert {page for page, value in all_taken().items() if value != before[page]} == {*USERS[name], "index"}


def test_a_method_counts_only_where_it_is_named(package):
    script = ROOT / "workflow/scripts/unlearn.py"

    def all_taken() -> list[str]:
        return [
            taken(script),
            taken(script, "overpaint.unlearning.methods.base"),
            taken(script, "overpaint.unlearning.methods.rmu"),
        ]

    before = all_taken()
    edit(package / "unlearning/methods/rmu.py", '"uniform": torch.rand,', '"uniform": torch.randn,')
    after = all_taken()
    assert len(set(before)) == 3
    assert after[:2] == before[:2] and after[2] != before[2]


def test_settings_of_functions_matter_though_names_stay(package, script):
    before = taken(script)
    edit(package / "sources/world.py", "copies: int = 10", "copies: int = 11")
    assert taken(script) != before


def test_every_script_has_a_fingerprint_of_its_own():
    scripts = sorted((ROOT / "workflow/scripts").glob("*.py"))
    assert len({fingerprint(script) for script in scripts}) == len(scripts) > 10


def test_where_the_checkout_lies_does_not_matter(package, tmp_path, monkeypatch):
    script = tmp_path / "elsewhere" / "fit_junk.py"
    script.parent.mkdir()
    shutil.copy(ROOT / "workflow/scripts/fit_junk.py", script)
    copied = taken(script)
    monkeypatch.setattr(module, "PACKAGE", ROOT / "src/overpaint")
    assert taken(ROOT / "workflow/scripts/fit_junk.py") == copied


def in_processes(script: str, *modules: str) -> set[str]:
    """Fingerprints of a script of the workflow, taken in processes with different hash seeds."""
    code = f"from overpaint.study.fingerprint import fingerprint; print(fingerprint({script!r}, *{modules!r}))"
    return {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT / "workflow/scripts",
            env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT / "src")},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(12)
    }


def test_every_process_takes_the_same_fingerprint():
    assert len(in_processes("evaluate.py")) == 1


def test_every_process_takes_the_same_fingerprint_of_a_method():
    assert len(in_processes("unlearn.py", "overpaint.unlearning.methods.rmu")) == 1
