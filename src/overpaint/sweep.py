"""Grids of runs, their paths, and the checks of a configuration that need no job (standard library only)."""

import hashlib
import json
from difflib import get_close_matches
from itertools import product
from typing import Any

from overpaint.errors import UserError

# Settings of a method that fix what enters the first block that it trains.
PREFIX = (
    "layer", "updated", "projections", "steps", "batch", "length", "forget_length", "max_batches", "min_length",
    "shuffle",
)  # fmt: skip
# Catalogues that entries of others are made from, by the key that names one.
SOURCES = {"world": "worlds", "package": "packages", "dataset": "datasets"}


def as_list(value: Any) -> list:
    """A list as it is, anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def expand_grid(grid: dict[str, Any]) -> list[dict[str, Any]]:
    """Every combination of a grid's values, in the order of its keys."""
    return [dict(zip(grid, values, strict=True)) for values in product(*map(as_list, grid.values()))]


def run_path(choice: dict[str, Any]) -> str:
    """`method/layer=../c=../seed=..` of a run, whatever the order of its keys; 4 and 4.0 are one run."""
    return "/".join([choice["method"], *(f"{key}={_short(choice[key])}" for key in ("layer", "c", "seed"))])


class Runs(dict):
    """`{run path: settings}`; asked for a run that the study does not have, it says so in a sentence."""

    def __missing__(self, run: str) -> dict[str, Any]:
        near = ", ".join(get_close_matches(run, self))
        raise UserError(f"The study has no run {run}: add it to `study.runs`, or ask for one of its runs, as {near}.")


def expand_runs(grids: list[dict[str, Any]], methods: dict[str, dict]) -> Runs:
    """The runs of all grids, `base` first; settings are the method's with layer, c and seed added."""
    runs = Runs(base={"kind": "base", "method": "base"})
    ordered = ({key: grid[key] for key in ("method", "layer", "c", "seed")} for grid in grids)
    for choice in (choice for grid in ordered for choice in expand_grid(grid)):
        runs[run_path(choice)] = methods[choice["method"]] | choice
    return runs


def picked(config: dict[str, Any], grids: list[dict[str, Any]]) -> list[str]:
    """Those runs of `grids` that the study has: a list that a study of other runs inherits chooses none."""
    known = expand_runs(config["study"]["runs"], config["methods"])
    return [run for run in expand_runs(grids, config["methods"]) if run != "base" and run in known]


def control(config: dict[str, Any]) -> list[str]:
    """The model that never knew the hazardous facts, where the study names one and looks into runs beside it."""
    study = config["study"]
    runs = picked(config, study["depth"]) + picked(config, study["relearn"]["runs"])
    return [study["control"]] if study["control"] and runs else []


