"""Is what a clearing brings back more than chance: against draws of nulls, and by exact tests of paired answers."""

import numpy as np
import pandas as pd

from overpaint.tables import core, scores, statistics
from overpaint.tables.core import NONE, TOGETHER, Study

SIGNS = {"accuracy": 1, "nll": -1}  # of what is better
NO_SINGLES = dict.fromkeys(["seeds", "seeds_above", "single_best", "single_back"], np.nan)
LABELS = ["topic", "role", "clearing", "kind", "other_topic", "benchmark"]


def nulls(scores: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Each clearing against each family of random draws on the hazardous questions, per run and pooled over seeds.

    A draw pooled over seeds is the mean over seeds of their draws of that number, as the clearing is of theirs. z and p
    of accuracy and nll are those of the recovered fractions, to which they are in proportion, and are defined where
    these are not. A family is fair to clearings of its own target, scope and rank. Means of draws over seeds spread
    less than the draws do: what these reach by themselves stands beside them.
    """
    recovered = scores[(scores.role == "hazardous") & scores.metric.isin(SIGNS) & scores.method.ne("base")]
    recovered = recovered[recovered.part == "all"]
    recovered, rows = recovered[recovered.clearing.map(study.recovers).astype(bool)], []
    keys = [*core.RUN, "topic", "role", "benchmark", "metric"]
    for label, part in recovered.groupby(keys, sort=False, dropna=False):
        sign, drawn = SIGNS[label[-1]], part[part.draw.notna() & part.kind.eq("null")]
        for null, scores_of_null in drawn.groupby("clearing", sort=False):
            draws = sign * scores_of_null.value.to_numpy()
            for row in part[part.draw.isna() & part.clearing.ne(null)].itertuples():
                z, p = statistics.against_draws(sign * row.value, draws)
                rows.append(
                    dict(zip(keys, label, strict=True))
                    | {"clearing": row.clearing, "kind": row.kind, "other_topic": row.other_topic}
                    | {"null": null, "value": row.value, "draws": len(draws)}
                    | {"null_mean": sign * draws.mean(), "null_sd": draws.std(ddof=1) if len(draws) > 1 else np.nan}
                    | {"null_best": sign * draws.max(), "z": z, "p": p}
                )
    numbers = ["value", "draws", "null_mean", "null_sd", "null_best", "z", "p"]
    table = core.typed(pd.DataFrame(rows, columns=[*core.RUN, *LABELS, "metric", "null", *numbers]))
    return table.merge(_of_single_draws(table, scores), how="left") if len(table) else table.assign(**NO_SINGLES)


def _of_single_draws(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """What single draws in single seeds reach, and in how many seeds a clearing is above each of its own: by cell."""
    drawn = scores[scores.draw.notna() & scores.kind.eq("null") & scores.metric.str.startswith("recovered_")]
    drawn = drawn.assign(metric=drawn.metric.str.removeprefix("recovered_"), null=drawn.clearing)
    keys = [*core.RUN, "topic", "role", "benchmark", "metric", "null"]
    back = drawn.groupby(keys, dropna=False).value.max().rename("single_back").reset_index()
    single, sign = table.merge(back, on=keys, how="left"), table.metric.map(SIGNS)
    single = single.assign(
        seeds_above=sign * single.value > sign * single.null_best, single_best=sign * single.null_best, sign=sign
    )
    cell = [name for name in [*core.RUN, *LABELS, "metric", "null"] if name != "seed"]
    of_cell = single[single.seed != "all"].groupby(cell, dropna=False)
    counted = {"seeds": ("seed", "size"), "seeds_above": ("seeds_above", "sum"), "sign": ("sign", "first")}
    found = of_cell.agg(**counted, single_best=("single_best", "max"), single_back=("single_back", "max"))
    return found.assign(single_best=found.sign * found.single_best).drop(columns="sign").reset_index()


def mcnemar(answers: dict[str, pd.DataFrame], study: Study) -> pd.DataFrame:
    """Exact McNemar tests of each clearing against the unlearned model, by benchmark, per run and pooled over seeds.

    p_holm is corrected by Holm's method over the family of each method: the primary clearing on all hazardous questions
    together, pooled over seeds, in every cell of its sweep. Other rows have none.
    """
    rows, answers = [], scores.of_split(answers, study.split)
    for members in study.cells(study.runs):
        by_run = [scores.by_clearing(answers[run], study.hazardous) for run in members]
        for run, answered in zip(members, by_run, strict=True):
            rows += _tests([answered], study.columns(run), study)
        rows += _tests(by_run, study.columns(members[0], "all"), study)
    table = core.typed(pd.DataFrame(rows, columns=[*core.RUN, *LABELS, "n", "gained", "lost", "p"]))
    whole = table.benchmark.eq("all")
    family = table.seed.eq("all") & table.kind.eq("primary")
    family &= whole if whole.any() else table.role.eq("hazardous")
    return table.assign(p_holm=table.p[family].groupby(table.method).transform(lambda p: statistics.holm(p.to_numpy())))


def _tests(runs: list[scores.Units], columns: dict, study: Study) -> list[dict]:
    """Rows of one cell or run; draws and refits have none, nor have their averages, which are no model's answers."""
    rows, several = [], {how.clearing for how, _ in runs[0] if (how.draw, how.refit) != (TOGETHER, TOGETHER)}
    for how, label, names in scores.groups(runs[0], study):
        tested = study.recovers(how.clearing) and how.clearing not in several
        if not tested or runs[0][how, names[0]].kind != "question":
            continue
        before, after = (scores.stack(runs, key, names, "correct") for key in (NONE, how))
        gained, lost = statistics.discordant(before, after)
        p = statistics.mcnemar(gained, lost)
        rows.append(columns | label | {"n": before.shape[1], "gained": gained, "lost": lost, "p": p})
    return rows
