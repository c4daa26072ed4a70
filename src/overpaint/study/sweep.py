"""Grids of runs, their paths, and what a study uses of its configuration (standard library only)."""

import hashlib
import json
from difflib import get_close_matches
from functools import reduce
from itertools import product
from operator import or_
from typing import Any

from overpaint.declared import declared, decorated
from overpaint.errors import UserError

# Settings of a method that fix what enters the first block that it trains.
PREFIX = (
    "layer", "updated", "projections", "steps", "batch", "max_tokens", "forget_max_tokens", "max_batches", "min_chars",
    "shuffle",
)  # fmt: skip
BESIDE_NAIVE = ("depth", "relearning", "perturbations", "uds")  # measures that look into the naive model too
# Kinds of directions, with what they declare of themselves; `none` clears nothing.
DIRECTIONS = {"none": {}} | decorated("junk/clearing.py", "direction")
NULLS = [name for name, own in DIRECTIONS.items() if own.get("null")]  # they know nothing of the hazardous texts
# Catalogues that entries of others are made from, by the key that names one.
CATALOGUES = {"world": "worlds", "package": "packages", "dataset": "datasets"}
# Of each source of texts: the key of an entry that names what it takes, and how equal texts are known.
TAKES, SAME = (declared("sources", name) for name in ("TAKES", "SAME"))
NEEDS, GIVES_U = (declared("unlearning/methods", name) for name in ("NEEDS", "GIVES_U"))  # by kind of method


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


