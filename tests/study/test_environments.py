"""Rules are complete, and the environment of each has what its script imports, in the versions of the project."""

import ast
import re
import runpy
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from helpers.checkout import ROOT
from helpers.environments import (
    COMES_WITH,
    IMPORTED_AS,
    ON_CALL,
    REGISTRY,
    RULES,
    STAGES,
    blocks,
    closure,
    dependencies,
    needed,
)

from overpaint.study import fingerprint

ORDER = ["input", "output", "log", "conda", "threads", "resources", "params", "message", "script"]


def provided(rule: str) -> set[str]:
    """What can be imported in a rule's environment, beside the standard library."""
    names = dependencies(rule)
    return {IMPORTED_AS.get(name, name) for name in names}.union(*(COMES_WITH.get(name, set()) for name in names))


def test_rules_are_found():
    assert {"unlearn", "fit_junk", "gather_tables", "render_index"} <= set(RULES)
    assert set(RULES["unlearn"]) >= {"docstring", "input", "output", "script"}


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_a_file_of_rules_opens_with_what_it_needs_and_makes(path):
    text = ast.get_docstring(ast.parse(path.read_text().split("\n\n\nrule")[0] + "\n"))
    assert re.search(r"^Needs: ", text, re.MULTILINE) and re.search(r"^Makes: ", text, re.MULTILINE)


def test_common_functions_make_no_rules_and_the_snakefile_has_no_logic():
    assert blocks(ROOT / "workflow/rules/common.smk") == {}
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 60
    assert list(blocks(ROOT / "Snakefile")) == ["all", "bases"]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_all_its_parts_in_order(rule):
    block = RULES[rule]
    assert re.fullmatch(r'""".+\."""', block["docstring"])
    spared = {"input"} if rule.startswith(("generate_", "download_")) else set()
    assert set(ORDER) - {"threads"} - spared <= set(block)
    assert "threads" not in block or "  #" in block["threads"], "a job has one thread, unless there is a reason"
    assert "benchmark" not in block, "Snakemake would time `overpaint.jobs.hand`, and caches no rule that it times"
    assert [name for name in block if name in ORDER] == [name for name in ORDER if name in block]


@pytest.mark.parametrize("rule", RULES)
def test_inputs_and_outputs_and_params_have_names(rule):
    for directive in ("input", "output", "params", "resources"):
        arguments = re.findall(r"^        (?=\S)(?![)\]}])(.*)$", RULES[rule].get(directive, ""), re.MULTILINE)
        assert [text for text in arguments if not re.match(r"\w+=|\*\*", text)] == []
        assert arguments or directive in ("resources", "input")


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_uses_the_script_and_the_environment_of_its_name(rule):
    block = RULES[rule]
    assert block["script"].strip() == f'"../scripts/{rule}.py"' and (ROOT / f"workflow/scripts/{rule}.py").is_file()
    assert block["conda"].strip() == f'"../../envs/{rule}.yaml"'
    assert re.search(rf'code\("{rule}\.py"', block["params"]), "no fingerprint of its own code"
    assert 'job="<out>/' in block["output"], "no provenance"
    assert f"/{rule}.log" in block["log"] and '"logs/' in block["log"]


