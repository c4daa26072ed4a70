"""Imports of the package run downwards only: plain modules know no torch, the library knows no workflow."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/overpaint"


def name_of(path: Path) -> str:
    """`methods.rmu` of a file of the package; `overpaint` of the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "overpaint"


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
SECTIONS = {name for name in FILES if name.startswith("report.sections")}
# The folders from the bottom up, as the package's docstring lists them.
ORDER = re.findall(r"^(\w+) {2,}\w", ast.get_docstring(ast.parse(FILES["overpaint"].read_text())), re.MULTILINE)
HEAVY = {"torch", "pandas", "transformers"}
OF_PLANS = ("models.folders", "models.trained", "tuning.grid")  # beside what they plan
TABULAR = {"tables", "report", "findings"}


def folder(name: str) -> str:
    """The folder of a module, "" of those in none."""
    return name.split(".")[0] if name.split(".")[0] in ORDER else ""


def kind(name: str) -> str:
    """Whether a module is `plain`, `torch` or `tabular`; `library` and `commands` alone are both."""
    if folder(name) in ("library", "commands"):
        return "plain" if FILES[name].name == "__init__.py" else "both"
    if name in ("report", "tables") or folder(name) in ("", "jobs", "downloads", "study", "archive"):
        return {"downloads.gguf": "torch", "archive.reading": "tabular"}.get(name, "plain")
    if folder(name) in TABULAR or name.endswith((".table", ".page", ".gathering")):
        return "tabular"
    if folder(name) == "sources":
        return "plain" if name != "sources.harness" else "torch"
    return "plain" if FILES[name].name == "__init__.py" or name in OF_PLANS else "torch"


PLAIN = sorted(name for name in FILES if kind(name) == "plain" and name != "overpaint")
# Some load yaml, jinja2, or pyarrow where there is a table to read.
WITH_MORE = {"study.configuration", "study.needs", "study.start", "downloads.hub"}
WITH_MORE |= {f"sources.{name}" for name in ("articles", "datafiles", "dataset", "file", "texts", "wikipedia")}
WITH_MORE |= {"unlearning.methods", "archive.crate", "archive.release"}
STDLIB_ONLY = [name for name in PLAIN if name not in WITH_MORE]


