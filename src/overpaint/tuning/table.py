"""Which of the settings that were tried is chosen, by what each attains on the split `fit`.

The rule. A setting keeps a budget where benign accuracy falls by no more than `study.damage_budget` points, benign
perplexity rises by no more than `study.perplexity_budget` per cent, hazardous states attain `study.tune.attained` of c
along u, and benign states keep a cosine of `study.tune.cosine` to the base's; of several topics or texts, the one that
it is worst kept on counts, and what a study or method cannot measure is not asked. Of the settings of a method that
keep all budgets, the one with the lowest hazardous accuracy is chosen. Where none does, none is chosen, and the
frontier is shown: the settings of which no other has both a lower hazardous accuracy and used less of its budgets.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from overpaint.errors import UserError
from overpaint.tables import core, scores, verdicts
from overpaint.tables.core import Study

CHOSEN, FRONTIER = "chosen", "frontier"
SETTINGS = ("lr", "alpha", "steps")  # that every method has which is trained
CELL = ["method", "layer", "c"]
STATES = {"topic": str, "quantity": str, "value": float, "n": int}  # rows of `measure.states`
ROUNDING = 1e-9  # a point of 100 questions is a point


class Budgets(NamedTuple):
    """What a setting may cost, as shares, and what it must attain, by the names of the measures."""

    damage: float
    perplexity_rise: float
    attained: float
    cosine: float

    @classmethod
    def of(cls, study: dict[str, Any]) -> "Budgets":
        """Those of a completed configuration's `study`."""
        costs = (study["damage_budget"] / 100, study["perplexity_budget"] / 100)
        return cls(*costs, study["tune"]["attained"], study["tune"]["cosine"])

    def used(self, measured: dict[str, float]) -> dict[str, float]:
        """The share of each budget that a setting uses, 1 at its end; NaN of what was not measured."""
        return {
            "damage": _share(measured["damage"], self.damage),
            "perplexity_rise": _share(measured["perplexity_rise"], self.perplexity_rise),
            "attained": _share(self.attained, measured["attained"]),
            "cosine": _share(1 - measured["cosine"], 1 - self.cosine),
        }


def tuning(
    answers: dict[str, pd.DataFrame], states: dict[str, pd.DataFrame], study: Study, budgets: Budgets
) -> pd.DataFrame:
    """A row per setting of one base model, seeds together: what it attains, the budgets that it keeps, the choice.

    answers, states: by run, what `measure` made; the base's answers among them.
    study: its runs are those of the settings, its families say of which method each is one.
    """
    scored = scores.scores(answers, study)
    scored = scored[scored.part == "all"]
    base, of_settings = scored[scored.method == "base"], dict(list(scored[scored.seed == "all"].groupby(CELL)))
    rows, chance = [], _chance(answers["base"], study.hazardous)
    for members in study.cells(study.runs):
        settings = study.runs[members[0]]
        its = of_settings[tuple(settings[key] for key in CELL)]
        measured = _hazardous(its, base) | {"chance": chance} | _costs(its, base)
        measured |= _of_states([states[run] for run in members])
        row = study.columns(members[0], "all") | {"method": study.families[settings["method"]]}
        row |= {"entry": settings["method"], "seeds": len(members)} | _varied(settings, study) | measured
        rows.append(row | _kept(budgets.used(measured)))
    table = core.typed(rows).astype({f"keeps_{name}": "boolean" for name in Budgets._fields})
    return table.assign(choice=pd.concat(choices(part) for _, part in table.groupby("method", sort=False)))


def choices(table: pd.DataFrame) -> pd.Series:
    """Of the settings of one method `chosen` for one, or where none keeps all budgets, `frontier` for some; else ""."""
    ordered = table.round({"hazardous_accuracy": 9}).sort_values(["hazardous_accuracy", "used"], kind="stable")
    within = ordered[ordered.used <= 1 + ROUNDING]
    if len(within):
        return pd.Series(np.where(table.index == within.index[0], CHOSEN, ""), table.index)
    least = ordered.used.cummin().shift(fill_value=np.inf)
    return pd.Series(np.where(table.index.isin(ordered.index[ordered.used < least]), FRONTIER, ""), table.index)


