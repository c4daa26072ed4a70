"""Checks of a study's runs: whether each can be made, evaluated, compared and looked into."""

from itertools import product
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.models.folders import blocks, has_template
from overpaint.study import sweep
from overpaint.study.names import shown
from overpaint.study.sweep import as_list, evaluated, expand_grid, expand_runs, hazardous_topics, used_methods


def check(config: dict[str, Any], inherited: dict[str, Any]) -> None:
    """Refuse a study whose runs could not be made, or would end without what its tables compare.

    inherited: the study of config.yaml, for whose own cells a study of other runs did not ask.
    """
    _check_runs(config)
    _check_headline(config)
    _check_clearings(config)
    _check_coherence(config)
    _check_evaluated(config, inherited["evaluate"])
    _check_picked(config)
    _check_tuned(config)


def check_folders(config: dict[str, Any]) -> None:
    """Refuse what the models of the study cannot do, as far as their files tell; those have been found."""
    _check_layers(config)
    _check_templates(config)


def without_inherited_cell(config: dict[str, Any], inherited: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the headline's cell where that is config.yaml's and the study's runs lack it."""
    study = config["study"]
    if _cell(study) == _cell(inherited) and not _has_cell(study):
        return config | {"study": study | {"headline": study["headline"] | {"layer": None, "c": None}}}
    return config


def _cell(study: dict[str, Any]) -> tuple:
    return study["headline"]["layer"], study["headline"]["c"]


def _has_cell(study: dict[str, Any]) -> bool:
    cells = [(choice["layer"], choice["c"]) for grid in study["runs"] for choice in expand_grid(grid)]
    return _cell(study) in [(None, None), *cells]


def _check_headline(config: dict[str, Any]) -> None:
    study = config["study"]
    if not _has_cell(study):
        layer, c = _cell(study)
        raise UserError(
            f"study.headline has the layer {layer} and c = {c}, which study.runs does not contain: use a layer and c "
            "of the runs, or null for both."
        )
    primary = study["headline"]["clearing"]
    if not {primary, "none"} <= {*evaluated(study, "clearings")}:
        raise UserError(f"study.evaluate must list the clearings `none` and study.headline.clearing ({primary}).")


def _check_runs(config: dict[str, Any]) -> None:
    """Refuse runs of the base, which is always run, and runs that are named twice."""
    seen = set()
    for where, choice in _listed(config):
        if config["methods"][choice["method"]]["kind"] == "base":
            raise UserError(f"{where} names the method 'base', which is always run: leave it out.")
        run = sweep.run_path(choice)
        if run in seen:
            raise UserError(f"{where} has {run} more than once: leave it out of all grids but one.")
        seen.add(run)


def _listed(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(place, choice) of the runs of the study and of the settings that it tries."""
    grids = {"study.runs": config["study"]["runs"], "study.tune.runs": config["study"]["tune"]["runs"]}
    return [(where, choice) for where, listed in grids.items() for grid in listed for choice in expand_grid(grid)]


def _check_layers(config: dict[str, Any]) -> None:
    counts = {name: blocks(config["models"][name]) for name in as_list(config["study"]["model"])}
    for name, (where, choice) in product(as_list(config["study"]["model"]), _listed(config)):
        count = counts[name]
        updated = config["methods"][choice["method"]].get("updated", [0])
        first = 0 if updated == "all" else -min(updated)
        if choice["layer"] < first or (count and choice["layer"] >= count):
            raise UserError(
                f"{where} asks for layer {choice['layer']}, outside the model {name!r}: with method "
                f"{choice['method']!r} choose layers from {first} to {count - 1 if count else 'its last block'}."
            )


def _check_templates(config: dict[str, Any]) -> None:
    """Refuse conversations in a template that a model of the study does not have."""
    for name in evaluated(config["study"], "benchmarks"):
        for model in as_list(config["study"]["model"]) if config["benchmarks"][name]["chat_template"] else ():
            entry = config["models"][model]
            if "world" in entry or ("path" in entry and not has_template(Path(entry["path"]))):
                raise UserError(
                    f"benchmarks.{name}.chat_template is true, and the tokenizer of the model {model!r} has no chat "
                    "template: leave it false, or take a model that was taught conversations."
                )


def _check_clearings(config: dict[str, Any]) -> None:
    """Refuse a clearing whose direction the study cannot fit."""
    study, hazardous = config["study"], hazardous_topics(config)
    lacking = {}
    if all(config["prompts"][name]["topic"] in hazardous for name in study["prompts"]):
        lacking["benign"] = "a benign prompt set: list one in study.prompts"
    methods = used_methods(study)
    without = [name for name in methods if not sweep.GIVES_U[config["methods"][name]["kind"]]]
    primary = config["clearings"][study["headline"]["clearing"]]
    null = primary["direction"] in sweep.NULLS
    if primary["direction"] == "none" or null or primary["on_base"]:
        raise UserError(
            f"study.headline.clearing is {study['headline']['clearing']!r}, which brings back nothing of the junk's "
            "own: name a clearing of another direction, of the unlearned model."
        )
    if without == methods or (without and "u" in sweep.needs_of(primary)):
        lacking["u"] = f"saved control vectors, which {', '.join(without)} has none of: use another direction"
    runs = _settings(config)
    meant = [entry for entry in study["evaluate"] if any(sweep.for_run(entry, run) for run in runs)]
    for name in dict.fromkeys([*evaluated({"evaluate": meant}, "clearings"), *study["measures"]["coherence"]["nulls"]]):
        for need in sweep.needs_of(config["clearings"][name]):
            if need in lacking:
                raise UserError(f"The clearing {name!r} needs {lacking[need]}, or leave the clearing out of the study.")


def _check_coherence(config: dict[str, Any]) -> None:
    study, coherence = config["study"], config["study"]["measures"]["coherence"]
    if coherence["prompts"] < coherence["shown"]:
        raise UserError(
            f"study.measures.coherence.prompts is {coherence['prompts']}, fewer than `shown` ({coherence['shown']}), "
            f"which are among them: make it {coherence['shown']} or more."
        )
    for name in coherence["nulls"]:
        if config["clearings"][name]["direction"] == "none" or name == study["headline"]["clearing"]:
            raise UserError(
                f"study.measures.coherence.nulls names {name!r}, whose completions are measured anyway: leave it out."
            )


def _check_evaluated(config: dict[str, Any], inherited: list[dict]) -> None:
    """Refuse entries of `evaluate` for no run, and runs without what tables compare."""
    runs = _settings(config)
    for number, entry in enumerate(config["study"]["evaluate"]):
        meant = [run for run in runs if sweep.for_run(entry, run)]
        for key in ("method", "layer", "c"):
            for value in as_list(entry.get(key, [])) if entry not in inherited else ():
                if value not in [run[key] for run in meant]:
                    valid = ", ".join(dict.fromkeys(str(run[key]) for run in runs))
                    raise UserError(
                        f"study.evaluate.{number}.{key} has {value}, for which there is no run: use values that the "
                        f"runs have together ({key}: {shown(valid)[1:-1]}), or leave the entry out."
                    )
    for run in runs:
        _check_compared(config, run)


def _check_compared(config: dict[str, Any], run: dict[str, Any]) -> None:
    """Refuse a run without the uncleared answers that each clearing needs, or without those to the headline."""
    cell, benchmarks_of = f"{run['method']}, layer {run['layer']}, c = {run['c']}", {}
    for entry in sweep.evaluation_plan(config, run):
        for name in entry["clearings"]:
            benchmarks_of[name] = [*benchmarks_of.get(name, []), *entry["benchmarks"]]
    for name, benchmarks in benchmarks_of.items():
        lacking = [benchmark for benchmark in benchmarks if benchmark not in benchmarks_of.get("none", [])]
        if lacking:
            raise UserError(
                f"study.evaluate has {name!r} on the benchmark {lacking[0]!r} for {cell}, but not `none`, which it is "
                "compared with: list `none` on it too."
            )
    primary = config["study"]["headline"]["clearing"]
    asking = [config["benchmarks"][name] for name in benchmarks_of.get(primary, [])]
    for topic in hazardous_topics(config):
        if not any(entry["kind"] == "questions" and entry["topic"] == topic for entry in asking):
            valid = [name for name, entry in config["benchmarks"].items() if entry["topic"] == topic]
            raise UserError(
                f"study.evaluate has no questions on the hazardous topic {topic!r} under "
                f"study.headline.clearing ({primary!r}) for {cell}: list a benchmark of questions on it (of this topic "
                f"are: {', '.join(valid) or 'none'})."
            )


def _check_picked(config: dict[str, Any]) -> None:
    """Refuse runs to look into that cannot be looked into."""
    study, runs = config["study"], expand_runs(config["study"]["runs"], config["methods"])
    for name, grids in ((name, measure["runs"]) for name, measure in study["measures"].items() if "runs" in measure):
        where = f"study.measures.{name}.runs"
        for run in sweep.picked(config, grids):
            if name == "emergence" and "corpora" not in sweep.NEEDS[runs[run]["kind"]]:
                raise UserError(f"{where} names {run}, which no training made: leave it out.")
            if not sweep.plain_questions(config, hazardous_topics(config)):
                raise UserError(
                    f"{where} needs questions on a hazardous topic scored by the words of their options, not by "
                    "letters, a chat template or a task of the harness: list some in study.evaluate, or no runs here."
                )


def _check_tuned(config: dict[str, Any]) -> None:
    """Refuse settings to be tried where nothing tells what they cost."""
    topics, study = hazardous_topics(config), config["study"]
    benign = {
        "study.prompts": [name for name in study["prompts"] if config["prompts"][name]["topic"] not in topics],
        "study.evaluate": [n for n in evaluated(study, "benchmarks") if config["benchmarks"][n]["topic"] not in topics],
    }
    for where in (where for where, names in benign.items() if study["tune"]["runs"] and not names):
        raise UserError(
            f"study.tune.runs has settings, and {where} nothing on a benign topic that tells what they cost: list some."
        )


def _settings(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of a run of every method, layer and c."""
    runs = expand_runs(config["study"]["runs"], config["methods"])
    cells = {(run["method"], run["layer"], run["c"]): run for run in runs.values() if run["kind"] != "base"}
    return list(cells.values())