@cache
def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it; `from a import b` may mean `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def internal(name: str) -> set[str]:
    """Modules of the package that one imports."""
    found = {other.removeprefix("overpaint.") for other in imports(FILES[name]) if other.split(".")[0] == "overpaint"}
    return (found & set(FILES)) - {name}


def external(name: str) -> set[str]:
    """Top-level packages from elsewhere that a module imports itself."""
    return {other.split(".")[0] for other in imports(FILES[name])} - {"overpaint"}


def closure(name: str) -> set[str]:
    """A module and all that it imports of the package, at any remove."""
    found, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += internal(module)
    return found


def reached(name: str) -> set[str]:
    """Top-level packages from elsewhere that importing a module may load."""
    return set().union(*(external(module) for module in closure(name)))


def test_imports_are_found():
    assert {"study.needs", "errors"} <= internal("study.configuration") and "yaml" in external("study.configuration")
    assert internal("unlearning.methods.rmu") >= {"models.overlay", "unlearning.training"}
    assert "torch" in reached("unlearning.methods.rmu")
    assert closure("study.sweep") - {"study", "overpaint"} == {"study.sweep", "declared", "errors"}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_modules_reach_neither_torch_nor_pandas_nor_transformers(name):
    assert not reached(name) & HEAVY


@pytest.mark.parametrize("name", STDLIB_ONLY)
def test_plain_modules_need_the_standard_library_only(name):
    assert reached(name) <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", sorted(name for name in FILES if kind(name) == "tabular"))
def test_tables_and_figures_reach_no_torch(name):
    assert not reached(name) & {"torch", "transformers", "safetensors"}


def test_plain_modules_load_nothing_heavy_when_they_are_imported():
    code = f"import sys, {', '.join(f'overpaint.{name}' for name in PLAIN)}; print(*sorted(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert "overpaint.sources.wikipedia" in found.stdout.split()
    assert not (HEAVY | {"pyarrow"}) & set(found.stdout.split())


def test_other_modules_do_reach_them():
    assert "torch" in reached("junk.directions") and "transformers" in reached("models.load")
    assert "pandas" in reached("tables.core") and len(PLAIN) > 30


@pytest.mark.parametrize("name", FILES)
def test_nothing_in_the_package_knows_snakemake_or_the_scripts(name):
    assert not external(name) & {"snakemake", "workflow", "scripts", "tests"}


def by_locale(path: Path) -> list[int]:
    """Lines on which a file reads or writes text in the encoding of the locale, which may know no letter but A to Z."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {key.arg for key in node.keywords}
            mode = node.args[0] if node.args else ast.Constant("r")
            opened = node.func.attr == "open" and isinstance(mode, ast.Constant) and "b" not in mode.value
            if opened or node.func.attr in ("read_text", "write_text"):
                lines += [] if "encoding" in given else [node.lineno]
    return lines


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
HELPERS = {*(ROOT / "tests").glob("*.py"), *(ROOT / "tests/helpers").rglob("*.py")} - {*TESTS}


@pytest.mark.parametrize(
    "path", [*FILES.values(), *ROOT.glob("workflow/scripts/*.py"), *ROOT.glob("envs/*.py"), *sorted(HELPERS)]
)
def test_text_is_utf8_in_every_locale(path, tmp_path):
    assert by_locale(path) == []


def test_text_in_the_locales_encoding_is_found(tmp_path):
    (tmp_path / "a.py").write_text(
        "p.read_text()\np.open()\np.open('w')\np.open('rb')\np.open('w', encoding='utf-8')\n"
    )
    assert by_locale(tmp_path / "a.py") == [1, 2, 3]


def test_no_module_reaches_itself():
    for name in FILES:
        assert not [other for other in internal(name) if name in closure(other)], f"{name} is in a cycle of imports"


def test_every_module_but_two_small_ones_is_in_a_folder_of_the_list():
    assert sorted(name for name in FILES if not folder(name)) == ["declared", "errors", "overpaint"]
    assert sorted(ORDER) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")), "docstring of overpaint"


def test_imports_run_downwards_only():
    level = {"": -1} | {name: number for number, name in enumerate(ORDER)}
    arrows = {(name, other) for name in FILES for other in internal(name)}
    assert not [(name, other) for name, other in arrows if level[folder(other)] > level[folder(name)]]
    assert ("unlearning.methods.rmu", "models.overlay") in arrows


@pytest.mark.parametrize("path", [PACKAGE, *(path for path in sorted(PACKAGE.rglob("*")) if path.is_dir())])
def test_a_folder_has_few_files_and_a_file_few_lines(path):
    files = [file for file in path.glob("*.py")]
    assert len(files) <= 12 and all(len(file.read_text().splitlines()) <= 300 for file in files)


def test_scripts_are_short_and_helpers_of_tests_are_in_folders():
    scripts, helpers = ROOT / "workflow/scripts", ROOT / "tests/helpers"
    lengths = {path.name: len(path.read_text().splitlines()) for path in scripts.glob("*.py")}
    assert lengths and {name for name, count in lengths.items() if count > 15} == set()
    assert all(len([*folder.glob("*.py")]) <= 12 for folder in (helpers, *helpers.glob("*/")))
    assert len([*(ROOT / "workflow/rules").iterdir()]) <= 12


def test_a_section_imports_no_other_section():
    for name in SECTIONS:
        others = internal(name) & SECTIONS
        assert {FILES[other].name for other in others} <= {"__init__.py"}, "its edit would rerun more"
    assert {"report.sections.measured", "report.sections.finding.headline"} <= internal("report.index") & SECTIONS


def test_the_three_kinds_stay_apart():
    for name in FILES:
        others = {kind(other) for other in closure(name)} - {"plain"}
        assert kind(name) == "both" or others <= {kind(name)}, f"{name} reaches {others}"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_no_test_imports_a_test(path):
    modules = {test.stem for test in TESTS}
    assert not [name for name in imports(path) if modules & set(name.split("."))]
