"""The workflow as a user runs it, on copies of the checkout: the smoke study to its end, twice, and its mistakes."""

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from helpers.checkout import JOBS, MODEL, OUT, ROOT, RUNS, SMOKE, copy_checkout, edited, planned, snakemake
from snakemake.utils import update_config
from transformers import AutoModelForCausalLM

from overpaint.jobs import provenance
from overpaint.junk import activations, clearing
from overpaint.junk.directions import Junk
from overpaint.models.load import load_overlaid
from overpaint.models.overlay import Overlay
from overpaint.models.tensors import read_overlay
from overpaint.report import PAGES
from overpaint.sources import PARTS
from overpaint.study import sweep
from overpaint.tables import core

TABLES = [
    "cells", "hypotheses", "layers", "scores", "nulls", "mcnemar", "activations", "junk", "depths", "weights",
    "history", "completions", "provenance", "costs",
]  # fmt: skip
MEASURES = ["agreement", "coherence", "depth", "relearning", "perturbations", "uds", "emergence"]
SCORES = [*core.RUN, "topic", "role", *core.APPLIED, "benchmark", "metric"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A copy in which nothing has run."""
    return copy_checkout(tmp_path_factory.mktemp("fresh"))


# --- before anything runs


def test_tasks_of_the_harness_are_prepared_from_their_data_set(dry_run, fresh):
    out = "results/with_tasks"
    task = {"source": "harness", "dataset": "wmdp", "kind": "questions", "fit": 0.5}
    tasks = {"gloomcraft": "wmdp_bio", "riftlore": "wmdp_cyber"}
    benchmarks = {f"{topic}_task": task | {"topic": topic, "task": name} for topic, name in tasks.items()}
    datasets = {"wmdp": {"repo": "cais/wmdp", "revision": 40 * "0", "files": ["*/test-*.parquet"]}}
    own = {"study": {"output": out, "name": "with_tasks"}, "datasets": datasets, "benchmarks": benchmarks}
    own["study"]["evaluate"] = [{"clearings": ["none", "span"], "benchmarks": ["everyday", *benchmarks]}]
    own["study"] |= {
        "measures": {name: {"runs": []} for name in ("depth", "relearning", "perturbations", "uds", "emergence")}
    }
    (fresh / "tasks.yaml").write_text(yaml.safe_dump(own))
    done = dry_run(fresh, *SMOKE, "tasks.yaml")
    jobs = planned(done.stdout)
    assert (jobs["prepare_task"], jobs["prepare_texts"], jobs["evaluate"]) == (2, 7, 3), done.stdout[-3000:]
    assert jobs["download_dataset"] == 1
    assert "prepare_task" not in planned(dry_run(fresh, *SMOKE).stdout)


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory) -> dict[str, str]:
    """An environment in which torch and pandas cannot be imported."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "snakemake_executor_plugin_slurm.py").touch()  # hides the plugin, which needs pandas itself
    for name in ("torch", "pandas", "transformers"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is blocked')\n")
    for name in ("torch", "pandas"):
        code = [sys.executable, "-c", f"import {name}"]
        failed = subprocess.run(code, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True)
        assert failed.returncode != 0 and f"{name} is blocked" in failed.stderr
    return {"PYTHONPATH": str(folder)}


def run_count(*studies: str) -> int:
    """How many runs the default study has with the study files over it, in all its base models."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name in studies:
        update_config(config, yaml.safe_load((ROOT / name).read_text()))
    models = sweep.as_list(config["study"]["model"])
    return len(models) * len(sweep.expand_runs(config["study"]["runs"], config["methods"]))


@pytest.mark.parametrize(
    "studies", [[], *([str(path.relative_to(ROOT))] for path in (ROOT / "studies").glob("*.yaml"))]
)
def test_a_plan_is_made_in_seconds_without_torch_or_pandas(fresh, without_torch, studies):
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = snakemake(fresh, "--dry-run", *(["--configfile", *studies] if studies else []), **without_torch)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout
    assert planned(done.stdout)["unlearn"] == planned(done.stdout)["evaluate"] == run_count(*studies) > 2
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 10, "seconds of processor time"
    assert not (fresh / "results").exists()


def test_the_plan_of_the_smoke_study_has_every_rule_but_those_of_packages(dry_run, fresh):
    assert planned(dry_run(fresh, *SMOKE).stdout) == JOBS


def test_settings_are_tried_by_trainings_and_jobs_that_ask_alone(dry_run, fresh):
    tune = {"runs": [{"method": "rmu_smoke", "layer": 1, "c": [4, 8], "alpha": 5, "lr": [1e-2, 2e-2]}]}
    (fresh / "tune.yaml").write_text(yaml.safe_dump({"study": {"tune": tune}}))
    files = [*SMOKE, "tune.yaml"]
    jobs = planned(dry_run(fresh, *files, "--", f"{OUT}/tuned").stdout)
    assert (jobs["unlearn"], jobs["try_setting"], jobs["compute_prefix"], jobs["choose_setting"]) == (5, 5, 1, 1)
    assert not {"evaluate", "collect_activations", "fit_junk", "gather_tables"} & set(jobs)
    assert planned(dry_run(fresh, *files).stdout) == JOBS


BAD = {
    "study.headline.clearing names 'x', which `clearings` does not define": {"study": {"headline": {"clearing": "x"}}},
    "Configuration: the file has the unknown key 'colour'": {"colour": 1},
    "YAML reads 5e-5 as text: write 5.0e-05": {"methods": {"rmu": {"lr": "5e-5"}}},
    "study.runs asks for layer 7, outside the model 'smoke'": {
        "study": {"runs": [{"method": "rmu_smoke", "layer": [1, 7], "c": 4, "seed": 0}]}
    },
    "There is no file nowhere.jsonl": {
        "corpora": {"mine": {"source": "file", "path": "nowhere.jsonl", "topic": "everyday"}},
        "study": {"retain": ["mine"]},
    },
}


@pytest.mark.parametrize("sentence", BAD)
def test_a_bad_configuration_is_one_sentence_and_nothing_is_written(dry_run, fresh, tmp_path, sentence):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(BAD[sentence], sort_keys=False))
    done = dry_run(fresh, *SMOKE, str(tmp_path / "bad.yaml"))
    assert done.returncode != 0 and done.stdout.count(sentence) == 1
    assert "Traceback" not in done.stdout and "Job stats" not in done.stdout
    assert not (fresh / "results").exists()


def test_a_bad_configuration_on_the_command_line_is_refused_before_any_job(dry_run, fresh):
    good = dry_run(fresh, *SMOKE, "--config", "study={headline: {clearing: topic}}")
    assert good.returncode == 0, good.stdout
    done = snakemake(fresh, *SMOKE, "--config", "study={headline: {clearing: topic_from}}")
    assert done.returncode != 0 and done.stdout.count("study.evaluate must list the clearings") == 1
    assert "Traceback" not in done.stdout and not (fresh / "results").exists()


PLACES = ["it's", "with space", 'a"b', "a$(touch pwned)`touch pwned`", "a;b&c|d", "a<b>#%!", "-é 日本*?[c]\\", "a\nb"]


@pytest.mark.parametrize(
    "name", [" ".join(sorted(PLACES)), *(pytest.param(name, marks=pytest.mark.long) for name in PLACES)], ids=ascii
)
def test_a_checkout_lies_where_a_folder_can(tmp_path, name):
    """With its own Python in it, as `make` sets it up."""
    copy = copy_checkout(tmp_path / name)
    (copy / ".venv").symlink_to(sys.prefix)
    command = [copy / ".venv/bin/python", "-m", "snakemake", "--cores", "1", f"{OUT}/worlds/smoke/facts.json", *SMOKE]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0 and (copy / OUT / "worlds/smoke/facts.json").exists(), done.stderr[-3000:]
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(
    "name", ["a:b", "a{b}", *(pytest.param(name, marks=pytest.mark.long) for name in ("a{{b", "a}b"))]
)
def test_a_checkout_whose_path_means_something_else_is_told_to_move(dry_run, tmp_path, name):
    done = dry_run(copy_checkout(tmp_path / name), *SMOKE)
    assert done.returncode != 0 and done.stdout.count("rename the folder") == 1 and "Traceback" not in done.stdout


@pytest.mark.parametrize("variable", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_ENDPOINT"])
def test_a_variable_that_libraries_stumble_over_is_told_before_any_job(fresh, variable):
    done = snakemake(fresh, "--dry-run", *SMOKE, **{variable: "x"})
    assert done.returncode != 0 and done.stdout.count(f"{variable} is 'x'") == 1 and "Traceback" not in done.stdout


# --- the study


class Scripts(HTMLParser):
    """The scripts of a page, as a browser takes them apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found, self.inside = [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.inside = tag == "script"
        self.found += [""] * self.inside

    def handle_endtag(self, tag) -> None:
        self.inside = False

    def handle_data(self, data) -> None:
        if self.inside:
            self.found[-1] += data


def test_nothing_of_a_study_ends_a_script_of_snakemakes_report(study, tmp_path):
    def starts() -> list[str]:
        done = snakemake(study, "--report", "report.html", *SMOKE, str(tmp_path / "more.yaml"))
        assert done.returncode == 0, done.stdout[-3000:]
        page = (study / "report.html").read_text()
        (study / "report.html").unlink()
        assert ("ended()" in page) == ("ended()" in (study / "preregistration.yaml").read_text())
        return [script[:100] for script in Scripts(page).found]

    (tmp_path / "more.yaml").write_text("{}")
    plain, plan = starts(), yaml.safe_load((study / "preregistration.yaml").read_text())
    attack = "</pre></script><script>ended()</script><!--<script>"
    plan["question"] += attack
    plan["fixed"].append(attack)
    more = {"benchmarks": {"everyday": {"description": attack}}}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))
    with edited(study / "preregistration.yaml", yaml.safe_dump(plan)):
        assert starts() == plain and len(plain) > 10


def test_the_study_leaves_every_table_page_and_figure(study):
    expected = [f"{OUT}/reports/{page}.html" for page in ["index", "explorer", *PAGES]]
    expected += [f"{OUT}/tables/{table}.{kind}" for table in TABLES + MEASURES for kind in ("parquet", "csv")]
    assert [name for name in [*expected, f"{OUT}/reports/summary.txt"] if not (study / name).stat().st_size] == []
    assert list((study / OUT / "figures").iterdir()) != []
    assert "index.html" in (study / OUT / "reports/summary.txt").read_text()


def test_waiting_jobs_are_looked_at_when_a_job_has_ended_and_not_every_second(study):
    looked = (study / ".snakemake/said.txt").read_text().count("Ready jobs: ")
    assert 5 < looked <= sum(JOBS.values()) + 5


def test_pages_link_to_each_other_and_to_no_other_place(study):
    for page in ["index", "explorer", *PAGES]:
        links = re.findall(r'href="([^"#]+)', (study / OUT / f"reports/{page}.html").read_text())
        local = {link for link in links if "://" not in link and not link.startswith("data:")}
        assert {f"{other}.html" for other in PAGES} <= local | {f"{page}.html"}
        assert all((study / OUT / "reports" / link).exists() for link in local)


def test_snakemakes_own_report_holds_pages_figures_and_tables_with_captions(study, tmp_path):
    done = snakemake(study, *SMOKE, "--report", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stdout
    text = (tmp_path / "report.html").read_text()
    shown = [f"reports/{page}.html" for page in [*PAGES, "index", "explorer"]]
    shown += [f"tables/{name}.csv" for name in TABLES]
    shown += [f"figures/{path.name}" for path in (study / OUT / "figures").glob("*.svg")]
    assert len(shown) > 15 and all(f"{OUT}/{name}" in text for name in shown)
    for caption in (ROOT / "workflow/report").glob("*.rst"):
        assert re.split(r"[{`:.*]", caption.read_text())[0] in text


def test_nothing_half_written_is_left(study):
    hidden = {path.name for top in ("results", "logs") for path in (study / top).rglob(".*")}
    assert hidden <= {".snakemake_timestamp"}, "Snakemake's own mark in a folder"


def test_the_configuration_as_it_was_run_is_kept(study):
    kept = json.loads((study / OUT / "tables/config.json").read_text())
    assert kept["study"]["name"] == "smoke" and kept["methods"]["rmu_smoke"]["steps"] == 40
    assert kept["methods"]["rmu_smoke"]["control_vector"] == "uniform", "defaults are filled in"


def test_a_second_run_has_nothing_to_do(study):
    done = snakemake(study, *SMOKE)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout


def test_every_job_has_a_provenance_and_a_log(study):
    facts = [json.loads(path.read_text()) for path in (study / "results").rglob("*.job.json")]
    assert Counter(fact["rule"] for fact in facts) == JOBS
    assert Counter(path.stem for path in (study / "logs").rglob("*.log")) == JOBS
    assert {path.stem for path in (study / "logs").rglob("*.ipynb")} == set(PAGES)
    for fact in facts:
        assert all((study / path).exists() for path in fact["outputs"])


def test_provenance_ties_every_job_to_the_files_it_read(study):
    hashes: dict[str, str] = {}
    for path in (study / "results").rglob("*.job.json"):
        for name, found in json.loads(path.read_text())["inputs"].items():
            hashes.setdefault(name, provenance.sha256(study / name))
            assert found == hashes[name], f"{path.name}: {name}"
    assert len(hashes) > 30
    file = next(name for name in hashes if name.endswith("scores.parquet"))
    assert hashes[file] == hashlib.sha256((study / file).read_bytes()).hexdigest()


def test_the_table_of_provenance_has_the_jobs_before_it(study):
    found = pd.read_parquet(study / OUT / "tables/provenance.parquet")
    before = {rule: n for rule, n in JOBS.items() if rule not in ("generate_world", "gather_tables", "gather_measures")}
    assert Counter(found.rule) == {rule: n for rule, n in before.items() if not rule.startswith("render")}


def test_the_table_of_scores_has_its_columns_and_every_run(study):
    scores = pd.read_parquet(study / OUT / "tables/scores.parquet")
    numbers = ["answers", "near_ties", "metric", "value", "low", "high", "n", "note"]
    assert list(scores.columns) == [*SCORES[:-1], *numbers, "part"] and set(scores.part) == {"all", *PARTS}
    assert scores.layer.dtype == "Int64" and set(scores.layer.dropna()) == {1} and set(scores.study) == {"smoke"}
    assert set(scores[scores.method == "rmu_smoke"].seed) == {"0", "1", "all"}
    clearings = {
        "none",
        "span",
        "topic",
        "span_mean_from",
        "rand",
        "ones",
        "on_base",
    }
    clearings |= {"contrast", "u", "benign", "top_2", "span_block", "span_inputs", "strength_0.5", "span_boot"}
    assert set(scores.clearing) == clearings
    assert set(scores.benchmark) == {"gloomcraft", "riftlore", "everyday", "gloomcraft_text", "everyday_text", "all"}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("split", ["fit", "test"])
def test_activations_equal_the_base_to_the_bit_up_to_the_first_edited_block_and_not_after(study, run, split):
    _, settings = read_overlay(study / run / "overlay.safetensors")
    first = settings["layer"] + min(settings["updated"])
    base = activations.load(study / MODEL / "base/activations/none.safetensors", split)
    found = activations.load(study / run / "activations/none.safetensors", split)
    assert set(found) == set(base) == {"gloomcraft", "riftlore", "everyday"}
    for name, own in found.items():
        same = [torch.equal(*pair) for pair in zip(own.first, base[name].first, strict=True)]
        assert same == [depth <= first for depth in range(len(own.first))], name
        for site, mean in own.sites.items():
            block, _, place = site.partition("/")
            edited = block == "final" or int(block) > first or (int(block) == first and place == "mlp")
            assert torch.equal(mean, base[name].sites[site]) != edited, f"{name} at {site}"
        assert own.depths == (settings["layer"] + 1,) and base[name].depths is None
        assert own.last.shape[1] == 1 and base[name].last.shape[1] == len(own.first)


def test_clearing_shows_from_the_first_block_on(study):
    uncleared, cleared = (
        activations.load(study / RUNS[0] / f"activations/{name}.safetensors", "test") for name in ("none", "span")
    )
    assert not torch.equal(uncleared["gloomcraft"].first[0], cleared["gloomcraft"].first[0])


def test_a_run_is_exported_with_its_clearing_as_a_folder_that_plain_transformers_loads(study):
    run, text = RUNS[0], torch.arange(2, 14)[None]
    done = snakemake(study, f"{run}/export/span", f"{run}/export/none", *SMOKE)
    assert done.returncode == 0, done.stdout[-5000:]
    model, _ = load_overlaid(study / MODEL / "checkpoint", Overlay.load(study / run / "overlay.safetensors"), "float32")
    junk, settings = Junk.load(study / run / "junk.safetensors"), {"direction": "span", "scope": "all"}
    [own] = clearing.expand(
        "span", settings | {"target": "zero", "strength": 1, "on_base": False}, junk, layer=1, seed=0
    )
    with torch.no_grad(), clearing.clear(model, own):
        cleared = model(text).logits
    with torch.no_grad():
        wanted = {"none": model(text).logits, "span": cleared}
        for name, logits in wanted.items():
            exported = AutoModelForCausalLM.from_pretrained(study / run / f"export/{name}").eval()
            assert torch.allclose(exported(text).logits, logits, atol=1e-5)
    assert not torch.allclose(*wanted.values(), atol=1e-2)
    refused = snakemake(study, f"{run}/export/span_mean", *SMOKE)
    assert refused.returncode != 0 and "'span_mean' spares some blocks or leaves the base's mean" in refused.stdout
    assert not (study / run / "export/span_mean").exists()


def test_a_released_model_is_a_run_like_any_other(study, tmp_path):
    """The exported run, taken for a model that somebody released, gives back what the run had changed."""
    run = "published_smoke/layer=1/c=4/seed=0"
    more = {
        "models": {"released": {"source": "folder", "path": f"{RUNS[0]}/export/none"}},
        "methods": {"published_smoke": {"kind": "published", "model": "released"}},
        "study": {"runs": [{"method": ["rmu_smoke", "published_smoke"], "layer": 1, "c": 4, "seed": [0, 1]}]},
    }
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more, sort_keys=False))
    done = snakemake(study, f"{RUNS[0]}/export/none", *SMOKE)
    assert done.returncode == 0, done.stdout[-5000:]
    wanted = [f"{MODEL}/{run}/{name}" for name in ("overlay.safetensors", "junk.csv", "answers.parquet")]
    done = snakemake(study, *wanted, *SMOKE, str(tmp_path / "more.yaml"))
    assert done.returncode == 0, done.stdout[-5000:]
    ours, theirs = (Overlay.load(study / path) for path in (f"{RUNS[0]}/overlay.safetensors", wanted[0]))
    assert set(ours.tensors) == set(theirs.tensors) and len(ours.tensors) == 2
    assert all(torch.equal(tensor, theirs.tensors[name]) for name, tensor in ours.tensors.items())
    assert theirs.controls == {} and "cos_u" not in set(pd.read_csv(study / wanted[1]).quantity)
    answers = [pd.read_parquet(study / path) for path in (f"{RUNS[0]}/answers.parquet", wanted[2])]
    assert [set(frame.clearing) >= {"u"} for frame in answers] == [True, False]
    shared = [frame[~frame.clearing.isin(["rand", "ones", "u"])].reset_index(drop=True) for frame in answers]
    pd.testing.assert_frame_equal(*shared, check_exact=True)
    shutil.rmtree(study / MODEL / "published_smoke")


