"""Checks of a configuration that need no job: whether what the study chose is there and fits together."""

import filecmp
import os
from itertools import combinations, product
from pathlib import Path
from typing import Any

from overpaint.errors import UserError
from overpaint.sources import world
from overpaint.study import sweep
from overpaint.study.names import shown
from overpaint.study.sweep import as_list, evaluated, hazardous_topics, trained_methods

FEW = 64  # entities of a world up to which an attribute may by chance have fewer than four values
# How two entries of one source stand to each other in a key, for `sweep.SAME`.
RELATIONS = {
    "equal": lambda one, other: one == other,
    "overlapping": lambda one, other: bool({*one} & {*other}),
    "one file": lambda one, other: _same_file(one, other),
}
PLACES = {"corpora": "forget", "prompts": "prompts", "benchmarks": "evaluate"}  # of `study`, where texts are listed


def check(config: dict[str, Any]) -> None:
    """Refuse a configuration whose study names entries that no catalogue has, or that do not fit together."""
    study = config["study"]
    _known(config, "methods", "the workflow", ["base"])
    _known(config, "models", "study.model", as_list(study["model"]))
    for key in ("forget", "retain"):
        _known(config, "corpora", f"study.{key}", study[key])
    _known(config, "prompts", "study.prompts", study["prompts"])
    measured = {
        f"measures.{name}.runs": measure["runs"] for name, measure in study["measures"].items() if "runs" in measure
    }
    grids = {"runs": study["runs"]} | measured
    for where, grid in ((where, grid) for where, listed in grids.items() for grid in listed):
        _known(config, "methods", f"study.{where}", as_list(grid["method"]))
    for entry in study["evaluate"]:
        _known(config, "clearings", "study.evaluate", entry["clearings"])
        _known(config, "benchmarks", "study.evaluate", entry["benchmarks"])
    _known(config, "clearings", "study.headline.clearing", [study["headline"]["clearing"]])
    _known(config, "clearings", "study.measures.coherence.nulls", study["measures"]["coherence"]["nulls"])
    for catalogue in ("models", "corpora", "prompts", "benchmarks"):
        for name, entry in config[catalogue].items():
            for key, kind in sweep.CATALOGUES.items():
                if key in entry:
                    _known(config, kind, f"{catalogue}.{name}.{key}", [entry[key]])
    for name in sweep.naive_models(config).values():
        _known(config, "models", "study.naive_model", [name])
    _known(config, "clearings", "study.measures.uds.nulls", study["measures"]["uds"]["nulls"])
    _check_worlds(config)
    _check_models(config)
    _check_methods(config)
    _check_topics(config)
    _check_texts(config)
    _check_own(config)
    _check_tasks(config)
    _check_naive(config)
    _check_values(config)


def _check_worlds(config: dict[str, Any]) -> None:
    """Refuse a text of a fictional world that is nowhere named."""
    for (catalogue, names), model in product(
        sweep.used_texts(config["study"]).items(), as_list(config["study"]["model"])
    ):
        for name in names:
            entry = sweep.entry_for_model(config, config[catalogue][name], model)
            if sweep.TAKES[entry["source"]] == "world" and "world" not in entry:
                valid = ", ".join(config["worlds"])
                raise UserError(
                    f"{catalogue}.{name} is of a fictional world, and the model {model!r} of none: give the text a "
                    f"`world`, one of {valid}."
                )


def _check_topics(config: dict[str, Any]) -> None:
    prompted = [config["prompts"][name]["topic"] for name in config["study"]["prompts"]]
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
        if "width" in model and model["width"] % (2 * model["heads"]):
            raise UserError(
                f"models.{name}.width is {model['width']} for {model['heads']} heads: make it a multiple of "
                f"{2 * model['heads']}, so that each has the same even width."
            )


