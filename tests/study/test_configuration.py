"""Configurations: the shipped ones are valid, defaults are filled in, and a mistake is one sentence that helps."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.checkout import ROOT
from helpers.configurations import (
    COMMIT,
    DEFAULT,
    PLAN_SCHEMA,
    SCHEMA,
    STUDIES,
    both,
    drop,
    merged,
    model_folder,
    put,
    refusal,
    with_worlds,
    without_control,
    without_variants,
)
from snakemake.utils import update_config

from overpaint.errors import UserError
from overpaint.study import configuration, sweep
from overpaint.study.configuration import complete, read_preregistration

# Keys without a default: what leaving them out means.
OPTIONAL = {
    "layers": "the study's layers are checked when the model is loaded",
    "max_rows": "all rows",
    "world": "a text is of its model's world",
    "layer": "an entry of study.evaluate is for all layers",
    "c": "an entry of study.evaluate is for all c",
    "method": "an entry of study.evaluate is for all methods",
    "path": "a model that was trained before is in the folder of its name",
    "like": "a method starts from the defaults alone",
}
IN_PARTS = (
    "training",
    "blocks",
    "all_blocks",
    "states",
    "pushed",
    "trials",
)  # of the schema: closed where methods use them


# --- the shipped configurations


@pytest.mark.parametrize(
    "files", [(), *((study,) for study in STUDIES)], ids=lambda files: "+".join(f.stem for f in files)
)
def test_the_shipped_studies_are_valid(files):
    assert complete(merged(*files), SCHEMA)["study"]["name"]


def test_there_are_studies_beside_the_default():
    assert {"smoke", "smollm2"} <= {study.stem for study in STUDIES}


def test_merging_replaces_lists_and_keeps_the_catalogues():
    smoke = merged(ROOT / "studies/smoke.yaml")
    assert len(smoke["study"]["runs"]) == 1 and smoke["study"]["runs"] != DEFAULT["study"]["runs"]
    assert smoke["methods"]["rmu"] == DEFAULT["methods"]["rmu"] and "rmu_smoke" in smoke["methods"]
    assert smoke["clearings"]["rand"] == DEFAULT["clearings"]["rand"] | {"draws": 2}


def test_every_study_writes_to_a_folder_of_its_own():
    outputs = [merged(*files)["study"]["output"] for files in [(), *((study,) for study in STUDIES)]]
    assert len(set(outputs)) == len(outputs)


# --- the schema


def schema_objects(node: dict, inherited: dict[str, dict]) -> Iterator[tuple[dict, dict[str, dict]]]:
    """Every schema with properties, beside the properties of those around it that describe the same object."""
    own = inherited | node.get("properties", {})
    if "properties" in node:
        yield node, inherited
    for part in [*node.get("oneOf", []), *node.get("allOf", []), *node.get("anyOf", [])]:
        yield from schema_objects(part, own)
    inner = [*node.get("properties", {}).values(), *node.get("$defs", {}).values()]
    inner += [node[key] for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
    for part in inner:
        yield from schema_objects(part, {})


def properties() -> Iterator[tuple[str, dict, bool]]:
    """Every property of the schema: its name, its schema with references resolved, and whether it is required."""
    root = yaml.safe_load(SCHEMA.read_text())
    for node, around in schema_objects(root, {}):
        for name, part in node["properties"].items():
            reference = root["$defs"].get(part.get("$ref", "").removeprefix("#/$defs/"), {})
            yield name, around.get(name, {}) | reference | part, name in node.get("required", []) or name in around


def test_the_schema_is_walked_whole():
    names = {name for name, _, _ in properties()}
    expected = {"study", "seed", "c", "evaluate", "sha256", "heads", "path", "domains", "max_rows", "prior", "alpha"}
    assert expected | {"on_base", "benchmarks", "split", "topic"} <= names and len(list(properties())) > 70


def test_every_key_has_a_description():
    assert [name for name, part, _ in properties() if len(part.get("description", "")) < 5] == []


def test_every_key_that_may_be_left_out_has_a_default_or_a_meaning_without_one():
    in_training = {"alpha", "lr"}  # required where `training` is used
    left_out = [
        (name, part)
        for name, part, required in properties()
        if not required and "const" not in part and name not in in_training
    ]
    assert {name for name, part in left_out if "default" not in part} == set(OPTIONAL)
    assert sum("default" in part for _, part in left_out) > 25


def test_unknown_keys_are_refused_at_every_level():
    schema = yaml.safe_load(SCHEMA.read_text())
    parts = [schema["$defs"][name]["properties"] for name in IN_PARTS]
    for node, around in schema_objects(schema, {}):
        closed = node.get("additionalProperties", True) is False or node.get("unevaluatedProperties", True) is False
        # openText is closed where it is used
        part_of_a_closed_one = around or set(node["properties"]) == {"source", "topic"} or node["properties"] in parts
        assert closed or part_of_a_closed_one, sorted(node["properties"])


@pytest.mark.parametrize("old", configuration.RENAMED)
def test_a_key_by_its_former_name_is_told_the_present_one(old):
    place, path = DEFAULT, []
    for key in old.split(".")[:-1]:
        path.append(next(iter(place)) if key == "*" else key)
        place = place[path[-1]]
    where, key = ".".join(path) or "the file", old.split(".")[-1]
    said = f"Configuration: {where} has the key {key!r}, which is now {configuration.RENAMED[old]}."
    assert refusal(put(*path, key, value=1)) == said


@pytest.mark.parametrize("where", configuration.RENAMED_VALUES)
def test_a_value_by_its_former_name_is_told_the_present_one(where):
    for old, new in configuration.RENAMED_VALUES[where].items():
        *path, key = where.split(".")
        said = f"Configuration: {where} is {old!r}, which is now {new!r}."
        assert refusal(put(*path, key, value=old)) == said
        put(*path, key, value=new)


def test_defaults_that_a_key_names_are_valid_for_it():
    from jsonschema import Draft202012Validator

    root = yaml.safe_load(SCHEMA.read_text())
    for name, part, _ in properties():
        if "default" in part:
            schema = {key: value for key, value in part.items() if key != "default"} | {"$defs": root["$defs"]}
            assert Draft202012Validator(schema).is_valid(part["default"]), name


# --- defaults


def test_defaults_are_filled_in_at_every_level():
    config = merged()
    config["models"]["miniature"] = {"source": "fictional", "world": "miniature"}
    config["models"]["own"] = {"source": "folder", "path": "somewhere"}
    config["worlds"]["miniature"] = {}
    config["methods"]["rmu"] = {"kind": "rmu", "steps": 5, "lr": 0.1, "alpha": 1}
    for key in ("output", "measures", "split"):
        del config["study"][key]
    found = complete(config, SCHEMA)
    assert (
        found["models"]["miniature"] | {"width": 96, "layers": 6, "lr": 0.003, "dtype": "float32"}
        == found["models"]["miniature"]
    )
    assert found["models"]["own"] == {"source": "folder", "path": "somewhere", "dtype": "float32"}
    assert found["worlds"]["miniature"] == {"seed": 0, "entities": 24, "values": 12, "coverage": 0.5}
    assert found["methods"]["rmu"]["max_tokens"] == 512 and found["study"]["junk"]["position"] == "last"
    assert found["study"] | {"output": "results", "split": "test"} == found["study"]
    assert (
        found["benchmarks"]["everyday"] | {"metric": "acc", "max_scored": 0, "prior": ""}
        == found["benchmarks"]["everyday"]
    )
    assert found["clearings"]["rand"] == {
        "direction": "rand", "target": "zero", "scope": "all", "strength": 1, "draws": 20, "rank": 2, "resamples": 8,
        "on_base": False,
    }  # fmt: skip
    assert found["packages"] == {}


def test_hub_entries_get_their_defaults_and_only_those_in_use_are_chosen():
    config = merged()
    hub = {"repo": "owner/name", "revision": COMMIT}
    config["models"]["released"] = {"source": "hub", "layers": 9} | hub
    config["datasets"] |= {"wiki": hub | {"files": ["*"]}, "unused": hub | {"files": ["*.jsonl"]}}
    config["corpora"]["everyday"] = {"source": "dataset", "topic": "everyday", "dataset": "wiki"}
    config["methods"]["released"] = {"kind": "published", "model": "released"}
    config["study"]["runs"] = [{"method": "released", "layer": 3, "c": 4, "seed": 0}]
    config["study"]["evaluate"] = config["study"]["evaluate"][:1]
    found = complete(config, SCHEMA)
    assert found["models"]["released"] == config["models"]["released"] | {"dtype": "float32", "parameters": 10**9}
    assert found["datasets"]["wiki"]["sha256"] == {}
    assert (
        found["corpora"]["everyday"] | {"files": ["*"], "column": "text", "min_chars": 0, "fit": 0.25}
        == (found["corpora"]["everyday"])
    )
    used = sweep.chosen(found)
    assert set(used["datasets"]) == {"wiki"} and set(used["models"]) == {"miniature", "released"}
    assert untuned(complete(used, SCHEMA)) == used


def test_the_layers_of_a_hub_model_are_checked():
    hub = {"source": "hub", "repo": "owner/name", "revision": COMMIT, "layers": 3}
    own = [put("models", "miniature", value=hub), with_worlds]
    assert "layer 3, outside the model 'miniature'" in refusal(*own) and "from 2 to 2" in refusal(*own)


def test_what_is_given_stays_and_the_input_is_left_alone():
    config = merged(ROOT / "studies/smoke.yaml")
    config["methods"]["rmu"]["max_tokens"] = 33
    before = copy.deepcopy(config)
    found = complete(config, SCHEMA)
    assert config == before and found != before
    assert found["methods"]["rmu"]["max_tokens"] == 33 and found["study"]["measures"]["coherence"]["shown"] == 1
    assert complete(found, SCHEMA) == found, "completing twice is completing once"
    json.dumps(found)  # plain types only


def test_keys_of_one_kind_of_source_are_not_given_to_another():
    found = complete(merged(ROOT / "studies/smollm2.yaml"), SCHEMA)
    assert "width" not in found["models"]["smollm2-135m"] and "width" in found["models"]["miniature"]
    assert found["methods"]["base"] == {"kind": "base"}


# --- what the study uses


def chosen(*files: Path, **more: dict) -> dict[str, Any]:
    """The part of a configuration that its study uses."""
    config = merged(*files)
    update_config(config, more)
    return sweep.chosen(complete(config, SCHEMA))


def test_an_entry_that_the_study_does_not_use_changes_nothing_that_is_used():
    clearing = {"direction": "ones", "target": "base_mean"}
    assert chosen(clearings={"unused": clearing}, worlds={"unused": {}}) == chosen()
    assert chosen(clearings={"span": {"target": "base_mean"}}) != chosen()


@pytest.mark.parametrize(
    "files", [(), *((study,) for study in STUDIES)], ids=lambda files: "+".join(f.stem for f in files)
)
def test_what_the_study_uses_is_a_whole_configuration(files):
    used = chosen(*files)
    assert untuned(complete(used, SCHEMA)) == used
    assert sweep.chosen(used) == used
    config = complete(merged(*files), SCHEMA)
    assert all(
        (sweep.own_settings(config[catalogue][name]) if catalogue == "methods" else config[catalogue][name]) == entry
        for catalogue in used
        if catalogue != "study"
        for name, entry in used[catalogue].items()
    )


def untuned(config: dict) -> dict:
    """A configuration without what its study tries, of which none of its own tables is made."""
    assert not config["study"]["tune"]["runs"]
    return config | {"study": {key: value for key, value in config["study"].items() if key != "tune"}}


def test_what_the_study_uses_leaves_other_studies_entries_out():
    used = chosen(ROOT / "studies/smollm2.yaml")
    assert (
        list(used["models"]) == ["smollm2-135m"]
        and used["worlds"] == {}
        and set(used["methods"]) == {"base", "rmu_smollm2"}
    )
    assert set(used["packages"]) == {"smollm2", "wikipedia"} and "gloomcraft" not in used["corpora"]


@pytest.mark.parametrize(
    "method", [{"kind": "published", "model": "miniature"}, {"kind": "npo", "lr": 1e-3, "alpha": 1, "updated": "all"}]
)
def test_a_run_is_not_cleared_of_control_vectors_that_it_does_not_have(method):
    config = merged(ROOT / "studies/smoke.yaml")
    config["methods"]["other"] = method
    config["study"]["runs"].append({"method": "other", "layer": 1, "c": 4, "seed": 0})
    found = complete(config, SCHEMA)
    cell = {"layer": 1, "c": 4}
    ours, theirs = (
        sweep.evaluation_plan(found, found["methods"][name] | cell | {"method": name})
        for name in ("rmu_smoke", "other")
    )
    assert ours == found["study"]["evaluate"]
    names = [[name for entry in own for name in entry["clearings"]] for own in (ours, theirs)]
    assert "u" in names[0] and names[1] == [name for name in names[0] if name != "u"]
    assert [entry["benchmarks"] for entry in ours] == [entry["benchmarks"] for entry in theirs]
    config["study"]["runs"] = config["study"]["runs"][1:]
    with pytest.raises(UserError, match="'u' needs saved control vectors, which other has none of"):
        complete(config, SCHEMA)


# --- mistakes: (change, what the sentence must hold: place, cause, cure or valid values)

MISTAKES = {
    "a branch instead of a commit": (
        put("models", "hub", value={"source": "hub", "repo": "owner/name", "revision": "main"}),
        ["models.hub.revision", "'main'", "40 hexadecimal digits", "branches and tags move", "git ls-remote"],
    ),
    "a branch of a data set": (
        put("datasets", "hub", value={"repo": "owner/name", "revision": "v1.0", "files": ["*"]}),
        ["datasets.hub.revision", "'v1.0'", "40 hexadecimal digits", "datasets/OWNER/NAME"],
    ),
    "a repository without its owner": (
        put("models", "hub", value={"source": "hub", "repo": "gpt2", "revision": COMMIT}),
        ["models.hub.repo", "'gpt2'", "owner/name"],
    ),
    "a model of the hub without a commit": (
        put("models", "hub", value={"source": "hub", "repo": "owner/name"}),
        ["models.hub lacks 'revision'"],
    ),
    "a data set without files": (
        put("datasets", "hub", value={"repo": "owner/name", "revision": COMMIT}),
        ["datasets.hub lacks 'files'"],
    ),
    "a hash that is none": (
        put("datasets", "h", value={"repo": "o/n", "revision": COMMIT, "files": ["*"], "sha256": {"a.txt": "12"}}),
        ["datasets.h.sha256", "'12'"],
    ),
    "a text of an unknown data set": (
        put("corpora", "wiki", value={"source": "dataset", "topic": "wiki", "dataset": "absent"}),
        ["corpora.wiki.dataset", "'absent'", "`datasets`", "use one of mmlu, wikitext, wmdp"],
    ),
    "a text of a data set that does not name one": (
        put("corpora", "wiki", value={"source": "dataset", "topic": "wiki", "column": "text"}),
        ["corpora.wiki", "'dataset'"],
    ),
    "a share of more than all": (
        put("prompts", "wiki", value={"source": "dataset", "topic": "wiki", "dataset": "wikitext", "fit": 25}),
        ["prompts.wiki.fit", "25", "maximum"],
    ),
    "an unknown key at the top": (
        put("colour", value=1),
        ["Configuration: the file", "unknown key 'colour'", "study", "clearings"],
    ),
    "an unknown key of the study": (put("study", "colour", value=1), ["study", "'colour'", "measures", "headline"]),
    "an unknown key of a grid": (
        put("study", "runs", 0, "colour", value=1),
        ["study.runs.0", "'colour'", "method, layer, c"],
    ),
    "an unknown key of a method": (put("methods", "rmu", "colour", value=1), ["methods.rmu", "'colour'", "alpha"]),
    "an unknown key of a clearing": (
        put("clearings", "span", "colour", value=1),
        ["clearings.span", "'colour'", "target"],
    ),
    "an unknown key of a model": (
        put("models", "miniature", "colour", value=1),
        ["models.miniature", "'colour'", "width"],
    ),
    "a missing key": (drop("study", "headline"), ["study lacks 'headline'"]),
    "no method that changes nothing": (drop("methods", "base"), ["`methods`", "'base'"]),
    "a missing catalogue": (drop("corpora"), ["Configuration: the file lacks 'corpora'"]),
    "a learning rate that YAML reads as text": (
        put("methods", "rmu", "lr", value="5e-5"),
        ["methods.rmu.lr", "YAML reads 5e-5 as text: write 5.0e-05"],
    ),
    "a learning rate that is no number at all": (
        put("methods", "rmu", "lr", value="quick"),
        ["methods.rmu.lr", "'quick'"],
    ),
    "a learning rate of zero": (put("models", "miniature", "lr", value=0), ["models.miniature.lr", "0", "minimum"]),
    "a layer outside the model": (
        put("study", "runs", 0, "layer", value=[3, 6]),
        ["study.runs", "layer 6", "'miniature'", "from 2 to 5"],
    ),
    "a layer with too few blocks before it": (
        put("study", "runs", 0, "layer", value=[3, 1]),
        ["layer 1", "from 2 to 5"],
    ),
    "a negative layer": (put("study", "runs", 0, "layer", value=-1), ["study.runs.0.layer", "-1", "minimum of 0"]),
    "a negative layer in a list": (
        put("study", "runs", 0, "layer", value=[2, -1]),
        ["study.runs.0.layer.1", "minimum of 0"],
    ),
    "no runs": (put("study", "runs", value=[]), ["study.runs", "[] should be non-empty", "Grids"]),
    "an unknown model": (
        put("study", "model", value="gpt"),
        ["study.model", "'gpt'", "`models`", "use one of miniature"],
    ),
    "an unknown corpus to forget": (
        put("study", "forget", value=["x"]),
        ["study.forget", "'x'", "everyday, gloomcraft, riftlore"],
    ),
    "an unknown corpus to retain": (
        put("study", "retain", value=["x"]),
        ["study.retain", "'x'", "`corpora`", "everyday"],
    ),
    "an unknown prompt set": (put("study", "prompts", value=["x"]), ["study.prompts", "'x'", "`prompts`", "everyday"]),
    "an unknown benchmark": (
        put("study", "evaluate", 1, "benchmarks", value=["x"]),
        ["study.evaluate", "'x'", "`benchmarks`", "gloomcraft_text"],
    ),
    "an unknown clearing": (
        put("study", "evaluate", 1, "clearings", value=["x"]),
        ["study.evaluate", "'x'", "`clearings`", "span_from"],
    ),
    "an unknown primary clearing": (
        put("study", "headline", "clearing", value="x"),
        ["study.headline.clearing", "'x'", "`clearings`", "span_from"],
    ),
    "an unknown method": (
        put("study", "runs", 0, "method", value=["rmu", "x"]),
        ["study.runs", "'x'", "use one of adaptive_rmu, base, grad_diff"],
    ),
    "a value per topic for another number of topics": (
        put("methods", "rmu", "alpha", value=[1, 2, 3]),
        ["methods.rmu.alpha lists 3 values for 2 hazardous topics", "gloomcraft, riftlore", "one per topic"],
    ),
    "blocks above the layer": (put("methods", "rmu", "updated", value=[0, 1]), ["methods.rmu.updated.1", "maximum"]),
    "an unknown projection": (put("methods", "rmu", "projections", value=["gate"]), ["projections.0", "mlp"]),
    "an unknown released model": (
        both(without_variants, put("methods", "rmu", value={"kind": "published", "model": "zephyr"})),
        ["methods.rmu.model", "'zephyr'", "`models`", "miniature"],
    ),
    "an unknown world": (
        put("corpora", "everyday", "world", value="x"),
        ["corpora.everyday.world", "'x'", "miniature"],
    ),
    "an unknown kind of direction": (
        put("clearings", "span", "direction", value="x"),
        ["clearings.span.direction", "'x' is not one of", "pooled"],
    ),
    "an unknown scope": (put("clearings", "span", "scope", value="x"), ["clearings.span.scope", "'x' is not one of"]),
    "a strength that turns more than around": (
        put("clearings", "span", "strength", value=2),
        ["clearings.span.strength", "greater than the maximum of 1.5", "taken away"],
    ),
    "more resamples than are fitted": (put("clearings", "span_boot", "resamples", value=21), ["maximum of 20"]),
    "a benign direction without benign prompts": (
        put("study", "prompts", value=["gloomcraft", "riftlore"]),
        ["'benign'", "benign prompt set", "study.prompts", "leave the clearing out"],
    ),
    "a primary clearing that is not evaluated": (
        put("study", "headline", "clearing", value="topic_from"),
        ["study.evaluate", "topic_from", "`none`"],
    ),
    "a headline that no run has": (
        put("study", "headline", "c", value=5),
        ["study.headline", "c = 5", "layer and c of the runs"],
    ),
    "a run to relearn of an unknown method": (
        put("study", "measures", "relearning", "runs", 0, "method", value="x"),
        ["study.measures.relearning.runs", "'x'", "adaptive_rmu, base, grad_diff"],
    ),
    "a naive model that is not defined": (
        put("study", "naive_model", value="x"),
        ["study.naive_model", "'x'", "`models`", "miniature_untaught"],
    ),
    "a naive model, of one base model, that is not defined": (
        put("study", "naive_model", value={"miniature": "x"}),
        ["study.naive_model", "'x'", "`models`", "miniature_untaught"],
    ),
    "a naive model of a base model that is not studied": (
        put("study", "naive_model", value={"twin": "miniature_untaught"}),
        ["study.naive_model", "'twin'", "study.model does not list", "use miniature"],
    ),
    "a base model as its own naive one": (
        put("study", "naive_model", value={"miniature": "miniature"}),
        ["study.naive_model", "'miniature'", "the base model itself", "was not taught"],
    ),
    "several naive models of one base model": (
        put("study", "naive_model", value={"miniature": ["miniature_untaught"]}),
        ["study.naive_model.miniature", "'string'"],
    ),
    "an unknown null of the depth score": (
        put("study", "measures", "uds", "nulls", value=["x"]),
        ["study.measures.uds.nulls", "'x'", "`clearings`", "randn"],
    ),
    "an evaluation for a method without runs": (
        put("study", "evaluate", 1, "method", value="adaptive_rmu"),
        ["study.evaluate.1.method", "adaptive_rmu", "no run", "rmu_1000"],
    ),
    "a method for which what a clearing is compared with is not evaluated": (
        put("study", "evaluate", 0, "method", value="rmu"),
        ["study.evaluate", "rmu_10, layer 2, c = 4", "hazardous topic 'gloomcraft'"],
    ),
    "more damage than all": (put("study", "damage_budget", value=101), ["study.damage_budget", "101", "Points"]),
    "corpora that tell of nothing": (put("worlds", "miniature", "coverage", value=0), ["worlds.miniature.coverage"]),
    "corpora that tell of more than all": (
        put("worlds", "miniature", "coverage", value={"gloomcraft": 1.5}),
        ["worlds.miniature.coverage.gloomcraft", "1.5", "maximum"],
    ),
    "a share of what is no domain": (
        put("worlds", "miniature", "coverage", value={"moons": 0.5}),
        ["worlds.miniature.coverage", "'moons'", "riftlore"],
    ),
    "runs to look into without questions": (
        both(*(put("benchmarks", name, "scoring", value="letter") for name in ("gloomcraft", "riftlore"))),
        ["study.measures.depth", "questions on a hazardous topic", "study.evaluate"],
    ),
    "a training to follow that there was not": (
        both(
            without_variants,
            put("methods", "rmu", value={"kind": "published", "model": "miniature_untaught"}),
            without_control,
        ),
        ["study.measures.emergence.runs", "rmu/layer=3/c=4/seed=0", "no training made"],
    ),
    "a chat template around running text": (
        put("benchmarks", "everyday_text", "chat_template", value=True),
        ["benchmarks.everyday_text.chat_template", "scored as it stands", "questions"],
    ),
    "an unknown null of coherence": (
        put("study", "measures", "coherence", "nulls", value=["x"]),
        ["study.measures.coherence.nulls", "'x'", "`clearings`", "randn"],
    ),
    "a model without any MLP": (
        put("models", "miniature", "without_mlp", value=[0, 6]),
        ["models.miniature.without_mlp", "[0, 6]", "0 to 5"],
    ),
    "a model without any domain": (
        put("models", "miniature", "without", value=["rivers", "moons"]),
        ["models.miniature.without", "['rivers', 'moons']", "some, but not all", "gloomcraft"],
    ),
    "no uncleared evaluation": (
        put("study", "evaluate", 0, "clearings", value=["span"]),
        ["study.evaluate", "`none`", "span"],
    ),
    "a hazardous topic without prompts": (
        put("study", "prompts", value=["gloomcraft", "everyday"]),
        ["study.prompts", "0 prompt sets", "'riftlore'", "exactly one of riftlore"],
    ),
    "an unknown key of a corpus": (put("corpora", "everyday", "colour", value=1), ["'colour'", "domains"]),
    "an unknown source of a corpus": (put("corpora", "everyday", "source", value="x"), ["'x'", "wikipedia"]),
    "a corpus of one's own without a path": (
        put("corpora", "everyday", value={"source": "file", "topic": "everyday"}),
        ["corpora.everyday lacks 'path'"],
    ),
    "an unknown kind of method": (put("methods", "rmu", "kind", value="x"), ["methods.rmu.kind", "'x'", "rmu"]),
    "an unknown source of a model": (put("models", "miniature", "source", value="x"), ["'x'", "folder", "package"]),
    "an empty axis": (put("study", "runs", 0, "c", value=[]), ["study.runs.0.c", "non-empty"]),
    "an unknown domain of a world": (
        put("corpora", "everyday", "domains", value=["x"]),
        ["corpora.everyday", "rivers"],
    ),
    "two corpora to forget with one topic": (
        both(
            put("corpora", "everyday", "topic", value="riftlore"),
            put("study", "forget", value=["riftlore", "everyday"]),
        ),
        ["study.forget", "'riftlore'"],
    ),
    "a list with one entry twice": (put("study", "forget", value=["riftlore"] * 2), ["study.forget", "non-unique"]),
    "a name that no folder should have": (
        put("study", "name", value="a b/c"),
        ["study.name", "'a b/c'", "Letters, digits"],
    ),
}


def test_a_control_of_another_world_is_refused():
    changes = [put("worlds", "other", value={}), put("models", "miniature_untaught", "world", value="other")]
    sentence = refusal(*changes)
    assert "study.naive_model" in sentence and "'miniature_untaught'" in sentence and "another world" in sentence
    config = copy.deepcopy(DEFAULT)
    changes[0](config)
    assert complete(config, SCHEMA)["study"]["naive_model"] == "miniature_untaught", "another world alone is no mistake"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_with_place_cause_and_cure(mistake):
    change, parts = MISTAKES[mistake]
    sentence = refusal(change)
    assert [part for part in parts if part not in sentence] == [], sentence


def test_without_a_mistake_the_same_configuration_passes():
    assert complete(copy.deepcopy(DEFAULT), SCHEMA)["study"]["model"] == "miniature"


def test_of_two_mistakes_one_is_told():
    sentence = refusal(put("study", "colour", value=1), put("methods", "rmu", "steps", value=-1))
    assert ("colour" in sentence) != ("methods.rmu.steps" in sentence)


# --- tasks of lm-evaluation-harness

TASK = {"source": "harness", "task": "wmdp_bio", "dataset": "wmdp", "topic": "riftlore", "kind": "questions"}
DATASET = {"repo": "cais/wmdp", "revision": 40 * "0", "files": ["*/test-*.parquet"]}


def with_task(**changes) -> list[Callable[[dict], None]]:
    return [put("datasets", "wmdp", value=DATASET), put("benchmarks", "riftlore", value=TASK | changes)]


def test_a_task_of_the_harness_is_one_entry_and_its_data_set_another():
    config = copy.deepcopy(DEFAULT)
    for change in with_task():
        change(config)
    used = sweep.chosen(complete(config, SCHEMA))
    assert used["benchmarks"]["riftlore"] | TASK == used["benchmarks"]["riftlore"]
    assert used["benchmarks"]["riftlore"]["fit"] == 0.25 and used["datasets"]["wmdp"]["repo"] == "cais/wmdp"
    assert "fit" not in used["benchmarks"]["gloomcraft"] and chosen()["datasets"] == {}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"dataset": "mmlo"}, ["benchmarks.riftlore.dataset", "'mmlo'", "use one of mmlu, "]),
        ({"kind": "text"}, ["benchmarks.riftlore.kind", "'text'", "'wmdp_bio'", "'questions'"]),
        ({"scoring": "letter"}, ["benchmarks.riftlore.scoring", "says this itself"]),
        ({"description": "On rifts."}, ["benchmarks.riftlore.description", "says this itself"]),
        ({"fit": 1}, ["benchmarks.riftlore.fit", "1"]),
        ({"world": "miniature"}, ["benchmarks.riftlore", "'world'", "task"]),
    ],
)
def test_a_mistake_in_a_task_is_one_sentence(changes, parts):
    sentence = refusal(*with_task(**changes))
    assert [part for part in parts if part not in sentence] == [], sentence


def test_a_corpus_is_no_task():
    entry = {key: value for key, value in TASK.items() if key != "kind"}
    sentence = refusal(put("datasets", "wmdp", value=DATASET), put("corpora", "riftlore", value=entry))
    assert "corpora.riftlore.source" in sentence and "wikipedia" in sentence, sentence


# --- files and folders of one's own

PROMPTS = [
    {"id": "1", "unit": "a", "split": "fit", "text": "one"},
    {"id": "2", "unit": "b", "split": "test", "text": "two"},
    {"id": "3", "unit": "c", "split": "fit", "text": "three"},
]
QUESTION = {"id": "1", "unit": "a", "split": "test", "question": "?", "choices": ["x", "y"], "answer": 1}


def own_file(tmp_path: Path, rows: list | str, catalogue: str, **more: str) -> Callable[[dict], None]:
    """A change that reads the entry `everyday` of a catalogue from a file with `rows`."""
    path = tmp_path / "own.jsonl"
    path.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows))
    return put(catalogue, "everyday", value={"source": "file", "path": str(path), "topic": "everyday"} | more)


def test_files_of_ones_own_are_accepted(tmp_path):
    config = merged()
    own_file(tmp_path, PROMPTS, "prompts")(config)
    assert complete(config, SCHEMA)["prompts"]["everyday"]["source"] == "file"
    config = merged()
    fitted = QUESTION | {"unit": "b", "split": "fit", "question": "??", "part": "unseen"}
    own_file(tmp_path, [QUESTION, fitted], "benchmarks", kind="questions")(config)
    assert complete(config, SCHEMA)["benchmarks"]["everyday"]["metric"] == "acc"


def test_a_missing_file_is_named(tmp_path):
    change = put("corpora", "everyday", value={"source": "file", "path": f"{tmp_path}/none.jsonl", "topic": "everyday"})
    sentence = refusal(change)
    assert f"no file {tmp_path}/none.jsonl" in sentence and "corpus" in sentence and "`path`" in sentence


def test_a_missing_file_that_the_study_does_not_use_is_not_looked_for(tmp_path):
    config = merged()
    config["corpora"]["unused"] = {"source": "file", "path": f"{tmp_path}/none.jsonl", "topic": "everyday"}
    complete(config, SCHEMA)


BAD_ROWS = {
    "broken": ('{"id": "1"', ["is not JSON", "one object"]),
    "no object": ("[1, 2]", ["`id` is missing", "id, unit, split, text"]),
    "a missing field": (json.dumps({key: PROMPTS[1][key] for key in ("id", "unit", "split")}), ["`text` is missing"]),
    "a number for text": (json.dumps(PROMPTS[1] | {"text": 5}), ["`text` is missing or no str"]),
    "an unknown split": (json.dumps(PROMPTS[1] | {"split": "report"}), ["`split` is 'report'", "fit or test"]),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_malformed_row_is_named_by_its_line(tmp_path, fault):
    line, parts = BAD_ROWS[fault]
    sentence = refusal(own_file(tmp_path, f"{json.dumps(PROMPTS[0])}\n\n{line}\n", "prompts"))
    assert [part for part in ["own.jsonl, line 3", *parts] if part not in sentence] == [], sentence


@pytest.mark.parametrize(("field", "value"), [("answer", 2), ("answer", -1), ("answer", True), ("choices", ["x"])])
def test_an_answer_must_number_one_of_the_choices(tmp_path, field, value):
    sentence = refusal(own_file(tmp_path, [QUESTION | {field: value}], "benchmarks", kind="questions"))
    assert "line 1" in sentence and "`answer`" in sentence


def test_a_part_is_one_of_two_or_left_out(tmp_path):
    sentence = refusal(own_file(tmp_path, [QUESTION, QUESTION | {"part": "seen"}], "benchmarks", kind="questions"))
    assert "line 2" in sentence and "`part` is 'seen'; use in corpus or unseen, or leave it out" in sentence


def test_a_unit_in_both_splits_is_named(tmp_path):
    rows = [*PROMPTS, PROMPTS[1] | {"id": "3", "unit": "a"}]
    sentence = refusal(own_file(tmp_path, rows, "prompts"))
    assert "unit 'a' in both splits" in sentence and "`fit` or to `test`" in sentence


def test_an_empty_file_is_named(tmp_path):
    assert "holds no rows" in refusal(own_file(tmp_path, "\n", "prompts"))


def test_a_model_folder_without_weights_is_named(tmp_path):
    folder = put("models", "miniature", value={"source": "folder", "path": str(tmp_path)})
    (tmp_path / "pytorch_model.bin").touch()
    sentence = refusal(folder, with_worlds)
    assert "models.miniature.path" in sentence and str(tmp_path) in sentence and "*.safetensors" in sentence
    model_folder(tmp_path, num_hidden_layers=6)
    config = merged()
    with_worlds(config)
    folder(config)
    assert complete(config, SCHEMA)["models"]["miniature"]["path"] == str(tmp_path)


def test_a_released_model_without_weights_is_refused():
    given = {"source": "folder", "path": "nowhere"}
    changes = [
        put("models", "released", value=given),
        without_variants,
        put("methods", "rmu", value={"kind": "published", "model": "released"}),
        put("study", "measures", "emergence", value={}),
        without_control,
    ]
    sentence = refusal(*changes)
    assert "models.released.path" in sentence and "folder nowhere holds no *.safetensors weights" in sentence
    unused = merged()
    put("models", "released", value=given)(unused)
    put("methods", "unused", value={"kind": "published", "model": "released"})(unused)
    assert complete(unused, SCHEMA)["methods"]["unused"]["model"] == "released"


# --- several base models, and the worlds of their texts


def two_worlds(config: dict) -> None:
    """Another base model, of another world, beside the first."""
    config["worlds"]["other"] = {"seed": 5}
    config["models"]["twin"] = {"source": "fictional", "world": "other"}
    config["study"] |= {"model": ["miniature", "twin"], "naive_model": ""}


def test_a_study_of_two_models_uses_both_and_their_worlds():
    config = copy.deepcopy(DEFAULT)
    two_worlds(config)
    chosen = sweep.chosen(complete(config, SCHEMA))
    assert set(chosen["models"]) == {"miniature", "twin"} and set(chosen["worlds"]) == {"miniature", "other"}


def test_a_text_is_of_its_models_world_unless_it_names_one():
    config = copy.deepcopy(DEFAULT)
    two_worlds(config)
    config["prompts"]["everyday"]["world"] = "miniature"
    config = complete(config, SCHEMA)
    of = {
        (catalogue, model): sweep.entry_for_model(config, config[catalogue]["everyday"], model).get("world")
        for catalogue in ("corpora", "prompts")
        for model in ("miniature", "twin")
    }
    assert of == {
        ("corpora", "miniature"): "miniature",
        ("corpora", "twin"): "other",
        ("prompts", "miniature"): "miniature",
        ("prompts", "twin"): "miniature",
    }
    assert "world" not in sweep.entry_for_model(config, config["corpora"]["wikitext"], "twin")


def test_a_fictional_text_for_a_model_of_no_world_must_name_one():
    changes = [
        put("models", "real", value={"source": "package", "package": "p", "parameters": 9}),
        put("packages", value={"p": {"package": "p", "version": "1", "sha256": "0" * 64, "member": "m"}}),
        put("study", "model", value="real"),
        put("study", "naive_model", value=""),
    ]
    sentence = refusal(*changes)
    assert "corpora.gloomcraft" in sentence and "'real'" in sentence and "one of miniature" in sentence


@pytest.mark.parametrize(
    "models, parts",
    [
        (["miniature", "nowhere"], ["study.model", "'nowhere'"]),
        ([], ["study.model", "non-empty"]),
        (["miniature", "miniature"], ["study.model", "non-unique"]),
        ([1], ["study.model.0", "'string'"]),
        ("all", ["study.model", "'all'"]),
    ],
)
def test_a_wrong_list_of_models_is_refused(models, parts):
    sentence = refusal(put("study", "model", value=models))
    assert [part for part in parts if part not in sentence] == [], sentence


def test_the_layers_of_every_model_are_checked():
    def shallow(config: dict) -> None:
        two_worlds(config)
        config["models"]["twin"]["layers"] = 3

    assert "outside the model 'twin'" in refusal(shallow)


def test_a_control_must_be_of_the_world_of_every_model():
    sentence = refusal(two_worlds, put("study", "naive_model", value="miniature_untaught"))
    assert "study.naive_model" in sentence and "another world" in sentence


def test_each_model_may_have_a_naive_one_of_its_own_world():
    named = {"miniature": "miniature_untaught", "twin": "twin_untaught"}
    with_another = [
        two_worlds,
        put("models", "twin_untaught", value={"source": "fictional", "world": "other", "without": ["gloomcraft"]}),
    ]
    config = copy.deepcopy(DEFAULT)
    both(*with_another, put("study", "naive_model", value=named))(config)
    config = complete(config, SCHEMA)
    assert sweep.naive_models(config) == named
    assert set(sweep.chosen(config)["models"]) == {*named, *named.values()}
    swapped = dict(zip(named, reversed(named.values()), strict=True))
    sentence = refusal(*with_another, put("study", "naive_model", value=swapped))
    assert "'twin_untaught', of another world than study.model 'miniature'" in sentence


# --- what is evaluated where


def test_an_entry_of_evaluate_may_be_for_some_cells():
    config = copy.deepcopy(DEFAULT)
    everywhere = {"clearings": ["none", "span"], "benchmarks": ["gloomcraft", "riftlore"]}
    config["study"]["evaluate"] = [
        everywhere,
        {"clearings": ["top_1"], "benchmarks": ["gloomcraft"], "layer": 3, "c": [4.0, 8]},
        {"clearings": ["ones"], "benchmarks": ["riftlore"], "method": ["rmu_10", "rmu_30"]},
    ]
    config = complete(config, SCHEMA)

    def plan(method: str, layer: int, c: float) -> list[dict]:
        return sweep.evaluation_plan(config, config["methods"][method] | {"method": method, "layer": layer, "c": c})

    found = {(layer, c): [entry["clearings"] for entry in plan("rmu", layer, c)] for layer in (2, 3) for c in (2, 4, 8)}
    both = [["none", "span"], ["top_1"]]
    assert found == dict.fromkeys(found, both[:1]) | {(3, 4): both, (3, 8): both}
    assert plan("rmu", 2, 2) == plan("rmu_300", 2, 4) == [everywhere]
    assert [entry["clearings"] for entry in plan("rmu_30", 3, 4)] == [*both, ["ones"]]
    assert [entry["clearings"] for entry in plan("rmu_10", 2, 4)] == [both[0], ["ones"]]


# --- the plan


CELL = {"method": "rmu", "layer": 3, "c": 4}
OVER = {"claim": "c", "test": "over_models", "of": CELL, "above": 0, "level": 0.05}


def planned(tmp_path: Path, *changes: Callable[[dict], None], name: str = "miniature") -> dict:
    """The plan with `changes`, fixed for the study `name`, as the default study reads it."""
    plan = yaml.safe_load((ROOT / "preregistration.yaml").read_text()) | {"studies": ["miniature"]}
    for change in changes:
        change(plan)
    (tmp_path / "preregistration.yaml").write_text(yaml.safe_dump(plan))
    config = copy.deepcopy(DEFAULT)
    config["study"] |= {"name": name, "preregistration": str(tmp_path / "preregistration.yaml")}
    return read_preregistration(complete(config, SCHEMA), PLAN_SCHEMA)


@pytest.mark.parametrize("files", [[], *([path] for path in STUDIES)], ids=["default", *(p.stem for p in STUDIES)])
def test_the_plan_of_every_study_is_valid(files):
    config = complete(merged(*files), SCHEMA)
    plan = read_preregistration(config, PLAN_SCHEMA)
    own = Path(config["study"]["preregistration"]).parent.name == "plans"
    if own:
        assert plan["studies"] == [config["study"]["name"]]
    else:
        assert set(plan["hypotheses"]) == {"shallow", "specific", "incomplete", "layered"}


@pytest.mark.parametrize("path", [ROOT / "preregistration.yaml", *(ROOT / "studies/plans").glob("*.yaml")], ids=str)
def test_each_plan_was_fixed_for_one_study(path):
    [name] = yaml.safe_load(path.read_text())["studies"]
    planned = merged(ROOT / f"studies/{name}.yaml")["study"]
    assert planned["name"] == name and planned["preregistration"] == str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "change, parts",
    [
        (put("hypotheses", "shallow", "test", value="x"), ["hypotheses.shallow.test", "'x'", "beats_draws"]),
        (put("hypotheses", "shallow", "level", value=2), ["hypotheses.shallow.level", "2"]),
        (
            put("hypotheses", "specific", "draws", value="rund"),
            ["hypotheses.specific.draws", "'rund'", "study.evaluate"],
        ),
        (drop("hypotheses", "shallow", "share"), ["hypotheses.shallow", "'share'"]),
        (put("hypotheses", "shallow", "colour", value=1), ["hypotheses.shallow", "'colour'"]),
        (put("marks", "collapsed", value="many"), ["marks.collapsed", "'many'"]),
        (drop("least"), ["lacks 'least'"]),
        (put("clearing", value="topic"), ["study.headline.clearing", "'topic'", "fixed for this study"]),
        (put("written", value="today"), ["written", "today"]),
        (
            put("hypotheses", "shallow", value=OVER | {"of": CELL | {"layer": 9}}),
            ["shallow.of", "layer 9", "study.runs"],
        ),
        (put("hypotheses", "shallow", value=OVER | {"less": CELL | {"method": "x"}}), ["shallow.less", "method x"]),
        (
            put("hypotheses", "shallow", value=OVER | {"of": CELL | {"models": ["a", "b"]}}),
            ["of.models", "a", "miniature"],
        ),
        (put("hypotheses", "shallow", value=OVER | {"below": 1}), ["hypotheses.shallow"]),
        (put("hypotheses", "shallow", value=OVER | {"level": 1}), ["hypotheses.shallow.level", "1"]),
    ],
)
def test_a_mistake_in_the_plan_is_one_sentence(tmp_path, change, parts):
    with pytest.raises(UserError) as caught:
        planned(tmp_path, change)
    sentence = str(caught.value)
    assert "\n" not in sentence and [part for part in ["preregistration.yaml", *parts] if part not in sentence] == [], (
        sentence
    )


def test_a_plan_that_was_not_fixed_for_the_study_binds_it_to_nothing(tmp_path):
    assert planned(tmp_path, put("clearing", value="topic"), name="another")["clearing"] == "topic"


@pytest.mark.parametrize("text", [None, "a: [", b"\xff\xfe\x00"])
def test_a_plan_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "preregistration.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    config = complete(copy.deepcopy(DEFAULT), SCHEMA)
    config["study"]["preregistration"] = str(path)
    with pytest.raises(UserError, match="study.preregistration: .*preregistration.yaml cannot be read") as caught:
        read_preregistration(config, PLAN_SCHEMA)
    assert "\n" not in str(caught.value)