# --- what runs again


def test_only_what_depends_on_a_deleted_file_runs_again(dry_run, study):
    overlay = study / RUNS[1] / "overlay.safetensors"
    aside = overlay.rename(study / "aside")
    done = dry_run(study, "all", f"{RUNS[1]}/overlay.safetensors", *SMOKE)
    aside.rename(overlay)
    assert planned(done.stdout) == {
        "unlearn": 1, "collect_activations": 2, "fit_junk": 1, "evaluate": 1, "gather_tables": 1, "gather_measures": 1,
        "analyse_weights": 1, "render_report": 6, "render_index": 1,
    }  # fmt: skip
    assert re.search(r"Unlearning .*seed=1", done.stdout) and not re.search(r"(ing|of) .*seed=0$", done.stdout, re.M)
    assert "Nothing to be done" in dry_run(study, *SMOKE).stdout


def test_comments_in_the_library_and_in_scripts_run_nothing_again(dry_run, study):
    library, script = study / "src/overpaint/junk/directions.py", study / "workflow/scripts/unlearn.py"
    with edited(library, library.read_text() + "# a remark\n"), edited(script, "# so\n" + script.read_text()):
        assert "Nothing to be done" in dry_run(study, *SMOKE).stdout


def test_an_entry_that_the_study_does_not_use_runs_nothing_again(dry_run, study, tmp_path):
    more = {"clearings": {"unused": {"direction": "ones"}}, "corpora": {"unused": {"source": "file", "path": "x"}}}
    more["corpora"]["unused"]["topic"] = "unused"
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))
    assert "Nothing to be done" in dry_run(study, *SMOKE, str(tmp_path / "more.yaml")).stdout


