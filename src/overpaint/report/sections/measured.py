"""How it was measured: model, runs, main cell, questions, clearings, nulls."""

from markupsafe import Markup

from overpaint.report.markup import macros
from overpaint.report.section import section
from overpaint.report.select import cells, null_draws
from overpaint.report.view import View
from overpaint.report.wording import count

FIXED_CELL = "named in the configuration, beforehand"
RULE_CELL = "the largest c and, of those, the smallest layer; recovery plays no part in the choice"


@section
def show(view: View) -> Markup:
    """What was measured, from the tables: model, cells, seeds, questions, nulls, choice of the main cell."""
    runs = view.scores[view.scores.method != "base"]
    seeds = [seed for seed in runs.seed.unique() if seed not in ("all", "")]
    questions = view.scores[(view.scores.metric == "accuracy") & (view.scores.topic != "all")]
    n = questions.groupby(["role", "topic"], sort=False).n.max()
    texts = ", ".join(f"{topic} ({role}, n = {int(units)})" for (role, topic), units in n.dropna().items())
    clearings = [name for name in runs.clearing.unique() if name != "none"]
    draws = len(null_draws(runs)[["clearing", "draw"]].drop_duplicates())
    return macros.facts(
        {
            "Model": f"{view.model}, unlearned with {view.label}",
            "Runs": f"{count(len(cells(view.scores)), 'cell')} of layer and c, {count(len(seeds), 'seed')}"
            + (f": {', '.join(seeds)}" if seeds else ""),
            "Main cell": f"{view.cell}: {FIXED_CELL if view.fixed else RULE_CELL}",
            "Questions": f"{texts}; n counts units (facts or articles), which the bootstrap resamples",
            "Clearings": f"primary: {view.primary}, fixed beforehand; measured: {', '.join(clearings) or 'none'}",
            "Null directions": f"{draws} directions, those that are drawn anew for each seed",
        }
    )