def test_every_script_and_environment_belongs_to_a_rule():
    assert {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")} == set(RULES)
    assert {path.stem for path in (ROOT / "envs").glob("*.yaml")} == set(RULES)


@pytest.fixture(scope="module")
def generator() -> dict:
    """The functions of the script that writes the environment files."""
    return runpy.run_path(str(ROOT / "envs/generate.py"))


def test_the_files_are_what_the_project_says(generator):
    wanted = generator["environments"]()
    assert {path.stem for path in wanted} == set(RULES)
    assert generator["differing"](wanted) == []


def test_an_edited_a_missing_and_a_foreign_file_are_found(generator, tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    edited, missing, foreign = (tmp_path / f"envs/{name}.yaml" for name in ("evaluate", "unlearn", "other"))
    edited.write_text(edited.read_text().replace("pandas=", "pandas=0"))
    missing.unlink()
    foreign.write_text("channels: []\n")
    assert set(generator["differing"](generator["environments"](tmp_path), tmp_path)) == {edited, missing, foreign}
    script = [sys.executable, tmp_path / "envs/generate.py"]
    refused = subprocess.run([*script, "--check"], capture_output=True, text=True)
    assert refused.returncode == 1 and "envs/evaluate.yaml, envs/unlearn.yaml, envs/other.yaml" in refused.stderr
    subprocess.run(script, check=True)
    subprocess.run([*script, "--check"], check=True)
    assert missing.is_file() and not foreign.exists()


def test_a_version_is_stated_once_and_reaches_every_environment_that_has_it(generator, tmp_path):
    text = (ROOT / "pyproject.toml").read_text()
    assert text.count("pandas==") == 1
    (tmp_path / "pyproject.toml").write_text(re.sub(r"pandas==[\d.]+", "pandas==9.9", text))
    changed = generator["environments"](tmp_path)
    assert {path.stem for path, text in changed.items() if "pandas=9.9\n" in text} == {
        rule for rule in RULES if "pandas" in dependencies(rule)
    }


def test_no_two_environment_files_are_alike():
    """Or rules would share a prefix, and a change of one would be a change of another."""
    assert len({(ROOT / f"envs/{rule}.yaml").read_text() for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_an_environment_has_two_channels_and_exact_pins(rule):
    content = yaml.safe_load((ROOT / f"envs/{rule}.yaml").read_text())
    assert content["channels"] == ["conda-forge", "nodefaults"]
    assert all(isinstance(entry, str) for entry in content["dependencies"])
    assert [pin for pin in dependencies(rule).items() if not re.fullmatch(r"\d+(\.\d+)+", pin[1])] == []
    assert "python" in dependencies(rule)


def registry_versions(lines: list[str]) -> dict[str, str]:
    """{name: version} of requirements `name==version`."""
    pinned = [line.split("==") for line in lines if "==" in line]
    return {name.lower().replace("_", "-"): version.strip() for name, version in pinned}


def test_versions_agree_with_the_project_and_its_constraints():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = registry_versions(project["dependencies"])
    every = registry_versions((ROOT / "constraints.txt").read_text().splitlines())
    assert {name: every[name] for name in direct} == direct
    checked = 0
    for rule in RULES:
        for name, version in dependencies(rule).items():
            if name != "python":
                wanted = REGISTRY.get(name, name)
                assert direct[wanted] == version, f"envs/{rule}.yaml: {name}"
                checked += 1
    assert checked > 40


def test_every_environment_has_the_same_python_and_one_that_the_project_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (version,) = {dependencies(rule)["python"] for rule in RULES}
    oldest = tuple(map(int, project["requires-python"].removeprefix(">=").split(".")))
    assert tuple(map(int, version.split("."))) >= oldest


def test_every_dependency_of_the_project_outside_the_development_is_used():
    """Not by any rule: what runs Snakemake itself reads the configuration, and shows the run; commands of their own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    used = {REGISTRY.get(name, name) for rule in RULES for name in dependencies(rule)}
    assert set(registry_versions(project["dependencies"])) - used == {"snakemake", "jsonschema", "rich", "typer"}


def test_needs_are_found():
    assert needed("generate_world") == set()
    assert {"torch", "transformers", "lm_eval", "pandas"} <= needed("evaluate")
    assert {"torch", "transformers"} <= needed("unlearn") and "matplotlib" in needed("render_index")


@pytest.mark.parametrize("rule", RULES)
def test_an_environment_has_what_the_script_imports(rule):
    assert needed(rule) <= provided(rule)


@pytest.mark.parametrize("rule", RULES)
def test_an_environment_has_an_engine_for_parquet_where_tables_are_kept_in_it(rule):
    text = "".join(path.read_text() for path in closure(rule))
    words = ("read_parquet", "to_parquet", "pyarrow.parquet")
    uses = any(word in text for word in words) or "pyarrow" in ON_CALL.get(rule, set())
    assert ("pyarrow" in dependencies(rule)) == uses


@pytest.mark.parametrize("rule", RULES)
def test_an_environment_has_nothing_that_is_not_used(rule):
    # accelerate lets transformers read weights into a GPU, datasets reads files for lm-eval and pyarrow for pandas,
    # transformers writes weights with safetensors, ipykernel runs the notebook, pip fetches the package
    indirectly = {"python", "accelerate", "pyarrow", "datasets", "safetensors", "ipykernel", "pip"}
    assert {name for name in dependencies(rule) if IMPORTED_AS.get(name, name) not in needed(rule)} <= indirectly


@pytest.mark.parametrize("rule", RULES)
def test_an_environment_has_accelerate_where_a_model_is_loaded(rule):
    loads = any(re.search(r"\bload_(model|overlaid)\(", path.read_text()) for path in closure(rule))
    assert ("accelerate" in dependencies(rule)) == (loads and "transformers" in dependencies(rule))


def test_notebooks_import_the_library_only():
    for path in sorted((ROOT / "reports").glob("*.ipynb")):
        imported = [node for node in ast.walk(fingerprint._tree(path)) if isinstance(node, ast.Import | ast.ImportFrom)]
        own = [
            isinstance(node, ast.ImportFrom) and node.module.startswith(("overpaint.report", "overpaint.measures"))
            for node in imported
        ]
        assert imported and all(own), path.name