def _check_texts(config: dict[str, Any]) -> None:
    """Refuse to forget what is retained, and the same text under two topics."""
    study = config["study"]
    pairs = [("corpora", pair) for pair in product(study["forget"], study["retain"])]
    pairs += [("corpora", pair) for pair in combinations(study["forget"], 2)]
    pairs += [("prompts", pair) for pair in combinations(study["prompts"], 2)]
    pairs += [("benchmarks", pair) for pair in combinations(evaluated(study, "benchmarks"), 2)]
    for catalogue, (one, other) in pairs:
        texts = config[catalogue][one], config[catalogue][other]
        alike = texts[0]["topic"] == texts[1]["topic"]
        same = _same_texts(*texts)
        if (alike or same) if catalogue == "corpora" else (same and not alike):
            what = "hold the same texts" if same else "are of one topic"
            raise UserError(
                f"study.{PLACES[catalogue]}: {one!r} and {other!r} of {catalogue} {what}, and a text has one topic, "
                "hazardous or benign: leave one out."
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


def _check_methods(config: dict[str, Any]) -> None:
    """Refuse a used method that lists values for another number of topics, or names no released model."""
    topics = hazardous_topics(config)
    for name, released in sweep.released(config).items():
        _check_released(config, name, released)
    for name in trained_methods(config["study"]):
        settings = config["methods"][name]
        for key in ("alpha", "forget_max_tokens"):
            if isinstance(settings.get(key), list) and len(settings[key]) != len(topics):
                raise UserError(
                    f"methods.{name}.{key} lists {len(settings[key])} values for {len(topics)} hazardous topics "
                    f"({', '.join(topics)}): give one value, or one per topic of study.forget."
                )


def _check_released(config: dict[str, Any], name: str, released: str) -> None:
    _known(config, "models", f"methods.{name}.model", [released])
    for base in as_list(config["study"]["model"]):
        if _weights(config["models"][released]) == _weights(config["models"][base]):
            raise UserError(
                f"methods.{name}.model is {released!r}, the base model itself ({base!r}): name the unlearned model "
                "that was made from it."
            )


def _check_tasks(config: dict[str, Any]) -> None:
    """Refuse settings that nothing uses, or that a task of the harness has of its own."""
    fixed = {"kind": "questions", "scoring": "continuation", "description": ""}
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
        for key, only in fixed.items() if entry["source"] == "harness" else ():
            if entry[key] != only:
                raise UserError(
                    f"benchmarks.{name}.{key} is {entry[key]!r}: the task {entry['task']!r} of the harness says this "
                    f"itself, so leave it at {only!r}."
                )


def _same_file(one: str, other: str) -> bool:
    """Whether two paths are of one file, or of equal ones."""
    both = os.path.isfile(one) and os.path.isfile(other)
    return os.path.realpath(one) == os.path.realpath(other) or (both and filecmp.cmp(one, other, shallow=False))


def _same_texts(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two entries hold the same texts, in part at least, as their source declares."""
    if (one["source"], one.get("kind")) != (other["source"], other.get("kind")):
        return False
    same = sweep.SAME[one["source"]].items()
    return all(RELATIONS[relation](one.get(key), other.get(key)) for key, relation in same)


def _weights(model: dict[str, Any]) -> dict[str, Any]:
    """What of a model's entry fixes its weights; one that was trained before is as one that is trained anew."""
    if "world" in model:
        return {key: value for key, value in model.items() if key not in ("dtype", "source", "path")}
    kept = {key: value for key, value in model.items() if key not in ("dtype", "layers", "parameters")}
    return kept | ({"path": os.path.realpath(model["path"])} if "path" in model else {})


def _check_naive(config: dict[str, Any]) -> None:
    """Refuse a naive model that is a base model, of another world than its base model, or of a model not studied."""
    models, named = as_list(config["study"]["model"]), sweep.naive_models(config)
    for model, name in named.items():
        if model not in models:
            raise UserError(
                f"study.naive_model has one for {shown(model)}, which study.model does not list: use "
                f"{', '.join(models)}."
            )
        if name in models:
            raise UserError(
                f"study.naive_model names {name!r}, the base model itself: name one that was not taught, or none."
            )
        worlds = {config["models"][each]["world"] for each in (name, model) if "world" in config["models"][each]}
        if len(worlds) > 1:
            raise UserError(
                f"study.naive_model names {name!r}, of another world than study.model {model!r}: leave it empty, or "
                "name one for each model, as {model: naive model}."
            )
    if lacking := [model for model in models if named and model not in named]:
        raise UserError(f"study.naive_model has none for {lacking[0]!r}: name one for each model, or none at all.")


def _known(config: dict[str, Any], catalogue: str, where: str, names: list[str]) -> None:
    for name in names:
        if name not in config.get(catalogue, {}):
            valid = ", ".join(config.get(catalogue, {})) or "none defined"
            raise UserError(f"{where} names {shown(name)}, which `{catalogue}` does not define: use one of {valid}.")


def check_plan(config: dict[str, Any], plan: dict[str, Any], path: Path) -> None:
    """Refuse a pre-registration that is about clearings, cells or base models that the study does not have."""
    study = config["study"]
    if study["headline"]["clearing"] != plan["clearing"]:
        raise UserError(
            f"study.headline.clearing is {study['headline']['clearing']!r}, and {path}, which was fixed for this "
            f"study, says {plan['clearing']!r}: use that, or take the study out of its `studies`."
        )
    clearings = config["clearings"]
    drawn = [n for n in evaluated(study, "clearings") if sweep.kind_of(clearings[n]).get("drawn")]
    for name, entry in plan["hypotheses"].items():
        if entry.get("draws") not in (None, *drawn):
            raise UserError(
                f"{path}: hypotheses.{name}.draws is {shown(entry['draws'])}, no clearing with random draws that "
                f"study.evaluate lists: use one of {', '.join(drawn) or '(it lists none)'}."
            )
    _check_sides(config, plan, path)


def _check_sides(config: dict[str, Any], plan: dict[str, Any], path: Path) -> None:
    """Refuse hypotheses about cells or base models that the study does not have."""
    study, models = config["study"], as_list(config["study"]["model"])
    runs = sweep.expand_runs(study["runs"], config["methods"]).values()
    cells = {(run["method"], run["layer"], run["c"]) for run in runs if "layer" in run}
    for name, rule in plan["hypotheses"].items():
        sides = {side: rule[side] for side in ("of", "less") if side in rule}
        for side, wanted in sides.items():
            where = f"{path}: hypotheses.{name}.{side}"
            if (wanted["method"], wanted["layer"], wanted["c"]) not in cells:
                cell = ", ".join(f"{key} {wanted[key]}" for key in ("method", "layer", "c"))
                raise UserError(f"{where} is {shown(cell)}, which study.runs does not have: use one of its cells.")
            if unknown := [model for model in wanted.get("models", []) if model not in models]:
                raise UserError(f"{where}.models lists {shown(unknown[0])}: use some of {', '.join(models)}.")
        if len({len(side.get("models", models)) for side in sides.values()}) > 1:
            raise UserError(
                f"{path}: hypotheses.{name} compares base models in pairs: name as many in `of` as in `less`."
            )
