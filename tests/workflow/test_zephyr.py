"""studies/zephyr.yaml as it is shipped, from a hub on this machine to its last page: only sizes and commits differ."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers.checkout import ROOT, copy_checkout, planned, snakemake
from helpers.downloads import hub_content, loopback_hub
from helpers.downloads.loopback_hub import TOKEN, Hub

from overpaint.jobs import provenance
from overpaint.report import PAGES
from overpaint.sources import harness, world

OUT = "results/zephyr"
PUBLISHED = f"{OUT}/zephyr/zephyr_rmu/layer=7/c=6.5/seed=42"
OWN = [f"{OUT}/zephyr/rmu_zephyr/layer={layer}/c=6.5/seed=0" for layer in (7, 5)]


def sizes(hub: Hub) -> dict:
    """What differs from the shipped study: commits of this hub, a smaller model, and less of everything."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    zephyr = yaml.safe_load((ROOT / "studies/zephyr.yaml").read_text())
    return {
        "study": {
            "residency": "streamed",
            "runs": [zephyr["study"]["runs"][0], {"method": "rmu_zephyr", "layer": [7, 5], "c": 6.5, "seed": 0}],
            "measures": {"coherence": {"prompts": 2, "nulls": ["rand"], "shown": 1}},
        },
        "models": {
            name: {"revision": hub.revision(f"models/{entry['repo']}"), "layers": 9, "parameters": 100_000}
            for name, entry in zephyr["models"].items()
        },
        "datasets": {
            name: {"revision": hub.revision(f"datasets/{entry['repo']}")} for name, entry in config["datasets"].items()
        },
        "prompts": {"mmlu": {"max_rows": 6}},
        "benchmarks": {name: {"min_chars": 20, "max_rows": 2} for name in ("wmdp_bio_text", "wikitext_text")}
        | {"mmlu": {"max_scored": 120}},
        "clearings": {name: {"draws": 2} for name in ("rand", "randn")},
    }


@pytest.fixture(scope="module")
def zephyr(tmp_path_factory) -> Iterator[tuple[Path, str]]:
    """A copy in which the study has run through the hub, and what was said."""
    content, folder = tmp_path_factory.mktemp("hub"), copy_checkout(tmp_path_factory.mktemp("zephyr"))
    facts = world.generate(seed=0, entities=8, values=8)
    hub_content.write_all(content, facts)
    subjects = [task.removeprefix("mmlu_") for task in harness.definitions("mmlu")]
    hub_content.write_mmlu(content, facts, dict.fromkeys(subjects, ["orchards"]))
    with loopback_hub.serve(content, gated=hub_content.gated_repositories()) as hub:
        (folder / "sizes.yaml").write_text(yaml.safe_dump(sizes(hub)))
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / ".hf"), "HF_TOKEN": TOKEN}
        done = snakemake(folder, "--configfile", "studies/zephyr.yaml", "sizes.yaml", **environment)
        assert done.returncode == 0, done.stdout[-5000:]
    yield folder, done.stdout


def test_the_study_runs_from_the_hub_to_its_last_page(zephyr):
    folder, said = zephyr
    plan = planned(said)
    assert plan["download_model"] == 2 and plan["download_dataset"] == 5 and plan["prepare_task"] == 3
    assert plan["unlearn"] == 4 and plan["evaluate"] == 4
    for page in [*PAGES, "index", "explorer"]:
        assert "zephyr" in (folder / f"{OUT}/reports/{page}.html").read_text()


def test_the_explorer_has_no_text_of_a_question_of_the_hub(zephyr):
    folder, _ = zephyr
    page = (folder / f"{OUT}/reports/explorer.html").read_text()
    rows = [json.loads(line) for line in (folder / f"{OUT}/zephyr/benchmarks/wmdp_bio.jsonl").open()]
    assert rows and all(f'"{row["id"]}"' in page and row["document"]["question"] not in page for row in rows)


def test_the_published_model_is_three_matrices_and_our_own_are_as_many(zephyr):
    folder, _ = zephyr
    weights = pd.read_parquet(folder / f"{OUT}/tables/weights.parquet")
    for run, layer in [(PUBLISHED, 7), (OWN[0], 7), (OWN[1], 5)]:
        method = run.split("/")[3]
        found = weights[(weights.method == method) & (weights.layer == layer)]
        blocks = {int(name.split(".")[2]) for name in found.tensor}
        assert blocks == {layer - 2, layer - 1, layer} and found.tensor.str.endswith("mlp.down_proj.weight").all(), run


def test_every_question_is_answered_by_the_definitions_of_the_harness(zephyr):
    folder, _ = zephyr
    scores = pd.read_parquet(folder / f"{OUT}/tables/scores.parquet")
    accuracy = scores[scores.metric == "accuracy"]
    assert set(accuracy.benchmark) == {"wmdp_bio", "wmdp_cyber", "mmlu", "all"}
    assert set(scores.benchmark[scores.metric == "perplexity"]) == {"wmdp_bio_text", "wikitext_text"}
    assert {"none", "span", "topic", "rand", "randn", "ones", "benign", "on_base"} <= set(accuracy.clearing)
    asked = accuracy[(accuracy.benchmark == "mmlu") & (accuracy.method == "base")]
    assert asked.n.max() > 20 and accuracy.value.between(0, 1).all()


def test_the_published_model_answers_otherwise_than_its_base(zephyr):
    folder, _ = zephyr
    answers = {run: pd.read_parquet(folder / run / "answers.parquet") for run in (f"{OUT}/zephyr/base", PUBLISHED)}
    plain = {run: frame[frame.clearing == "none"].set_index(["benchmark", "id"]).nll for run, frame in answers.items()}
    base, released = plain.values()
    assert base.index.equals(released.index) and (base != released).mean() > 0.9


def test_hazardous_prompts_are_no_reported_questions(zephyr):
    folder, _ = zephyr
    for name in ("wmdp_bio", "wmdp_cyber", "mmlu"):
        prompts = pd.read_json(folder / f"{OUT}/zephyr/prompts/{name}.jsonl", lines=True)
        questions = pd.read_json(folder / f"{OUT}/zephyr/benchmarks/{name}.jsonl", lines=True)
        fitted, reported = prompts[prompts.split == "fit"], questions[questions.split == "test"]
        assert len(fitted) and len(reported) and not set(fitted.unit) & set(reported.unit)
        assert set(prompts[prompts.split == "test"].unit) & set(reported.unit), "units are not comparable"


def test_jobs_held_parts_of_their_models_alone(zephyr):
    folder, _ = zephyr
    for job in ("overlay", "answers", "activations/none", "completions", "junk"):
        record = provenance.read_record(folder / f"{OWN[0]}/{job}.job.json")
        assert record["hardware"].get("residency") == (None if job == "junk" else "streamed"), job


def test_nothing_that_was_downloaded_can_run_or_was_changed(zephyr):
    folder, _ = zephyr
    model = folder / f"{OUT}/zephyr/checkpoint"
    assert not [path for path in model.iterdir() if path.suffix in (".py", ".bin", ".pt")]
    record = provenance.read_record(folder / f"{OUT}/zephyr/checkpoint.job.json")
    assert record["outputs"][f"{OUT}/zephyr/checkpoint"] == provenance.sha256(model)


def test_a_second_run_has_nothing_to_do(zephyr):
    folder, _ = zephyr
    done = snakemake(folder, "--configfile", "studies/zephyr.yaml", "sizes.yaml", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0 and "Nothing to be done" in done.stdout