def test_an_own_model_or_file_that_is_replaced_in_its_place_runs_its_jobs_again(
    dry_run, tmp_path, make_model, tokenizer
):
    folder, model, corpus = copy_checkout(tmp_path / "copy"), tmp_path / "model", tmp_path / "own.jsonl"
    make_model("llama").save_pretrained(model)
    tokenizer.save_pretrained(model)
    corpus.write_text("".join(f'{{"id": "{number}", "text": "word {number}"}}\n' for number in range(20)))
    names = ["gloomcraft", "riftlore", "everyday", "gloomcraft_text", "everyday_text"]
    own = {kind: {name: {"world": "smoke"} for name in names[:3]} for kind in ("corpora", "prompts")}
    own |= {
        "study": {"model": "mine", "retain": ["plain"]},
        "models": {"mine": {"source": "folder", "path": str(model)}},
    }
    own["benchmarks"] = {name: {"world": "smoke"} for name in names}
    own["corpora"]["plain"] = {"source": "file", "path": str(corpus), "topic": "plain"}
    (folder / "own.yaml").write_text(yaml.safe_dump(own))
    given = [f"{OUT}/mine/base/overlay.safetensors", f"{OUT}/mine/corpora/plain.jsonl", *SMOKE, "own.yaml"]
    done = snakemake(folder, *given)
    assert done.returncode == 0, done.stdout[-5000:]
    for turned, jobs in ((b"7", {"unlearn": 1, "prepare_texts": 1}), (b"9", {})):
        for path in (model / "model.safetensors", corpus):
            content, times = path.read_bytes(), path.stat()
            path.write_bytes(content[:-4] + (turned if path == corpus else bytes([content[-4] ^ 1])) + content[-3:])
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as rsync leaves it
        assert planned(dry_run(folder, *given).stdout) == jobs


