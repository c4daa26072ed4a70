"""Checks of a configuration that need no job: whether what the study chose is there and fits together."""

import os
from itertools import combinations, product
from pathlib import Path
from typing import Any

from overpaint import sweep, world
from overpaint.errors import UserError
from overpaint.folders import blocks, has_template
from overpaint.names import NULLS, shown
from overpaint.sweep import as_list, evaluated, expand_grid, expand_runs, hazardous_topics, used_methods

FEW = 64  # entities of a world up to which an attribute may by chance have fewer than four values
# What two texts of one source have in common where they are the same text, in part at least.
SAME = {
    "file": lambda one, other: os.path.realpath(one["path"]) == os.path.realpath(other["path"]),
    "miniature": lambda one, other: bool({*one["domains"]} & {*other["domains"]}) and _equal(one, other, "world"),
    "wikipedia": lambda one, other: bool({*one["topics"]} & {*other["topics"]}) and _equal(one, other, "package"),
    "dataset": lambda one, other: _equal(one, other, "dataset", "files", "column"),
}  # fmt: skip


def check(config: dict[str, Any], inherited: dict[str, Any]) -> None:
    """Refuse a configuration whose study names entries that no catalogue has, or that does not fit together.

    inherited: the study of config.yaml, whose own cells a study of other runs did not ask for.
    """
    study = config["study"]
    _known(config, "methods", "the workflow", ["base"])
    _known(config, "models", "study.model", as_list(study["model"]))
    for key in ("forget", "retain"):
        _known(config, "corpora", f"study.{key}", study[key])
    _known(config, "prompts", "study.prompts", study["prompts"])
    for grid in study["runs"]:
        _known(config, "methods", "study.runs", as_list(grid["method"]))
    for entry in study["evaluate"]:
        _known(config, "clearings", "study.evaluate", entry["clearings"])
        _known(config, "benchmarks", "study.evaluate", entry["benchmarks"])
    _known(config, "clearings", "study.primary", [study["primary"]])
    _known(config, "clearings", "study.coherence.nulls", study["coherence"]["nulls"])
    for catalogue in ("models", "corpora", "prompts", "benchmarks"):
        for name, entry in config[catalogue].items():
            for key, kind in sweep.SOURCES.items():
                if key in entry:
                    _known(config, kind, f"{catalogue}.{name}.{key}", [entry[key]])
    _check_worlds(config)
    _check_models(config)
    _check_runs(config)
    _check_methods(config)
    _check_topics(config)
    _check_texts(config)
    _check_own(config)
    _check_clearings(config)
    _check_tasks(config)
    _check_evaluated(config, inherited["evaluate"])
    _check_picked(config)
    _check_values(config)


def check_folders(config: dict[str, Any]) -> None:
    """Refuse what the models of the study cannot do, as far as their files tell; those have been found."""
    _check_layers(config)
    _check_templates(config)


