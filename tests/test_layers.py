"""Imports of the package run downwards only: plain modules know no torch, the library knows no workflow."""

import ast
import os
import subprocess
import sys
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
# From the bottom up: a module imports from layers below its own, and within its own only where there is no way back.
LAYERS = [
    {"overpaint", "errors"},
    {"names", "folders", "sweep", "checks", "planning", "fingerprint", "provenance", "world", "wikipedia", "packages"}
    | {"environments", "resources", "datafiles", "hub", "listing", "start"},
    {"texts", "needs", "configuration", "job", "study", "unpacking", "bundle"},
    {"gguf", "tensors", "trying"},
    {"models", "hooks", "pretrain"},
    {"activations", "junk", "clearing", "training", "collection", "estimators", "diagnosis", "harness"},
    {"prefix", "export", "weights", "likelihood"},
    {"completions", "questions", "agreement"},
    {"lens", "relearning", "emergence"},
    {"methods", "methods.adaptive_rmu", "methods.base", "methods.published", "methods.rmu", "evaluation"},
    {"statistics", "tables", "scores", "comparisons", "measures", "verdicts", "gathering"},
    {"report", "report.select", "report.drawing"},
    {"report.wording"},
    {"report.view", "report.dotplot", "report.markup"},
    {"report.section", "report.pages"},
    SECTIONS,
    {"report.index"},
]
HEAVY = {"torch", "pandas", "transformers"}
PLAIN = sorted({"report"}.union(*LAYERS[:3]) - {"overpaint"})
# Texts and data files load pyarrow where there is a table to read.
STDLIB_ONLY = [
    n for n in PLAIN if n not in ("configuration", "datafiles", "hub", "needs", "start", "texts", "wikipedia")
]
TABULAR = sorted(set().union(*LAYERS[-7:]))


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
    assert {"needs", "errors"} <= internal("configuration") and "yaml" in external("configuration")
    assert internal("methods.rmu") >= {"models", "training"} and "torch" in reached("methods.rmu")
    assert closure("sweep") == {"sweep", "errors"}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_modules_reach_neither_torch_nor_pandas_nor_transformers(name):
    assert not reached(name) & HEAVY


@pytest.mark.parametrize("name", STDLIB_ONLY)
def test_plain_modules_need_the_standard_library_only(name):
    assert reached(name) <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", TABULAR)
def test_tables_and_figures_reach_no_torch(name):
    assert not reached(name) & {"torch", "transformers", "safetensors"}


def test_plain_modules_load_nothing_heavy_when_they_are_imported():
    code = f"import sys, {', '.join(f'overpaint.{name}' for name in PLAIN)}; print(*sorted(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert "overpaint.wikipedia" in found.stdout.split()
    assert not (HEAVY | {"pyarrow"}) & set(found.stdout.split())


def test_other_modules_do_reach_them():
    assert "torch" in reached("junk") and "transformers" in reached("models") and "pandas" in reached("tables")


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


HELPERS = [path for path in (ROOT / "tests").glob("*.py") if not path.name.startswith("test_")]


@pytest.mark.parametrize(
    "path", [*FILES.values(), *ROOT.glob("workflow/scripts/*.py"), *ROOT.glob("envs/*.py"), *HELPERS]
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


def test_every_module_has_a_layer():
    assert set().union(*LAYERS) == set(FILES)


def test_imports_run_downwards_only():
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    upwards = [(name, other) for name in FILES for other in internal(name) if level[other] > level[name]]
    assert upwards == []
    assert [other for other in internal("methods.rmu") if level[other] < level["methods.rmu"]], "nothing runs down"


def test_a_section_imports_no_other_section():
    for name in SECTIONS:
        others = internal(name) & SECTIONS
        assert {FILES[other].name for other in others} <= {"__init__.py"}, "its edit would rerun more"
    assert {"report.sections.measured", "report.sections.finding.headline"} <= internal("report.index") & SECTIONS


def test_the_plain_half_does_not_stand_on_the_torch_half():
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    for name in TABULAR:
        assert not {other for other in closure(name) if 3 <= level[other] <= 8}
