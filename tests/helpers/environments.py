"""Rules as their files write them, and what the environment of each needs."""

import ast
import re
import sys
from pathlib import Path

import yaml

from helpers.checkout import ROOT
from overpaint import measures
from overpaint.study import fingerprint, sweep

STAGES = sorted(path for path in (ROOT / "workflow/rules").glob("*.smk") if path.stem not in ("common", "inputs"))
# Names that differ between what is imported, the Python registry and conda-forge.
IMPORTED_AS = {"pytorch": "torch", "matplotlib-base": "matplotlib", "seaborn-base": "seaborn", "pyyaml": "yaml"}
REGISTRY = IMPORTED_AS | {"lm_eval": "lm-eval", "huggingface_hub": "huggingface-hub", "pyyaml": "pyyaml"}
# Packages that always come with another one.
COMES_WITH = {
    "pytorch": {"numpy"},
    "pandas": {"numpy"},
    "transformers": {"numpy", "tokenizers", "safetensors", "tqdm"},
    "seaborn-base": {"numpy", "pandas", "matplotlib"},
    "jinja2": {"markupsafe"},
    "papermill": {"nbformat"},
    "nbconvert": {"nbformat"},
}
# Imported when a function is called, so that only the rule that calls it needs them.
ON_CALL = {
    "render_report": {"papermill", "nbformat", "nbconvert", "scipy"}, "prepare_texts": {"pyarrow"},
    "gather_tables": {"scipy"}, "render_index": {"scipy"},
}  # fmt: skip


def blocks(path: Path) -> dict[str, dict[str, str]]:
    """{rule: {directive: its text}} of a file of rules; the docstring is under `docstring`."""
    found = {}
    for name, text in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        parts = re.split(r"^    (\w+):", text, flags=re.MULTILINE)
        found[name] = {"docstring": parts[0].strip()} | dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


RULES = {name: block for path in STAGES for name, block in blocks(path).items()}


def dependencies(rule: str) -> dict[str, str]:
    """{package: version} of a rule's environment; the version is empty where there is none."""
    listed = yaml.safe_load((ROOT / f"envs/{rule}.yaml").read_text(encoding="utf-8"))["dependencies"]
    return dict((*entry.split("=", 1), "")[:2] for entry in listed)


def closure(rule: str) -> set[Path]:
    """A rule's script and every module of the package that it imports, or finds by a name."""
    others = {
        "unlearn": ["overpaint.unlearning.methods"],
        "prepare_texts": [f"overpaint.sources.{name}" for name in sweep.TAKES if name != "harness"],
        "render_report": sorted((ROOT / "reports").glob("*.ipynb")),
        "render_index": ["overpaint.report.sections", *measures.modules("page")],
        "gather_measures": measures.modules("table"),
    }
    return fingerprint.files(ROOT / f"workflow/scripts/{rule}.py", *others.get(rule, []))


def top_level_imports(path: Path) -> set[str]:
    """Packages from elsewhere that a file imports when it is loaded."""
    names = set()
    for node in fingerprint._tree(path).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"overpaint"}


def needed(rule: str) -> set[str]:
    """Packages from elsewhere that a rule's script loads."""
    return set().union(*map(top_level_imports, closure(rule))) | ON_CALL.get(rule, set())
