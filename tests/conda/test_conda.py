"""The smoke study with `--sdm conda`: every rule in an environment of its own, with the results of the plain one."""

import json
import platform
import re
from collections import Counter
from pathlib import Path

import pytest
from conda_jobs import content, facts, fault
from helpers.checkout import JOBS, OUT, SMOKE, edited, planned, snakemake
from helpers.environments import RULES, dependencies
from real_conda import environments

from overpaint.report import PAGES
from overpaint.study import environments as needs

pytestmark = [pytest.mark.conda, pytest.mark.long]
STRICT = ["--workflow-profile", "profiles/strict"]
CREATE = ["--sdm", "conda", "--conda-create-envs-only"]
PLAN = ["--sdm", "conda", "--dry-run", *SMOKE]
# Of these files the times, places and machine are part.
OF_THE_RUN = re.compile(r"\.job\.json$|/reports/|/figures/|/tables/provenance\.|/\.snakemake_timestamp$")


# --- each rule in its own environment


def test_every_rule_has_run_in_the_environment_of_its_own_file(study):
    found = facts(study)
    assert Counter(fact["rule"] for fact in found) == JOBS
    used = {rule: {Path(fact["prefix"]) for fact in found if fact["rule"] == rule} for rule in JOBS}
    made = environments(study)
    assert used == {rule: {made[rule]} for rule in JOBS}
    assert len(set(made.values())) == len(made) and {path.parent for path in made.values()} == {
        study / ".snakemake/conda"
    }


def test_provenance_lists_the_packages_of_the_environment_and_not_of_snakemake(study):
    for fact in facts(study):
        packages = {name.lower().replace("_", "-"): version for name, version in fact["packages"].items()}
        assert "snakemake" not in packages and "pip" in packages
        assert ("torch" in packages) == ("pytorch" in dependencies(fact["rule"])), fact["rule"]
    assert any("torch" in fact["packages"] for fact in facts(study))


def test_a_notebook_runs_in_the_environment_of_its_rule(study):
    for page in PAGES:
        executed = json.loads((study / f"logs/{OUT}/reports/{page}/{page}.ipynb").read_text())
        said = "".join(text for output in executed["cells"][-1]["outputs"] for text in output["text"])
        assert said == f"prefix {environments(study)['render_report']}\n"


def test_results_equal_those_of_the_plain_environment_to_the_bit(study, plain):
    """The channel has the very wheels of the plain environment: same torch, same machine, one thread."""
    names = {str(path.relative_to(plain)) for path in (plain / OUT).rglob("*") if path.is_file()}
    compared = {name for name in names if not OF_THE_RUN.search(f"/{name}")}
    assert {f"{OUT}/tables/scores.parquet", f"{OUT}/smoke/rmu_smoke/layer=1/c=4/seed=1/overlay.safetensors"} <= compared
    assert [name for name in sorted(compared) if content(study / name) != content(plain / name)] == []
    assert {fact["prefix"] for fact in facts(study)}.isdisjoint(fact["prefix"] for fact in facts(plain))


# --- nothing from outside an environment


@pytest.mark.parametrize("rule", RULES)
def test_an_environment_alone_serves_the_imports_of_its_rule(prefixes, rule):
    assert fault(rule, prefixes[rule]) == ""


def test_a_dependency_that_is_left_out_is_missed_by_its_rule_and_no_other(study, conda, prefixes):
    file = study / "envs/render_index.yaml"
    with edited(file, re.sub(r"  - seaborn-base=.*\n", "", file.read_text())):
        assert snakemake(study, *CREATE, *SMOKE, **conda).returncode == 0
        changed = environments(study)
    assert {rule for rule in RULES if changed[rule] != prefixes[rule]} == {"render_index"}
    assert fault("render_index", changed["render_index"]) == "ModuleNotFoundError: No module named 'seaborn'"


# --- what runs again


def test_a_comment_in_an_environment_file_or_in_the_library_runs_nothing_again(study, conda):
    file, library = study / "envs/fit_junk.yaml", study / "src/overpaint/junk/directions.py"
    docstring = library.read_text().replace('"""', '"""So. ', 1)
    with edited(file, file.read_text() + "# a remark\n"), edited(library, docstring):
        assert "Nothing to be done" in snakemake(study, *PLAN, **conda).stdout


def test_a_version_makes_one_environment_and_reruns_its_rule_under_the_strict_profile_only(study, conda, prefixes):
    assert "Nothing to be done" in snakemake(study, *PLAN, *STRICT, **conda).stdout
    file = study / "envs/fit_junk.yaml"
    with edited(file, re.sub(r"python=\S+", f"python={platform.python_version()}", file.read_text())):
        assert "Nothing to be done" in snakemake(study, *PLAN, **conda).stdout
        jobs = planned(snakemake(study, *PLAN, *STRICT, **conda).stdout)
        before = set((study / ".snakemake/conda").glob("*.yaml"))
        assert snakemake(study, *CREATE, *SMOKE, **conda).returncode == 0
        (made,) = set((study / ".snakemake/conda").glob("*.yaml")) - before
        assert made.read_text() == file.read_text()
    assert jobs == {
        "fit_junk": 2, "collect_activations": 2, "evaluate": 2, "complete_prompts": 1, "measure_depth": 1,
        "relearn": 1, "measure_perturbations": 1, "score_depth": 1, "analyse_weights": 1, "gather_tables": 1,
        "gather_measures": 1, "render_report": 6, "render_index": 1, "render_explorer": 1,
    }  # fmt: skip


def test_a_comment_in_a_script_reruns_its_rule_under_the_strict_profile(study, conda):
    script = study / "workflow/scripts/render_index.py"
    with edited(script, script.read_text() + "# a remark\n"):
        assert "Nothing to be done" in snakemake(study, *PLAN, **conda).stdout
        assert planned(snakemake(study, *PLAN, *STRICT, **conda).stdout) == {"render_index": 1}


# --- places


def test_environments_made_beforehand_serve_a_machine_that_reaches_no_channel(study, conda, tmp_path):
    place, target = ["--conda-prefix", str(tmp_path / "envs")], f"{OUT}/worlds/smoke/facts.json"
    made = snakemake(study, target, *CREATE, *place, *SMOKE, **conda)
    assert made.returncode == 0, made.stdout
    away = conda | {"CONDA_CHANNEL_ALIAS": f"file://{tmp_path}/nowhere", "CONDA_PKGS_DIRS": str(tmp_path / "empty")}
    done = snakemake(study, target, "--force", "--sdm", "conda", *place, *SMOKE, **away)
    assert done.returncode == 0, done.stdout
    assert (
        Path(json.loads((study / f"{OUT}/worlds/smoke/facts.job.json").read_text())["prefix"]).parent
        == tmp_path / "envs"
    )
    control = snakemake(study, target, *CREATE, "--conda-prefix", str(tmp_path / "others"), *SMOKE, **away)
    assert control.returncode != 0, "this machine reaches a channel"


@pytest.mark.parametrize("rule", RULES)
def test_the_room_that_is_asked_for_is_what_an_environment_takes(prefixes, rule):
    taken = sum(path.lstat().st_size for path in prefixes[rule].rglob("*")) / 10**6
    asked = needs.megabytes(set(dependencies(rule)))
    assert taken < asked < 1.3 * taken + 50