def without_inherited_main(config: dict[str, Any], inherited: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the headline's cell where that is config.yaml's and the study's runs lack it."""
    study = config["study"]
    if study.get("main") == inherited.get("main") and not _has_main(study):
        return config | {"study": study | {"main": None}}
    return config


def _has_main(study: dict[str, Any]) -> bool:
    cells = [(choice["layer"], choice["c"]) for grid in study["runs"] for choice in expand_grid(grid)]
    return not study.get("main") or (study["main"]["layer"], study["main"]["c"]) in cells


def _check_worlds(config: dict[str, Any]) -> None:
    """Refuse a text of a fictional world that is nowhere named."""
    for (catalogue, names), model in product(
        sweep.used_texts(config["study"]).items(), as_list(config["study"]["model"])
    ):
        for name in names:
            entry = sweep.of_model(config, config[catalogue][name], model)
            if entry["source"] == "miniature" and "world" not in entry:
                valid = ", ".join(config["worlds"])
                raise UserError(
                    f"{catalogue}.{name} is of a fictional world, and the model {model!r} of none: give the text a "
                    f"`world`, one of {valid}."
                )


def _check_topics(config: dict[str, Any]) -> None:
    study, prompted = config["study"], [config["prompts"][p]["topic"] for p in config["study"]["prompts"]]
    topics = hazardous_topics(config)
    for topic in topics:
        if topics.count(topic) > 1:
            raise UserError(f"study.forget lists several corpora of the topic {topic!r}: list one corpus per topic.")
        if prompted.count(topic) != 1:
            valid = [name for name, entry in config["prompts"].items() if entry["topic"] == topic]
            raise UserError(
                f"study.prompts has {prompted.count(topic)} prompt sets of the hazardous topic {topic!r}: list exactly "
                f"one of {', '.join(valid) or '(none is defined)'}."
            )
    if not _has_main(study):
        raise UserError(
            f"study.main is {study['main']}, which study.runs does not contain: use a layer and c of the runs, or null."
        )
    if study["primary"] not in evaluated(study, "clearings") or "none" not in evaluated(study, "clearings"):
        raise UserError(f"study.evaluate must list the clearings `none` and study.primary ({study['primary']}).")


def _check_values(config: dict[str, Any]) -> None:
    """Refuse a small world that chance has left without four values of an attribute, which a question needs."""
    for name, settings in sweep.chosen(config)["worlds"].items():
        try:
            if settings["entities"] <= FEW:
                world.question_rows(world.generate(**settings), [*world.DOMAINS])
        except UserError as error:
            raise UserError(f"worlds.{name}: {error}") from None


def _check_models(config: dict[str, Any]) -> None:
    """Refuse one model under two names, and a fictional world's whose heads cannot share its width.

    Rotary positions turn pairs of numbers, so that a head's width is even.
    """
    for one, other in combinations(as_list(config["study"]["model"]), 2):
        if _weights(config["models"][one]) == _weights(config["models"][other]):
            raise UserError(f"study.model lists {one!r} and {other!r}, which are the same model: leave one out.")
    for name, model in config["models"].items():
        if model["source"] == "miniature" and model["width"] % (2 * model["heads"]):
            raise UserError(
                f"models.{name}.width is {model['width']} for {model['heads']} heads: make it a multiple of "
                f"{2 * model['heads']}, so that each has the same even width."
            )


def _check_runs(config: dict[str, Any]) -> None:
    """Refuse runs of the base, which is always run, and runs that are named twice."""
    seen = set()
    for choice in (choice for grid in config["study"]["runs"] for choice in expand_grid(grid)):
        if config["methods"][choice["method"]]["kind"] == "base":
            raise UserError("study.runs names the method 'base', which is always run: leave it out.")
        run = sweep.run_path(choice)
        if run in seen:
            raise UserError(f"study.runs has {run} more than once: leave it out of all grids but one.")
        seen.add(run)


def _check_texts(config: dict[str, Any]) -> None:
    """Refuse to forget what is retained, and the same text under two topics."""
    study = config["study"]
    pairs = [("corpora", pair) for pair in product(study["forget"], study["retain"])]
    pairs += [("corpora", pair) for pair in combinations(study["forget"], 2)]
    pairs += [("prompts", pair) for pair in combinations(study["prompts"], 2)]
    for catalogue, (one, other) in pairs:
        texts = config[catalogue][one], config[catalogue][other]
        alike = texts[0]["topic"] == texts[1]["topic"]
        same = texts[0]["source"] == texts[1]["source"] and SAME[texts[0]["source"]](*texts)
        if (alike or same) if catalogue == "corpora" else (same and not alike):
            raise UserError(
                f"study.{'forget' if catalogue == 'corpora' else catalogue}: {one!r} and {other!r} of {catalogue} are "
                "of one topic or hold the same texts, which are hazardous or benign, and of one topic: leave one out."
            )


def _check_own(config: dict[str, Any]) -> None:
    """Refuse a file of one's own where the study writes its texts: Snakemake would remove it first."""
    for (catalogue, names), model in product(
        sweep.used_texts(config["study"]).items(), as_list(config["study"]["model"])
    ):
        written = os.path.realpath(f"{config['study']['output']}/{model}/{catalogue}")
        for name in names:
            path = config[catalogue][name].get("path", "")
            if path and os.path.dirname(os.path.realpath(path)) == written:
                raise UserError(
                    f"{catalogue}.{name}.path is {shown(path)}, where the study writes its own: copy it elsewhere."
                )


def _check_layers(config: dict[str, Any]) -> None:
    choices = [choice for grid in config["study"]["runs"] for choice in expand_grid(grid)]
    counts = {name: blocks(name, config["models"][name]) for name in as_list(config["study"]["model"])}
    for name, choice in product(as_list(config["study"]["model"]), choices):
        count = counts[name]
        updated = config["methods"][choice["method"]].get("updated", [0])
        first = -min(updated)
        if choice["layer"] < first or (count and choice["layer"] >= count):
            raise UserError(
                f"study.runs asks for layer {choice['layer']}, outside the model {name!r}: with method "
                f"{choice['method']!r} choose layers from {first} to {count - 1 if count else 'its last block'}."
            )


def _check_methods(config: dict[str, Any]) -> None:
    """Refuse a used method that lists values for another number of topics, or names no released model."""
    topics = hazardous_topics(config)
    for name in used_methods(config["study"]):
        settings = config["methods"][name]
        for key in ("alpha", "forget_length"):
            if isinstance(settings.get(key), list) and len(settings[key]) != len(topics):
                raise UserError(
                    f"methods.{name}.{key} lists {len(settings[key])} values for {len(topics)} hazardous topics "
                    f"({', '.join(topics)}): give one value, or one per topic of study.forget."
                )
        if "model" in settings:
            _known(config, "models", f"methods.{name}.model", [settings["model"]])
            released = config["models"][settings["model"]]
            for base in as_list(config["study"]["model"]):
                if _weights(released) == _weights(config["models"][base]):
                    raise UserError(
                        f"methods.{name}.model is {settings['model']!r}, the base model itself ({base!r}): name the "
                        "unlearned model that was made from it."
                    )


def _check_clearings(config: dict[str, Any]) -> None:
    """Refuse a clearing whose direction the study cannot fit."""
    study, hazardous = config["study"], hazardous_topics(config)
    lacking = {}
    if all(config["prompts"][name]["topic"] in hazardous for name in study["prompts"]):
        lacking |= dict.fromkeys(("contrast", "benign"), "a benign prompt set: list one in study.prompts")
    released = ["model" in config["methods"][name] for name in used_methods(study)]
    primary = config["clearings"][study["primary"]]["direction"]
    if primary in ("none", *NULLS) or config["clearings"][study["primary"]]["on_base"]:
        raise UserError(
            f"study.primary is {study['primary']!r}, which brings back nothing of the junk's own: name a clearing of "
            "another direction, of the unlearned model."
        )
    if all(released) or (any(released) and primary == "control"):
        lacking["control"] = "saved control vectors, which a released model does not come with: use another direction"
    runs = _settings(config)
    meant = [entry for entry in study["evaluate"] if any(sweep.for_run(entry, run) for run in runs)]
    for name in dict.fromkeys([*evaluated({"evaluate": meant}, "clearings"), *study["coherence"]["nulls"]]):
        kind = config["clearings"][name]["direction"]
        if kind in lacking:
            raise UserError(f"The clearing {name!r} needs {lacking[kind]}, or leave the clearing out of the study.")


def _check_evaluated(config: dict[str, Any], inherited: list[dict]) -> None:
    """Refuse entries of `evaluate` for no run, and runs without what tables compare."""
    runs = _settings(config)
    for number, entry in enumerate(config["study"]["evaluate"]):
        meant = [run for run in runs if sweep.for_run(entry, run)]
        for key in ("layer", "c"):
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
    cell, asked = f"{run['method']}, layer {run['layer']}, c = {run['c']}", {}
    for entry in sweep.plan(config, run):
        for name in entry["clearings"]:
            asked[name] = [*asked.get(name, []), *entry["benchmarks"]]
    for name, benchmarks in asked.items():
        lacking = [benchmark for benchmark in benchmarks if benchmark not in asked.get("none", [])]
        if lacking:
            raise UserError(
                f"study.evaluate has {name!r} on the benchmark {lacking[0]!r} for {cell}, but not `none`, which it is "
                "compared with: list `none` on it too."
            )
    primary = config["study"]["primary"]
    asking = [config["benchmarks"][name] for name in asked.get(primary, [])]
    for topic in hazardous_topics(config):
        if not any(entry["kind"] == "questions" and entry["topic"] == topic for entry in asking):
            valid = [name for name, entry in config["benchmarks"].items() if entry["topic"] == topic]
            raise UserError(
                f"study.evaluate has no questions on the hazardous topic {topic!r} under study.primary ({primary!r}) "
                f"for {cell}: list a benchmark of questions on it (of this topic are: {', '.join(valid) or 'none'})."
            )


def _check_templates(config: dict[str, Any]) -> None:
    """Refuse conversations in a template that a model of the study does not have."""
    for name in evaluated(config["study"], "benchmarks"):
        for model in as_list(config["study"]["model"]) if config["benchmarks"][name]["chat_template"] else ():
            entry = config["models"][model]
            if entry["source"] == "miniature" or ("path" in entry and not has_template(Path(entry["path"]))):
                raise UserError(
                    f"benchmarks.{name}.chat_template is true, and the tokenizer of the model {model!r} has no chat "
                    "template: leave it false, or take a model that was taught conversations."
                )


def _check_tasks(config: dict[str, Any]) -> None:
    """Refuse settings that nothing uses, or that a task of the harness has of its own."""
    own = {"kind": "questions", "scoring": "continuation", "description": ""}
    for name, entry in config["benchmarks"].items():
        if entry["prior"] and entry["metric"] != "acc_mutual_info":
            raise UserError(
                f"benchmarks.{name}.prior is {shown(entry['prior'])}, which {entry['metric']!r} does not use: "
                "leave it out, or make the metric acc_mutual_info."
            )
        if entry["kind"] == "text" and entry["chat_template"]:
            raise UserError(
                f"benchmarks.{name}.chat_template is true, and its kind is text, which is scored as it stands: leave "
                "the template out, or make it a benchmark of questions."
            )
        for key, only in own.items() if entry["source"] == "harness" else ():
            if entry[key] != only:
                raise UserError(
                    f"benchmarks.{name}.{key} is {entry[key]!r}: the task {entry['task']!r} of the harness says this "
                    f"itself, so leave it at {only!r}."
                )


def _check_picked(config: dict[str, Any]) -> None:
    """Refuse runs to look into that cannot be looked into."""
    _check_coherence(config)
    study, runs = config["study"], expand_runs(config["study"]["runs"], config["methods"])
    chosen = {"depth": study["depth"]}
    chosen |= {f"{key}.runs": study[key]["runs"] for key in ("relearn", "emergence")}
    for where, grids in chosen.items():
        for grid in grids:
            _known(config, "methods", f"study.{where}", as_list(grid["method"]))
        for run in sweep.picked(config, grids):
            if where == "emergence.runs" and "updated" not in runs[run]:
                raise UserError(f"study.{where} names {run}, which no training made: leave it out.")
            if not sweep.plain_questions(config, hazardous_topics(config)):
                raise UserError(
                    f"study.{where} needs questions on a hazardous topic scored by the words of their options, not by "
                    "letters, a chat template or a task of the harness: list some in study.evaluate, or no runs here."
                )
    _check_control(config)


def _check_control(config: dict[str, Any]) -> None:
    """Refuse a control that is not defined, or of another world than the study's model."""
    for name in sweep.control(config):
        _known(config, "models", "study.control", [name])
        if name in as_list(config["study"]["model"]):
            raise UserError(
                f"study.control names {name!r}, the base model itself: name one that was not taught, or none."
            )
        entries = (config["models"][model] for model in (name, *as_list(config["study"]["model"])))
        if len({entry["world"] for entry in entries if "world" in entry}) > 1:
            raise UserError(
                f"study.control names {name!r}, of another world than study.model: leave it empty, or change it."
            )


def _check_coherence(config: dict[str, Any]) -> None:
    study, found = config["study"], config["study"]["coherence"]
    if found["prompts"] < study["completions"]:
        raise UserError(
            f"study.coherence.prompts is {found['prompts']}, fewer than study.completions ({study['completions']}), "
            f"which are among them: make it {study['completions']} or more."
        )
    for name in found["nulls"]:
        if config["clearings"][name]["direction"] == "none" or name == study["primary"]:
            raise UserError(
                f"study.coherence.nulls names {name!r}, whose completions are measured anyway: leave it out."
            )


def _settings(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of a run of every method, layer and c."""
    runs = expand_runs(config["study"]["runs"], config["methods"])
    found = {(run["method"], run["layer"], run["c"]): run for run in runs.values() if run["kind"] != "base"}
    return list(found.values())


def _equal(one: dict[str, Any], other: dict[str, Any], *keys: str) -> bool:
    return all(one.get(key) == other.get(key) for key in keys)


def _weights(model: dict[str, Any]) -> dict[str, Any]:
    """What of a model's entry fixes its weights."""
    kept = {key: value for key, value in model.items() if key not in ("dtype", "layers", "parameters")}
    kept |= {"layers": model.get("layers")} if model["source"] == "miniature" else {}
    return kept | ({"path": os.path.realpath(model["path"])} if "path" in model else {})


def _known(config: dict[str, Any], catalogue: str, where: str, names: list[str]) -> None:
    for name in names:
        if name not in config.get(catalogue, {}):
            valid = ", ".join(config.get(catalogue, {})) or "none defined"
            raise UserError(f"{where} names {shown(name)}, which `{catalogue}` does not define: use one of {valid}.")
