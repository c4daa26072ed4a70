"""Is what a clearing brings back more than chance: against draws of nulls, and by exact tests of paired answers."""

import numpy as np
import pandas as pd

from overpaint import statistics, tables

SIGNS = {"accuracy": 1, "nll": -1}  # of what is better
LABELS = ["topic", "role", "clearing", "benchmark"]


def nulls(scores: pd.DataFrame) -> pd.DataFrame:
    """Each clearing against each family of random draws on the hazardous questions, per run and pooled over seeds.

    A draw pooled over seeds is the mean over seeds of their draws of that number, as the clearing is of theirs. z and p
    of accuracy and nll are those of the recovered fractions, to which they are in proportion, and are defined where
    these are not. A family is fair to clearings of its own target, scope and rank.
    """
    asked = scores[(scores.role == "hazardous") & scores.metric.isin(SIGNS) & scores.method.ne("base")]
    asked = asked[~asked.clearing.isin(["none", "on_base"])]
    drawn = asked.clearing.str.extract(r"^(.+)/\d+$")[0]
    rows = []
    keys = [*tables.RUN, "topic", "role", "benchmark", "metric"]
    for label, part in asked.groupby(keys, sort=False, dropna=False):
        sign, family = SIGNS[label[-1]], drawn[part.index]
        for null in family.dropna().unique():
            draws = sign * part.value[family == null].to_numpy()
            for row in part[family.isna() & part.clearing.ne(null)].itertuples():
                z, p = statistics.against_draws(sign * row.value, draws)
                rows.append(
                    dict(zip(keys, label, strict=True))
                    | {"clearing": row.clearing, "null": null, "value": row.value, "draws": len(draws)}
                    | {"null_mean": sign * draws.mean(), "null_sd": draws.std(ddof=1) if len(draws) > 1 else np.nan}
                    | {"null_best": sign * draws.max(), "z": z, "p": p}
                )
    numbers = ["value", "draws", "null_mean", "null_sd", "null_best", "z", "p"]
    return tables.typed(pd.DataFrame(rows, columns=[*tables.RUN, *LABELS, "metric", "null", *numbers]))


def mcnemar(
    answers: dict[str, pd.DataFrame], runs: dict[str, dict], study: str, model: str, hazardous: list[str], primary: str
) -> pd.DataFrame:
    """Exact McNemar tests of each clearing against the unlearned model, by benchmark, per run and pooled over seeds.

    p_holm is corrected by Holm's method over the family of the study: the primary clearing on all hazardous questions
    together, pooled over seeds, in every cell of the sweep. Other rows have none.
    """
    rows = []
    for members in tables.cells(runs):
        found = [tables.by_clearing(answers[run], hazardous) for run in members]
        for run, own in zip(members, found, strict=True):
            rows += _tests([own], tables.run_columns(study, model, runs[run]), hazardous)
        rows += _tests(found, tables.run_columns(study, model, runs[members[0]], "all"), hazardous)
    table = tables.typed(pd.DataFrame(rows, columns=[*tables.RUN, *LABELS, "n", "gained", "lost", "p"]))
    whole = table.benchmark.eq("all")
    family = table.seed.eq("all") & table.clearing.eq(primary) & (whole if whole.any() else table.role.eq("hazardous"))
    return table.assign(p_holm=pd.Series(statistics.holm(table.p[family].to_numpy()), table.index[family]))


def _tests(runs: list[tables.Units], columns: dict, hazardous: list[str]) -> list[dict]:
    """Rows of one cell or run; draws and refits have none, nor have their averages, which are no model's answers."""
    rows, several = [], {name.split("/")[0] for name, _ in runs[0] if "/" in name}
    for label, names in tables.groups(runs[0], hazardous):
        clearing = label["clearing"]
        single = clearing.split("/")[0] not in {"none", "on_base", *several}
        if not single or runs[0][clearing, names[0]].kind != "question":
            continue
        before, after = (tables.stack(runs, name, names, "correct") for name in ("none", clearing))
        gained, lost = statistics.discordant(before, after)
        p = statistics.mcnemar(gained, lost)
        rows.append(columns | label | {"n": before.shape[1], "gained": gained, "lost": lost, "p": p})
    return rows