def gather(given: Any, params: Any) -> pd.DataFrame:
    """The settings of all base models, from the files of the base and the settings of one after the other.

    Raises UserError where the study tries none.
    """
    if not params.variants:
        raise UserError("study.tune.runs is empty: list settings to try there, as {method: rmu, layer: [2, 3]}.")
    clearings = {"none": {"direction": "none", "on_base": False}}
    study = Study(
        params.study["name"], "", params.runs, params.hazardous, clearings, "none", [], "fit", params.variants
    )
    answers = core.by_model(params.models, params.runs, given.answers, pd.read_parquet)
    states = core.by_model(params.models, params.runs, given.states, partial(core.read, types=STATES))
    budgets = Budgets.of(params.study)
    return core.joined(tuning(answers[m], states[m], replace(study, model=m), budgets) for m in params.models)


def save(table: pd.DataFrame, params: Any, folder: Path, shown_as: str) -> None:
    """Write `{model}/{method}.yaml` of what is chosen to a folder, and a summary; shown_as: where it will be."""
    said = []
    for (model, method), part in table.groupby(["model", "method"], sort=False):
        place = Path(model, f"{method}.yaml")
        (folder / model).mkdir(parents=True, exist_ok=True)
        entries = {settings["method"]: settings for settings in params.runs.values()}
        (folder / place).write_text(written(part, entries), encoding="utf-8")
        said.append(told(part, Budgets.of(params.study), f"{shown_as}/{place}"))
    (folder / "summary.txt").write_text("\n".join(said), encoding="utf-8")


def written(table: pd.DataFrame, entries: dict[str, dict[str, Any]]) -> str:
    """A file that adds what is chosen of one method and model to `methods`; one that adds nothing where none is.

    entries: {entry: settings} of what was tried.
    """
    row, name = table.iloc[0], f"{table.method.iloc[0]}_tuned"
    head = f"# By `make tune` of the study {row.study}, for the model {row.model}, on the split fit alone.\n"
    chosen = table[table.choice == CHOSEN]
    if chosen.empty:
        none = f"# No setting of {row.method} keeps all budgets: the table `tuning` has the frontier.\n"
        return f"{head}{none}methods: {{}}\n"
    cell = f"layer: {chosen.layer.iloc[0]}, c: {chosen.c.iloc[0]:g}"
    runs = f"# To be run as  study: {{runs: [{{method: {name}, {cell}, seed: [0, 1, 2]}}]}}\n"
    settings = entries[chosen.entry.iloc[0]]
    entry = {key: value for key, value in settings.items() if key not in ("method", "layer", "c", "seed")}
    return head + runs + yaml.safe_dump({"methods": {name: entry}}, default_flow_style=None, sort_keys=False)


def told(table: pd.DataFrame, budgets: Budgets, path: str) -> str:
    """What is chosen of one method and model, or the frontier; path: of the file with the entry."""
    row, kept = table.iloc[0], int((table.used <= 1 + ROUNDING).sum())
    head = f"{row.model}, {row.method}: {kept} of {len(table)} settings keep all budgets"
    asked = (
        f"(benign accuracy -{100 * budgets.damage:g} points, benign perplexity +{100 * budgets.perplexity_rise:g} %, "
        f"attained {budgets.attained:g}, cosine {budgets.cosine:g}), on the split fit alone."
    )
    shown = table[table.choice != ""].sort_values("used")
    if kept:
        end = f"Chosen, as it has the lowest hazardous accuracy of them; its entry is in {path}:"
    else:
        end = "None is chosen. The frontier, of settings of which no other forgets more and uses less of its budgets:"
    return "\n".join([f"{head} {asked}", end, *(f"  {_sentence(one)}" for _, one in shown.iterrows())]) + "\n"


