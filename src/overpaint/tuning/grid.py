"""The settings that `study.tune` tries, written out as entries of `methods` and their runs (standard library only)."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from overpaint.declared import declared
from overpaint.errors import UserError

AXES = ("method", "layer", "c", "seed")  # of a run; other keys of a grid are settings of its method
NORMS = (4, 8)  # c in norms of the base's states where a grid says none; the published run on Zephyr-7B has 3.2
TIMES = (0.3, 0.6, 1.2)  # of `proposed_alpha`; 0.6 is what a point allows in the default world and SmolLM2-135M
RATES = (1, 2)  # of the method's own lr, where a grid says none
NEEDS, GIVES_U = (declared("unlearning/methods", name) for name in ("NEEDS", "GIVES_U"))  # by kind of method


def written_out(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration in which `study.tune.runs` are plain grids, of variants of their methods that `methods` has.

    Raises UserError for a grid of a method that nothing trains, and where a value is left out that cannot be proposed.
    """
    study, variants, runs = config["study"], {}, []
    for number, grid in enumerate(study["tune"]["runs"]):
        if _is_written_out(config, grid):
            runs.append(grid)
            continue
        for choice in _choices(config, grid, f"study.tune.runs.{number}"):
            own = {key: choice[key] for key in sorted(choice) if key not in AXES}
            name = "+".join([choice["method"], *([f"{key}-{_text(own[key])}" for key in own] or ["own"])])
            if name in config["methods"]:
                raise UserError(f"methods.{name} has the name of settings that study.tune tries: rename it.")
            variants[name] = config["methods"][choice["method"]] | {"like": choice["method"]} | own
            runs.append({key: choice[key] for key in AXES} | {"method": name})
    tune = study["tune"] | {"runs": runs}
    return config | {"methods": config["methods"] | variants, "study": study | {"tune": tune}}


def _is_written_out(config: dict[str, Any], grid: dict[str, Any]) -> bool:
    """Whether a grid is of a variant that was made here, as in a configuration that is complete."""
    name = grid["method"]
    entry = config["methods"].get(name, {}) if isinstance(name, str) else {}
    return "like" in entry and name.startswith(f"{entry['like']}+")


def proposed_alpha(c: float, attained: float, cosine: float) -> float:
    """The weight at which what retained states may lose costs as much as what hazardous ones are to gain.

    In squared norms of the base's states: the loss on texts to forget falls from c^2 to (1 - attained)^2 c^2, that on
    texts to retain rises from 0 to 2 (1 - cosine) where states turn and keep their norm.
    """
    return c**2 * (1 - (1 - attained) ** 2) / (2 * (1 - cosine))


def _choices(config: dict[str, Any], grid: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Every combination of a grid's values, and of those that are proposed where it has none of c, alpha or lr."""
    for name in _listed(grid["method"]):
        entry = config["methods"].get(name)
        if entry is None or "corpora" not in NEEDS[entry["kind"]]:
            able = [n for n, e in config["methods"].items() if "corpora" in NEEDS[e["kind"]]]
            raise UserError(f"{where}.method names {name!r}, no method that is trained: use one of {', '.join(able)}.")
        axes = {"lr": [_short(times * entry["lr"]) for times in RATES]} | grid | {"method": name}
        for values in product(*map(_listed, axes.values())):
            choice = dict(zip(axes, values, strict=True))
            yield from _with_c_and_alpha(choice, entry, config["study"]["tune"], where)


def _with_c_and_alpha(
    choice: dict[str, Any], entry: dict[str, Any], tune: dict[str, Any], where: str
) -> Iterator[dict[str, Any]]:
    kind, unit = entry["kind"], choice.get("c_unit", entry.get("c_unit"))
    if not {"c", "alpha"} <= set(choice) and (not GIVES_U[kind] or unit == "absolute"):
        lacking = next(key for key in ("c", "alpha") if key not in choice)
        raise UserError(
            f"{where} lacks {lacking!r}, which is proposed only where c is in norms of the base's states: list values "
            "of it, or set c_unit to mean_norm."
        )
    for c, times in product(_listed(choice.get("c", [*NORMS])), [1] if "alpha" in choice else TIMES):
        alpha = _short(times * proposed_alpha(c, tune["attained"], tune["cosine"]))
        yield {"alpha": alpha} | choice | {"c": c}


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _short(value: float) -> float:
    """A number of two digits."""
    return float(f"{value:.2g}")


def _text(value: Any) -> str:
    """A value as names have it."""
    if isinstance(value, list):
        return "_".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