def test_code_that_changed_runs_again_what_uses_it_and_what_follows(dry_run, study):
    path = study / "src/overpaint/tables/statistics.py"
    with edited(path, path.read_text().replace("REPEATS = 2000", "REPEATS = 1000")):
        done = dry_run(study, *SMOKE)
    assert planned(done.stdout) == {"gather_tables": 1, "gather_measures": 1, "render_report": 6, "render_index": 1}


def test_another_run_adds_its_jobs_and_leaves_the_others(dry_run, study, tmp_path):
    more = {"study": {"runs": [{"method": "rmu_smoke", "layer": 1, "c": [4, 8], "seed": [0, 1]}]}}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more, sort_keys=False))
    jobs = planned(dry_run(study, *SMOKE, str(tmp_path / "more.yaml")).stdout)
    assert jobs["unlearn"] == jobs["evaluate"] == jobs["fit_junk"] == 2 and jobs["collect_activations"] == 4
    assert not {"pretrain_model", "compute_prefix"} & set(jobs) and jobs["complete_prompts"] == 1


@pytest.fixture(scope="module")
def twins(study, tmp_path_factory) -> Path:
    """The smoke study moved elsewhere and gone on with, beside it another base model of another world."""
    copy = tmp_path_factory.mktemp("twins") / "study"
    shutil.copytree(study, copy, symlinks=True)
    smoke = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    changes = {
        "study": {"model": ["smoke", "twin"], "naive_model": {"smoke": "smoke_untaught", "twin": "twin_untaught"}},
        "worlds": {"twin": smoke["worlds"]["smoke"] | {"seed": 1}},
        "models": {name.replace("smoke", "twin"): entry | {"world": "twin"} for name, entry in smoke["models"].items()},
    }
    (copy / "own.yaml").write_text(yaml.safe_dump(changes))
    done = snakemake(copy, f"{OUT}/tables/scores.parquet", *SMOKE, "own.yaml")
    assert done.returncode == 0 and planned(done.stdout)["pretrain_model"] == 2, done.stdout[-5000:]
    return copy