def with_inherited(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, each method with what the one that its `like` names has and it has not.

    `like` stays in the entry, where it says whose variant a method is; it is no setting of a run.
    """
    methods = config.get("methods")
    if not isinstance(methods, dict):
        return config
    lines = {name: [methods[one] for one in reversed(_line(methods, name))] for name in methods}
    merged = {name: reduce(or_, line) for name, line in lines.items() if all(isinstance(e, dict) for e in line)}
    return config | {"methods": methods | merged}


def _line(methods: dict[str, Any], name: str) -> list[str]:
    """A method, the one that it is like, the one that this is like, and so on."""
    line = [name]
    while isinstance(entry := methods[line[-1]], dict) and "like" in entry:
        like, where = entry["like"], f"methods.{line[-1]}.like is {repr(entry['like']):.80}"
        if not isinstance(like, str) or like not in methods:
            raise UserError(f"{where}, which `methods` does not define: use one of {', '.join(map(str, methods))}.")
        if like in line:
            raise UserError(f"{where}, which starts from {line[-1]!r} itself: let one of them say its `kind`.")
        line.append(like)
    return line


def own_settings(method: dict[str, Any]) -> dict[str, Any]:
    """The settings of a method's entry, however it is written."""
    return {key: value for key, value in method.items() if key != "like"}


def expand_runs(grids: list[dict[str, Any]], methods: dict[str, dict]) -> Runs:
    """The runs of all grids, `base` first; settings are the method's with layer, c and seed added."""
    runs = Runs(base={"kind": "base", "method": "base"})
    ordered = ({key: grid[key] for key in ("method", "layer", "c", "seed")} for grid in grids)
    for choice in (choice for grid in ordered for choice in expand_grid(grid)):
        runs[run_path(choice)] = own_settings(methods[choice["method"]]) | choice
    return runs


def picked(config: dict[str, Any], grids: list[dict[str, Any]]) -> list[str]:
    """Those runs of `grids` that the study has: a list that a study of other runs inherits chooses none."""
    runs = expand_runs(config["study"]["runs"], config["methods"])
    return [run for run in expand_runs(grids, config["methods"]) if run != "base" and run in runs]


def naive_models(config: dict[str, Any]) -> dict[str, str]:
    """{base model: the one that never knew the hazardous facts}, where the study names one and looks into runs beside
    it."""
    study, measures = config["study"], config["study"]["measures"]
    if not any(picked(config, measures[name]["runs"]) for name in BESIDE_NAIVE):
        return {}
    named = study["naive_model"]
    by_model = named if isinstance(named, dict) else dict.fromkeys(as_list(study["model"]), named)
    return {model: name for model, name in by_model.items() if name}


def _ours(study: dict[str, Any], grids: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The grids with those of their methods that the study runs."""
    used = used_methods(study)
    named = [grid | {"method": [name for name in as_list(grid["method"]) if name in used]} for grid in grids]
    return [grid for grid in named if grid["method"]]


def prefix_settings(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Those settings of a run that fix what enters its first trained block; None where it trains nothing.

    norms: whether the norms of the base are kept too, in which c may be measured; not where it is absolute.
    """
    if "prefix" not in NEEDS[settings["kind"]]:
        return None
    return {key: settings[key] for key in PREFIX} | {"norms": settings.get("c_unit") != "absolute"}


def prefix_name(settings: dict[str, Any]) -> str:
    """`blocks=../..` of what runs with the same prefix settings share."""
    content = json.dumps(prefix_settings(settings), sort_keys=True)
    first, digest = settings["layer"] + min(settings["updated"]), hashlib.sha256(content.encode()).hexdigest()[:8]
    return f"blocks={first}-{settings['layer']}/{digest}"


def entry_for_model(config: dict[str, Any], entry: dict[str, Any], model: str) -> dict[str, Any]:
    """A text's entry for one model: texts of a fictional world are of the model's own, unless they name one."""
    world = config["models"][model].get("world")
    return {"world": world} | entry if TAKES[entry["source"]] == "world" and world else entry


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


def for_run(entry: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether an entry of `study.evaluate` is for a run's method, layer and c."""
    return all(settings[key] in as_list(entry.get(key, settings[key])) for key in ("method", "layer", "c"))


def evaluation_plan(config: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, list[str]]]:
    """What a run with `settings` is evaluated on: all that the study says of its layer and c, or where its method saved
    no control vectors all but clearings by them."""
    gives_u = GIVES_U[settings["kind"]]
    kept = [n for n, entry in config["clearings"].items() if gives_u or "u" not in needs_of(entry)]
    chosen = [
        {"clearings": [n for n in entry["clearings"] if n in kept], "benchmarks": entry["benchmarks"]}
        for entry in config["study"]["evaluate"]
        if for_run(entry, settings)
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


def tried(study: dict[str, Any]) -> list[dict[str, Any]]:
    """Grids of the settings that `study.tune` tries; none in what its tables keep of it."""
    return study.get("tune", {}).get("runs", [])


def trained_methods(study: dict[str, Any]) -> list[str]:
    """Those, and the settings that `study.tune` tries."""
    return list(dict.fromkeys([*used_methods(study), *(grid["method"] for grid in tried(study))]))


def families(config: dict[str, Any]) -> dict[str, str]:
    """{method that the study runs: the one of its kind that it runs whose variant it is, by `like`, or itself}."""
    used, methods = used_methods(config["study"]), config["methods"]

    def root(name: str) -> str:
        like = methods[name].get("like")
        return root(like) if like in used and methods[like]["kind"] == methods[name]["kind"] else name

    return {name: root(name) for name in used}


def batches(config: dict[str, Any], corpora: list[str]) -> dict[str, tuple[int, int]]:
    """{method: texts of a batch, characters that each has more than} of those methods that need one of these corpora.

    A batch to forget is of one corpus, one to retain of all of them.
    """
    study = config["study"]
    if corpora not in ([name] for name in study["forget"]) and corpora != study["retain"]:
        return {}
    used = {method: config["methods"][method] for method in trained_methods(study)}
    return {method: (entry["batch"], entry["min_chars"]) for method, entry in used.items() if "batch" in entry}


def released(config: dict[str, Any]) -> dict[str, str]:
    """{method: the released model that it compares with the base}, of the methods that the study runs and do so."""
    used = {name: config["methods"][name] for name in used_methods(config["study"])}
    return {name: settings["model"] for name, settings in used.items() if "released" in NEEDS[settings["kind"]]}


def needs_of(clearing: dict[str, Any]) -> tuple[str, ...]:
    """What a clearing of the catalogue needs of a run or study beside the junk: `u`, control vectors, or `benign`."""
    return kind_of(clearing).get("needs", ())


def kind_of(clearing: dict[str, Any]) -> dict[str, Any]:
    """What the direction of a clearing declares of itself."""
    return DIRECTIONS[clearing["direction"]]


def chosen(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with only those catalogue entries that the study uses; further entries change no job."""
    study = config["study"]
    names = {
        "models": [
            *as_list(study["model"]),
            *naive_models(config).values(),
            *released(config).values(),
        ],
        **used_texts(study),
        "methods": ["base", *used_methods(study)],
        "clearings": [
            *evaluated(study, "clearings"),
            *study["measures"]["coherence"]["nulls"],
            *study["measures"]["uds"]["nulls"],
        ],
    }
    runs = {
        name: {"runs": _ours(study, settings["runs"])}
        for name, settings in study["measures"].items()
        if "runs" in settings
    }
    study = study | {"measures": {name: settings | runs.get(name, {}) for name, settings in study["measures"].items()}}
    study = {key: value for key, value in study.items() if key != "tune"}  # of which no table of the study is made
    used = {catalogue: {name: config[catalogue][name] for name in listed} for catalogue, listed in names.items()}
    used["methods"] = {name: own_settings(method) for name, method in used["methods"].items()}
    entries = [entry for catalogue in used.values() for entry in catalogue.values()]
    for key, catalogue in CATALOGUES.items():
        used[catalogue] = {entry[key]: config[catalogue][entry[key]] for entry in entries if key in entry}
    return {"study": study} | used


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
