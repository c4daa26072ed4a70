"""Three rules of the smoke study with `--sdm conda`, one with torch, one with pandas too: all that CI runs of it."""

from pathlib import Path

import pytest
from conda_jobs import content, facts, fault
from helpers.checkout import MODEL, OUT, SMOKE, copy_checkout, snakemake
from real_conda import ROOT, build, cache, environments, on_path

pytestmark = pytest.mark.conda
MADE = [f"{MODEL}/base/overlay.safetensors"]
RULES = ["generate_world", "pretrain_model", "unlearn"]


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """A copy in which these rules have run, each in its environment; the channel serves few others."""
    # The last one has pip, which conda wants beside every Python.
    files = [ROOT / f"envs/{rule}.yaml" for rule in (*RULES, "download_package")]
    folder = copy_checkout(tmp_path_factory.mktemp("few"))
    done = snakemake(folder, *MADE, "--sdm", "conda", *SMOKE, **on_path(build(cache(files), files)))
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


def test_each_rule_has_run_in_the_environment_of_its_own_file_which_provenance_lists(few):
    found = {fact["rule"]: fact for fact in facts(few)}
    assert {rule: Path(fact["prefix"]) for rule, fact in found.items()} == environments(few)
    assert set(found) == set(RULES) and len(set(environments(few).values())) == len(RULES)
    packages = {rule: {name.lower() for name in fact["packages"]} for rule, fact in found.items()}
    assert {rule: {"torch", "pandas", "snakemake"} & names for rule, names in packages.items()} == {
        "generate_world": set(), "pretrain_model": {"torch"}, "unlearn": {"torch", "pandas"},
    }  # fmt: skip


def test_an_environment_alone_serves_the_imports_of_its_own_rule(few):
    prefixes = environments(few)
    assert {rule: fault(rule, prefixes[rule]) for rule in RULES} == dict.fromkeys(RULES, "")
    assert fault("unlearn", prefixes["pretrain_model"]) == "ModuleNotFoundError: No module named 'pandas'"


def test_results_equal_those_of_the_plain_environment_to_the_bit_which_has_nothing_to_do(few, tmp_path):
    here = copy_checkout(tmp_path)
    done = snakemake(here, *MADE, *SMOKE)
    assert done.returncode == 0, done.stdout[-5000:]
    for path in [*MADE, f"{MODEL}/checkpoint/model.safetensors", f"{OUT}/worlds/smoke/facts.json"]:
        assert content(few / path) == content(here / path), path
    assert {fact["prefix"] for fact in facts(few)}.isdisjoint(fact["prefix"] for fact in facts(here))
    assert "Nothing to be done" in snakemake(few, *MADE, "--dry-run", *SMOKE).stdout
