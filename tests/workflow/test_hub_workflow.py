"""A study of the hub's models and data: fetched once, by a token that stays unseen; all else is offline."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from helpers.checkout import copy_checkout, planned, snakemake
from helpers.downloads import hub_content, loopback_hub
from helpers.downloads.loopback_hub import TOKEN, Hub

from overpaint.jobs import provenance
from overpaint.models import tensors
from overpaint.sources import texts

OUT = "results/hub"
RUN = f"{OUT}/zephyr/published/layer=7/c=6.5/seed=0"
GATED, WMDP, WIKITEXT = "cais/wmdp-bio-forget-corpus", "cais/wmdp", "Salesforce/wikitext"
DOWNLOADS = ["download_model", "download_dataset"]
FETCHED = [f"{OUT}/{name}/checkpoint" for name in ("zephyr", "zephyr_rmu")] + [
    f"{OUT}/downloads/datasets/{name}" for name in ("forget", "wmdp", "wikitext")
]
TARGETS = [f"{RUN}/junk.safetensors", f"{OUT}/zephyr/corpora/bio.jsonl", f"{OUT}/zephyr/corpora/wiki.jsonl"]
TARGETS += [f"{OUT}/zephyr/benchmarks/{name}.jsonl" for name in ("bio", "bio_text")]


def settings(hub: Hub) -> dict:
    """A study of the pair that the hub serves."""
    models = {"zephyr": hub_content.BASE, "zephyr_rmu": hub_content.RMU}
    data = {"forget": (GATED, ["data/*"]), "wmdp": (WMDP, ["wmdp-bio/*"]), "wikitext": (WIKITEXT, ["*/test-*"])}
    wiki = {"source": "dataset", "topic": "wiki", "dataset": "wikitext", "min_chars": 50}
    bio = {"source": "dataset", "topic": "bio", "dataset": "wmdp", "column": "question"}
    forget = {"source": "dataset", "topic": "bio", "dataset": "forget"}
    return {
        "study": {
            "name": "hub", "output": OUT, "model": "zephyr", "forget": ["bio"], "retain": ["wiki"],
            "runs": [{"method": "published", "layer": 7, "c": 6.5, "seed": 0}], "prompts": ["bio", "wiki"],
            "evaluate": [{"clearings": ["none", "topic"], "benchmarks": ["bio", "bio_text"]}],
            "headline": {"clearing": "topic", "layer": 7, "c": 6.5},
        },
        "models": {
            name: {"source": "hub", "repo": repo, "revision": hub.revision(f"models/{repo}"), "layers": 9}
            for name, repo in models.items()
        },
        "datasets": {
            name: {"repo": repo, "revision": hub.revision(f"datasets/{repo}"), "files": files}
            for name, (repo, files) in data.items()
        },
        "methods": {"published": {"kind": "published", "model": "zephyr_rmu"}},
        "corpora": {"bio": forget | {"min_chars": 20, "max_rows": 12}, "wiki": wiki},
        "prompts": {"bio": bio | {"max_rows": 6}, "wiki": wiki | {"max_rows": 6}},
        "benchmarks": {"bio": bio | {"kind": "questions"}, "bio_text": forget | {"kind": "text", "column": "abstract"}},
    }  # fmt: skip


@dataclass(frozen=True)
class Downloaded:
    """A study whose downloads are done.

    environment: where its hub was; it is no longer there.
    gated: what was said without a token.
    said: what was said with it.
    """

    folder: Path
    environment: dict[str, str]
    gated: str
    said: str


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory) -> Iterator[Downloaded]:
    """The downloads of a study, first without a token; the hub is closed afterwards."""
    content, folder = tmp_path_factory.mktemp("hub"), copy_checkout(tmp_path_factory.mktemp("study"))
    hub_content.write_all(content)
    with loopback_hub.serve(content, gated=hub_content.gated_repositories()) as hub:
        (folder / "hub.yaml").write_text(yaml.safe_dump(settings(hub)))
        given = [*TARGETS, "--configfile", "hub.yaml", "--until", *DOWNLOADS]
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / ".hf"), "HF_TOKEN": ""}
        environment["SNAKEMAKE_OUTPUT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
        refused = snakemake(folder, *given, **environment)
        assert refused.returncode != 0 and not (folder / f"{OUT}/downloads/datasets/forget").exists()
        shutil.rmtree(folder / "results")
        done = snakemake(folder, *given, "--cache", *DOWNLOADS, **environment | {"HF_TOKEN": TOKEN})
        assert done.returncode == 0, done.stdout[-5000:]
        assert any(request.authorized for request in hub.requests)
    yield Downloaded(folder, environment, refused.stdout, done.stdout)


@pytest.fixture(scope="module")
def finished(downloaded) -> Path:
    """The rest of the study, without a hub."""
    done = snakemake(downloaded.folder, *TARGETS, "--configfile", "hub.yaml", **downloaded.environment)
    assert done.returncode == 0, done.stdout[-5000:]
    assert not set(planned(done.stdout)) & set(DOWNLOADS)
    return downloaded.folder


def test_a_gated_data_set_is_one_sentence_on_the_terminal(downloaded):
    page = f"{downloaded.environment['HF_ENDPOINT']}/datasets/{GATED}"
    lines = [line for line in downloaded.gated.splitlines() if line.startswith("download_dataset: ")]
    assert len(lines) == 1 and f"{page} is gated (401)" in lines[0] and "HF_TOKEN" in lines[0]


def test_downloads_are_whole_and_alone(downloaded):
    folder = downloaded.folder
    assert planned(downloaded.said) == {"download_model": 2, "download_dataset": 3}
    assert all((folder / path).is_dir() for path in FETCHED)
    assert len(list((folder / FETCHED[0]).glob("*.safetensors"))) == 7
    assert not [path for path in (folder / "results").rglob(".*") if path.name != ".snakemake_timestamp"]
    record = provenance.read_record(folder / f"{FETCHED[0]}.job.json")
    assert record["rule"] == "download_model" and record["settings"]["repo"] == hub_content.BASE


def test_the_rest_needs_no_hub(finished):
    changed, facts = tensors.read_overlay(finished / f"{RUN}/overlay.safetensors")
    assert facts["layer"] == 7 and changed == {}, "a released model has no known control vectors"
    weights, _ = tensors.read_tensors(finished / f"{RUN}/overlay.safetensors", "settings", "base")
    assert sorted(weights) == [f"weight/model.layers.{block}.mlp.down_proj.weight" for block in (5, 6, 7)]
    assert len(texts.read_texts(finished / f"{OUT}/zephyr/corpora/bio.jsonl")) == 12
    assert len(texts.read_rows(finished / f"{OUT}/zephyr/benchmarks/bio.jsonl", "questions")) == 64
    assert len(texts.read_prompts(finished / f"{OUT}/zephyr/prompts/bio.jsonl", "fit")) == 6


def test_another_run_has_nothing_to_do(finished, downloaded):
    again = snakemake(finished, *TARGETS, "--configfile", "hub.yaml", **downloaded.environment)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout


def test_a_changed_type_or_size_downloads_nothing_anew(finished, downloaded):
    config = yaml.safe_load((finished / "hub.yaml").read_text())
    for entry in config["models"].values():
        entry |= {"dtype": "bfloat16", "parameters": 7_000_000_000}
    (finished / "changed.yaml").write_text(yaml.safe_dump(config))
    plan = planned(snakemake(finished, "-n", *TARGETS, "--configfile", "changed.yaml", **downloaded.environment).stdout)
    assert plan["unlearn"] == 2 and not set(plan) & set(DOWNLOADS)
    for entry in config["models"].values():
        entry["revision"] = "0" * 40
    (finished / "changed.yaml").write_text(yaml.safe_dump(config))
    plan = planned(snakemake(finished, "-n", *TARGETS, "--configfile", "changed.yaml", **downloaded.environment).stdout)
    assert plan["download_model"] == 2 and "download_dataset" not in plan
    (finished / "changed.yaml").unlink()


def test_the_token_is_nowhere(finished, downloaded):
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert {path.relative_to(finished).parts[0] for path in files} >= {"results", "logs", ".snakemake"}
    contents = {path: path.read_bytes() for path in files}
    assert [path for path, content in contents.items() if TOKEN.encode() in content] == []
    assert TOKEN not in downloaded.gated + downloaded.said
    assert any(GATED.encode() in content for content in contents.values()), "nothing is found by this search"


def test_the_cache_between_studies_takes_the_place_of_the_hub(finished, downloaded, tmp_path):
    folder = copy_checkout(tmp_path / "other")
    shutil.copy(downloaded.folder / "hub.yaml", folder)
    corpus = f"{OUT}/zephyr/corpora/bio.jsonl"
    given = [corpus, FETCHED[0], "--configfile", "hub.yaml", "--cache", *DOWNLOADS]
    done = snakemake(folder, *given, **downloaded.environment)
    assert done.returncode == 0, done.stdout[-5000:]
    assert (folder / corpus).read_bytes() == (finished / corpus).read_bytes()
    for path in (FETCHED[0], FETCHED[2]):
        assert provenance.sha256(folder / path) == provenance.sha256(downloaded.folder / path)