def _ours(study: dict[str, Any], grids: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The grids with those of their methods that the study runs."""
    used = used_methods(study)
    named = [grid | {"method": [name for name in as_list(grid["method"]) if name in used]} for grid in grids]
    return [grid for grid in named if grid["method"]]


def prefix_settings(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Those settings of a run that fix what enters its first trained block; None where it trains nothing.

    norms: whether c is measured in the base's norms.
    """
    if "updated" not in settings:
        return None
    return {key: settings[key] for key in PREFIX} | {"norms": settings.get("c_unit") != "absolute"}


def prefix_name(settings: dict[str, Any]) -> str:
    """`blocks=../..` of what runs with the same prefix settings share."""
    content = json.dumps(prefix_settings(settings), sort_keys=True)
    first, digest = settings["layer"] + min(settings["updated"]), hashlib.sha256(content.encode()).hexdigest()[:8]
    return f"blocks={first}-{settings['layer']}/{digest}"


def check(config: dict[str, Any]) -> None:
    """Refuse a configuration whose study names entries that no catalogue has, or that does not fit together."""
    study = config["study"]
    _known(config, "methods", "the workflow", ["base"])
    _known(config, "models", "study.model", as_list(study["model"]))
    if "all" in as_list(study["model"]):
        raise UserError("study.model names 'all', as tables call all models together: give the model another name.")
    for key in ("forget", "retain"):
        _known(config, "corpora", f"study.{key}", study[key])
    _known(config, "prompts", "study.prompts", study["prompts"])
    for grid in study["runs"]:
        _known(config, "methods", "study.runs", as_list(grid["method"]))
    for entry in study["evaluate"]:
        _known(config, "clearings", "study.evaluate", entry["clearings"])
        _known(config, "benchmarks", "study.evaluate", entry["benchmarks"])
    _known(config, "clearings", "study.primary", [study["primary"]])
    for catalogue in ("models", "corpora", "prompts", "benchmarks"):
        for name, entry in config[catalogue].items():
            for key, kind in SOURCES.items():
                if key in entry:
                    _known(config, kind, f"{catalogue}.{name}.{key}", [entry[key]])
    _check_worlds(config)
    _check_topics(config)
    _check_layers(config)
    _check_methods(config)
    _check_clearings(config)
    _check_tasks(config)
    _check_picked(config)


def of_model(config: dict[str, Any], entry: dict[str, Any], model: str) -> dict[str, Any]:
    """A text's entry for one model: texts of a fictional world are of the model's own, unless they name one."""
    own = config["models"][model].get("world")
    return {"world": own} | entry if entry["source"] == "miniature" and own else entry


def hazardous_topics(config: dict[str, Any]) -> list[str]:
    """The topics of the corpora that the study forgets."""
    return [config["corpora"][name]["topic"] for name in config["study"]["forget"]]


def evaluated(study: dict[str, Any], key: str) -> list[str]:
    """All `clearings` or `benchmarks` that `study.evaluate` names, in order, once each."""
    return list(dict.fromkeys(name for entry in study["evaluate"] for name in entry[key]))


def used_texts(study: dict[str, Any]) -> dict[str, list[str]]:
    """{catalogue: entries} of the texts that the study uses."""
    return {
        "corpora": [*study["forget"], *study["retain"]],
        "prompts": study["prompts"],
        "benchmarks": evaluated(study, "benchmarks"),
    }


def texts(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{catalogue/name: entry, with the `kind` of its rows} of all texts but the tasks of the harness."""
    kinds = {"corpora": {"kind": "corpus"}, "prompts": {"kind": "prompts"}, "benchmarks": {}}
    return {
        f"{catalogue}/{name}": kind | entry
        for catalogue, kind in kinds.items()
        for name, entry in config[catalogue].items()
        if entry["source"] != "harness"
    }


def plan(config: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, list[str]]]:
    """What a run with `settings` is evaluated on: all that the study says of its layer and c, or where its method saved
    no control vectors all but clearings by them."""
    kept = [n for n, entry in config["clearings"].items() if entry["direction"] != "control" or "model" not in settings]
    chosen = [
        {"clearings": [n for n in entry["clearings"] if n in kept], "benchmarks": entry["benchmarks"]}
        for entry in config["study"]["evaluate"]
        if all(settings[key] in as_list(entry.get(key, settings[key])) for key in ("layer", "c"))
    ]
    return [entry for entry in chosen if entry["clearings"]]


def plain_questions(config: dict[str, Any], topics: list[str] | None = None) -> list[str]:
    """Benchmarks whose questions stand as they are before their options, which a closer look at runs needs.

    topics: those they ask about, by default all.
    """
    entries = {name: config["benchmarks"][name] for name in evaluated(config["study"], "benchmarks")}
    return [
        name
        for name, entry in entries.items()
        if entry["kind"] == "questions" and (topics is None or entry["topic"] in topics)
        if entry["source"] != "harness" and entry["scoring"] == "continuation"
        if not entry["chat_template"] and not entry["description"]
    ]


def used_methods(study: dict[str, Any]) -> list[str]:
    """Methods that the study runs, beside the base."""
    return list(dict.fromkeys(name for grid in study["runs"] for name in as_list(grid["method"])))


def chosen(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with only those catalogue entries that the study uses; further entries change no job."""
    study = config["study"]
    names = {
        "models": [
            *as_list(study["model"]),
            *control(config),
            *(config["methods"][m]["model"] for m in used_methods(study) if "model" in config["methods"][m]),
        ],
        **used_texts(study),
        "methods": ["base", *used_methods(study)],
        "clearings": [*evaluated(study, "clearings"), *study["coherence"]["nulls"]],
    }
    study = study | {"depth": _ours(study, study["depth"])}
    study |= {key: study[key] | {"runs": _ours(study, study[key]["runs"])} for key in ("relearn", "emergence")}
    used = {catalogue: {name: config[catalogue][name] for name in listed} for catalogue, listed in names.items()}
    entries = [entry for catalogue in used.values() for entry in catalogue.values()]
    for key, catalogue in SOURCES.items():
        used[catalogue] = {entry[key]: config[catalogue][entry[key]] for entry in entries if key in entry}
    return {"study": study} | used


def _check_worlds(config: dict[str, Any]) -> None:
    """Refuse a text of a fictional world that is nowhere named."""
    for (catalogue, names), model in product(used_texts(config["study"]).items(), as_list(config["study"]["model"])):
        for name in names:
            entry = of_model(config, config[catalogue][name], model)
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
    main, cells = study.get("main"), [(c["layer"], c["c"]) for grid in study["runs"] for c in expand_grid(grid)]
    if main and (main["layer"], main["c"]) not in cells:
        raise UserError(f"study.main is {main}, which study.runs does not contain: use a layer and c of the runs.")
    if study["primary"] not in evaluated(study, "clearings") or "none" not in evaluated(study, "clearings"):
        raise UserError(f"study.evaluate must list the clearings `none` and study.primary ({study['primary']}).")


def _check_layers(config: dict[str, Any]) -> None:
    choices = [choice for grid in config["study"]["runs"] for choice in expand_grid(grid)]
    for name, choice in product(as_list(config["study"]["model"]), choices):
        count = config["models"][name].get("layers")
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


def _check_clearings(config: dict[str, Any]) -> None:
    """Refuse a clearing whose direction the study cannot fit."""
    study, hazardous = config["study"], hazardous_topics(config)
    lacking = {}
    if all(config["prompts"][name]["topic"] in hazardous for name in study["prompts"]):
        lacking |= dict.fromkeys(("contrast", "benign"), "a benign prompt set: list one in study.prompts")
    released = ["model" in config["methods"][name] for name in used_methods(study)]
    primary = config["clearings"][study["primary"]]["direction"]
    if all(released) or (any(released) and primary == "control"):
        lacking["control"] = "saved control vectors, which a released model does not come with: use another direction"
    for name in evaluated(study, "clearings"):
        kind = config["clearings"][name]["direction"]
        if kind in lacking:
            raise UserError(f"The clearing {name!r} needs {lacking[kind]}, or leave the clearing out of the study.")


def _check_tasks(config: dict[str, Any]) -> None:
    """Refuse settings that a task of the harness has of its own, and a chat template around running text."""
    own = {"kind": "questions", "scoring": "continuation", "description": ""}
    for name, entry in config["benchmarks"].items():
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
    study, runs = config["study"], expand_runs(config["study"]["runs"], config["methods"])
    _known(config, "clearings", "study.coherence.nulls", study["coherence"]["nulls"])
    chosen = {"depth": study["depth"]}
    chosen |= {f"{key}.runs": study[key]["runs"] for key in ("relearn", "emergence")}
    for where, grids in chosen.items():
        for grid in grids:
            _known(config, "methods", f"study.{where}", as_list(grid["method"]))
        for run in picked(config, grids):
            if where == "emergence.runs" and "updated" not in runs[run]:
                raise UserError(f"study.{where} names {run}, which no training made: leave it out.")
            if not plain_questions(config, hazardous_topics(config)):
                raise UserError(
                    f"study.{where} needs questions on a hazardous topic scored by the words of their options, not by "
                    "letters, a chat template or a task of the harness: list some in study.evaluate, or no runs here."
                )
    _check_control(config)


def _check_control(config: dict[str, Any]) -> None:
    """Refuse a control that is not defined, or of another world than the study's model."""
    for name in control(config):
        _known(config, "models", "study.control", [name])
        entries = (config["models"][model] for model in (name, *as_list(config["study"]["model"])))
        if len({entry["world"] for entry in entries if "world" in entry}) > 1:
            raise UserError(
                f"study.control names {name!r}, of another world than study.model: leave it empty, or change it."
            )


def _known(config: dict[str, Any], catalogue: str, where: str, names: list[str]) -> None:
    for name in names:
        if name not in config.get(catalogue, {}):
            valid = ", ".join(config.get(catalogue, {})) or "none defined"
            raise UserError(f"{where} names {name!r}, which `{catalogue}` does not define: use one of {valid}.")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
