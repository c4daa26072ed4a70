"""What the text asks of measures of depth and of variants and other methods."""

from pathlib import Path
from typing import Any

import pandas as pd

from overpaint.findings.kept import Kept
from overpaint.findings.phrases import Row, value
from overpaint.report.sections import split
from overpaint.report.select import Cell, first_where, in_cell, overall
from overpaint.report.view import View


def read_off(kept: Kept, state: str, quantity: str = "probe_accuracy", depth: int | None = None, **wanted: Any) -> Row:
    """What a probe reads off a state at the start of a block, by default off the final residual, less one mean.

    Of the runs of `study.measures.depth` that in the main cell.
    """
    rows = kept.depth if state in ("base", "naive") else in_cell(kept.depth, kept.cell)
    depth = kept.depth.depth.max() if depth is None else depth
    return first_where(rows, **({"centring": "global"} | wanted), state=state, quantity=quantity, depth=depth)


def relearned(kept: Kept, state: str) -> list[tuple[int, pd.Series]]:
    """(texts of the topic seen, accuracy with the best rate) of a state in the main cell, in order."""
    rows = kept.relearning if state in ("base", "naive") else in_cell(kept.relearning, kept.cell)
    rows = rows[rows.state.eq(state) & rows.texts.eq("hazardous") & rows.lr.isna() & rows.metric.eq("accuracy")]
    rows = rows.sort_values("examples")
    return [(int(row.examples), row) for _, row in rows.iterrows()]


def over_models(kept: Kept) -> dict[Cell, dict[str, pd.Series]]:
    """{cell: {painted_over, displaced, gone: its row}} at the headline's c; means over several base models."""
    method = kept.relearning.method[kept.relearning.method != "base"].iloc[0]
    return split.over_models([view_of(kept, model, method) for model in kept.models])


def view_of(kept: Kept, model: str, method: str) -> View:
    """What figures show of one base model and method, as far as its tables are kept."""
    tables = {
        name: table[table.model.eq(model) & table.method.isin(["base", method])]
        for name, table in kept.tables.items()
        if "method" in table
    }
    return View(model, method, kept.primary, kept.cell, True, Path(), kept.config["clearings"], tables)


def depth_split(kept: Kept) -> dict[int, dict[str, pd.Series]]:
    """{layer: {painted_over, displaced, gone: its row}} at the headline's c."""
    return {cell.layer: rows for cell, rows in over_models(kept).items()}


def variants(kept: Kept) -> list[dict[str, Any]]:
    """Every cell of a method with variants: what its quantities are, and the depth that is scored in it."""
    rows = []
    for (layer, c, method), cell in kept.family.groupby(["layer", "c", "method"], sort=False):
        if kept.family[kept.family.layer.eq(layer) & kept.family.c.eq(c)].method.nunique() > 1:
            named = {row.quantity: row for row in cell.itertuples()}
            depth = kept.uds[kept.uds.layer.eq(layer) & kept.uds.c.eq(c) & kept.uds.method.eq(method)]
            scored = {part: first_where(depth, quantity=part, part="all") for part in ("painted_over", "beneath")}
            rows.append({"layer": layer, "c": c, "method": method, "choice": cell.choice.iloc[0]} | scored | named)
    return sorted(rows, key=lambda row: (row["layer"], row["damage"].value))


def by_method(kept: Kept) -> list[dict[str, Any]]:
    """The one cell of each method: what it lost, what clearing and nulls give back, and the depth that is scored."""
    rows = []
    for method in kept.cells.method.unique():
        mine = {name: table[table.method == method] for name, table in kept.tables.items() if "method" in table}
        named = {row.quantity: row for row in mine["cells"].itertuples()}
        back = mine["scores"][mine["scores"].metric.eq("recovered_accuracy") & mine["scores"].draw.isna()]
        by = {name: first_where(overall(back, "hazardous"), clearing=name) for name in ("contrast", "rand", "randn")}
        scored = {part: first_where(mine["uds"], quantity=part, part="all") for part in ("painted_over", "beneath")}
        taught = mine["relearning"][mine["relearning"].lr.isna()]
        shares = {name: first_where(taught, metric=name) for name in ("displaced", "gone")}
        rows.append({"method": method, "layer": mine["cells"].layer.iloc[0]} | by | scored | shares | named)
    return rows


def perturbed(kept: Kept, cell: Cell, perturbation: str, role: str = "hazardous") -> dict[str, list[pd.Series]]:
    """{state: rows by size} under a perturbation in one cell, and of base and naive model."""
    table = kept.perturbations
    rows = pd.concat([table[table.method == "base"], in_cell(table, cell)])
    rows = rows[rows.perturbation.eq(perturbation) & rows["size"].notna() & rows.role.eq(role)].sort_values("size")
    return {state: [row for _, row in part.iterrows()] for state, part in rows.groupby("state", sort=False)}


def closer(kept: Kept) -> pd.Series:
    """The run of the main cell that was looked at more closely: its row of what a probe reads."""
    return in_cell(kept.depth, kept.cell).iloc[0]


def seen(points: list[tuple[int, pd.Series]]) -> list[str]:
    """The numbers of texts after the first, which is none."""
    return [str(texts) for texts, _ in points[1:]]


def after(points: list[tuple[int, pd.Series]]) -> list[str]:
    """The accuracies after them."""
    return [value(row) for _, row in points[1:]]


def course(kept: Kept) -> list[dict[str, Any]]:
    """What was lost and what comes back, at the steps of training at which the latter is defined."""
    wide = kept.emergence.pivot_table(index="step", columns="quantity", values="value", dropna=False)
    known = wide.dropna(subset="recovered_accuracy").reset_index()
    return known.to_dict("records")