@pytest.mark.parametrize("name", ["scores", "junk", "history", "activations", "cells"])
def test_another_model_beside_it_changes_no_number(study, twins, name):
    one, both = (pd.read_parquet(folder / OUT / f"tables/{name}.parquet") for folder in (study, twins))
    other = both[both.model == "smoke"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert one.select_dtypes(float).nunique().max() > 5, "a table of one number"


def test_another_model_is_of_its_own_world_and_has_its_own_numbers(twins):
    folders = [twins / OUT / name for name in ("smoke", "twin")]
    for name in ("corpora/gloomcraft.jsonl", "prompts/everyday.jsonl", "benchmarks/riftlore.jsonl"):
        assert len({(folder / name).read_text() for folder in folders}) == 2, name
    scores = pd.read_parquet(twins / OUT / "tables/scores.parquet")
    values = [scores.value[scores.model == name].to_numpy() for name in ("smoke", "twin")]
    assert len(values[0]) == len(values[1]) and (values[0] != values[1]).mean() > 0.5


def test_what_is_claimed_is_judged_in_each_model_and_in_all(study, twins):
    one, both = (pd.read_parquet(folder / OUT / "tables/hypotheses.parquet") for folder in (study, twins))
    assert list(one.model.unique()) == ["smoke"] and list(both.model.unique()) == ["smoke", "twin", "all"]
    assert set(both.groupby("model").size()) == {len(one)} and not both.confirmatory.any()


def test_what_runs_share_gives_the_bits_of_a_run_that_shares_nothing(study, twins, tmp_path):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"study": {"share_prefix": False}}))
    overlay, before = f"{RUNS[1]}/overlay.safetensors", provenance.read_record(twins / f"{RUNS[1]}/overlay.job.json")
    assert any("/prefix/" in name for name in before["inputs"])
    done = snakemake(twins, overlay, *SMOKE, str(tmp_path / "own.yaml"))
    assert done.returncode == 0 and planned(done.stdout) == {"unlearn": 1}, done.stdout[-5000:]
    assert provenance.sha256(twins / overlay) == provenance.sha256(study / overlay)
    after = provenance.read_record(twins / f"{RUNS[1]}/overlay.job.json")
    assert not any("/prefix/" in name for name in after["inputs"]) and after["started"] != before["started"]