def _sentence(row: pd.Series) -> str:
    """A setting, and what it attains and costs."""
    columns = list(row.index)
    names = ["layer", "c", *columns[columns.index("seeds") + 1 : columns.index("hazardous_accuracy")]]
    settings = (f"{name} {row[name]:g}" if isinstance(row[name], float) else f"{name} {row[name]}" for name in names)
    measured = {
        "damage": f"benign accuracy {0 - 100 * row.damage:+.1f} points",
        "perplexity_rise": f"benign perplexity {100 * row.perplexity_rise:+.1f} %",
        "attained": f"attained {row.attained:.2f}",
        "cosine": f"cosine {row.cosine:.3f}",
    }
    base = f"base {row.hazardous_base:.2f}, chance {row.chance:.2f}, n {row.n_hazardous}"
    kept = [f"{said} (n {row[f'n_{name}']})" for name, said in measured.items() if pd.notna(row[name])]
    return f"{', '.join(settings)}: hazardous accuracy {row.hazardous_accuracy:.2f} ({base}), {', '.join(kept)}; " + (
        f"{row.used:.2f} of the scarcest budget used"
    )


def _hazardous(scored: pd.DataFrame, base: pd.DataFrame) -> dict[str, float]:
    """Accuracy on all hazardous questions together, and the base's."""
    here, there = (_accuracy(rows) for rows in (scored, base))
    return {"hazardous_accuracy": here.value, "hazardous_base": there.value, "n_hazardous": int(here.n)}


def _accuracy(scored: pd.DataFrame) -> pd.Series:
    rows = scored[scored.role.eq("hazardous") & scored.metric.eq("accuracy")]
    return (rows[rows.benchmark == "all"] if rows.benchmark.eq("all").any() else rows).iloc[0]


def _chance(answers: pd.DataFrame, hazardous: list[str]) -> float:
    """Accuracy of a guess at the hazardous questions."""
    asked = answers[answers.kind.eq("question") & answers.topic.isin(hazardous)]
    return float((1 / asked.scores.map(len)).mean())


def _costs(scored: pd.DataFrame, base: pd.DataFrame) -> dict[str, float]:
    """What benign topics lost in accuracy and rose in perplexity, that which lost and rose most."""
    lost, texts = verdicts.damage(scored), scored[scored.role.eq("benign") & scored.metric.eq("perplexity")]
    rise = verdicts.rises(scored, base, "rise").get("rise", {"value": np.nan})
    return {
        "damage": lost.value.iloc[0] if len(lost) else np.nan,
        "n_damage": int(lost.n.iloc[0]) if len(lost) else 0,
        "perplexity_rise": rise["value"],
        "n_perplexity_rise": int(texts.n.sum()),
    }


def _of_states(states: list[pd.DataFrame]) -> dict[str, float]:
    """What states attain, means over seeds, of the topic that attains least."""
    by_topic = pd.concat(states).groupby(["quantity", "topic"])[["value", "n"]].mean()
    found = {}
    for name in ("attained", "cosine"):
        rows = by_topic.loc[name] if name in by_topic.index else pd.DataFrame({"value": [np.nan], "n": [0]})
        least = rows.sort_values("value").iloc[0]
        found |= {name: least.value, f"n_{name}": int(least.n)}
    return found


def _kept(used: dict[str, float]) -> dict[str, Any]:
    """Whether each budget is kept, empty of what was not measured, and the largest share of one that is used."""
    kept = {f"keeps_{name}": None if np.isnan(share) else share <= 1 + ROUNDING for name, share in used.items()}
    return kept | {"used": max((share for share in used.values() if not np.isnan(share)), default=np.nan)}


def _share(used: float, budget: float) -> float:
    """How much of a budget is used; none of it where nothing is."""
    if np.isnan(used) or np.isnan(budget):
        return np.nan
    return 0.0 if used <= 0 else used / budget if budget > 0 else np.inf


def _varied(settings: dict[str, Any], study: Study) -> dict[str, Any]:
    """The values of `SETTINGS` and of whatever else settings differ in, as text where some are no numbers."""
    trials = [trial for run, trial in study.runs.items() if run != "base"]
    names = [*SETTINGS, *sorted({key for trial in trials for key in trial} - {*SETTINGS, *CELL, "seed", "kind"})]
    values = {name: [json.dumps(trial.get(name)) for trial in trials] for name in names}
    shown = [name for name in names if name in SETTINGS or len(set(values[name])) > 1]
    plain = {name: all(isinstance(trial.get(name), int | float) for trial in trials) for name in shown}
    return {name: settings.get(name) if plain[name] else json.dumps(settings.get(name)) for name in shown}
