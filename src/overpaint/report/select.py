"""Rows of the tidy tables: of a cell, of a clearing, of null directions, seeds pooled."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd


class Cell(NamedTuple):
    """One setting of the sweep: the target layer and the size c of the control vector."""

    layer: int
    c: float

    def __str__(self) -> str:
        return f"layer {self.layer:g}, c = {self.c:g}" if pd.notna(self.c) else f"layer {self.layer:g}"


def cells(scores: pd.DataFrame) -> list[Cell]:
    """Cells of the sweep, by layer, then c."""
    pairs = scores.loc[scores.method.ne("base") & scores.layer.notna(), ["layer", "c"]].drop_duplicates()
    return sorted(Cell(int(layer), float(c)) for layer, c in pairs.itertuples(index=False))


def main_cell(scores: pd.DataFrame) -> Cell | None:
    """The cell shown as main: the largest c and, of those, the smallest layer, whatever was recovered."""
    return min(cells(scores), key=lambda cell: (-cell.c, cell.layer), default=None)


def in_cell(frame: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    """Rows of one cell, without the base model's."""
    here = frame.layer.eq(cell.layer).fillna(False).astype(bool) & frame.method.ne("base")
    return frame[here & (frame.c.eq(cell.c) | (frame.c.isna() & pd.isna(cell.c)))]


def pooled(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per quantity: the row of seed `all` where there is one, else the mean over seeds.

    A mean over several seeds carries no interval (NaN), since averaged bounds are not one.
    """
    numbers = [n for n in frame.columns if pd.api.types.is_float_dtype(frame[n]) and n not in ("c", "lr", "size")]
    keys = [name for name in frame.columns if name not in {*numbers, "seed", "n", "answers", "near_ties", "note"}]
    if frame.empty or not keys:
        return frame
    has_all = frame.assign(pick=frame.seed.eq("all")).groupby(keys, dropna=False)["pick"].transform("any")
    single = frame.groupby(keys, dropna=False)["seed"].transform("size") == 1
    pick, rest = frame[frame.seed.eq("all") | single], frame[~has_all & ~single]
    if rest.empty:
        return pick
    bounds = [name for name in numbers if name.endswith(("low", "high")) and not name.startswith("null")]
    means = rest.groupby(keys, dropna=False, sort=False)
    table = means.agg({name: "mean" if name in numbers else "first" for name in rest.columns if name not in keys})
    table = table.reset_index()[list(frame.columns)].assign(seed="all")
    if "depth" not in frame:  # quartiles over prompts may be averaged over seeds, confidence bounds may not
        table[bounds] = np.nan
    return pd.concat([pick, table.astype(pick.dtypes.to_dict())], ignore_index=True)


def with_base(frame: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    """Rows of the base and of one cell, seeds pooled; none where there is no cell."""
    if cell is None:
        return frame.iloc[:0]
    return pooled(pd.concat([frame[frame.method == "base"], in_cell(frame, cell)]))


def cell_shown(table: pd.DataFrame, cell: Cell | None) -> Cell | None:
    """The main cell where the table has it, else the table's own main cell: some tables look at few runs."""
    return cell if cell in cells(table) else main_cell(table)


def rows_shown(table: pd.DataFrame, cell: Cell | None) -> pd.DataFrame:
    """Rows of the base and of the shown cell, seeds pooled, without missing values."""
    return with_base(table, cell_shown(table, cell)).dropna(subset="value")


def hazardous_topics(scores: pd.DataFrame) -> list[str]:
    """Hazardous topics in table order, without the pooled `all`."""
    return [topic for topic in scores.loc[scores.role == "hazardous", "topic"].unique() if topic != "all"]


def overall(frame: pd.DataFrame, role: str) -> pd.DataFrame:
    """Rows of one role pooled over its topics: topic `all`, or the only topic there is."""
    rows = frame[frame.role == role]
    return rows[rows.topic == "all"] if rows.topic.eq("all").any() else rows[rows.topic == next(iter(rows.topic), "")]


def roles(frame: pd.DataFrame) -> list[str]:
    """The roles that a table has rows of, hazardous first."""
    return [role for role in ("hazardous", "benign") if frame.role.eq(role).any()]


def cleared_by(rows: pd.DataFrame, clearing: str) -> pd.DataFrame:
    """Rows of one clearing: draws together, and topics by their own directions."""
    return rows[rows.clearing.eq(clearing) & rows.draw.isna() & rows.other_topic.eq(False)]


def ceiling(rows: pd.DataFrame, clearings: Mapping[str, dict], primary: str) -> pd.DataFrame:
    """Rows of the base cleared as the primary clearing does, by its settings: how much clearing itself takes."""
    wanted = clearings.get(primary, {}) | {"on_base": True}
    return rows[rows.clearing.isin([name for name, settings in clearings.items() if settings == wanted])]


def null_draws(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of single null directions: each draw, and of a null without draws its only row."""
    rows = frame[frame.kind == "null"]
    return rows[rows.draw.notna() | ~rows.clearing.isin(rows.clearing[rows.draw.notna()])]


def seeds_above(rows: pd.DataFrame, primary: str) -> tuple[int, int]:
    """In how many single seeds of a cell the primary clearing beats each null of that seed, and of how many."""
    rows = overall(rows[rows.metric.eq("accuracy") & rows.seed.ne("all")], "hazardous")
    best = null_draws(rows).groupby("seed").value.max()
    return int((cleared_by(rows, primary).set_index("seed").value.reindex(best.index) > best).sum()), len(best)


def first_where(rows: pd.DataFrame, **wanted: str) -> pd.Series | None:
    """The first row that has these values, or None."""
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    return None if rows.empty else rows.iloc[0]


def first_or_none(rows: pd.DataFrame) -> pd.Series | None:
    """The first row or None."""
    return None if rows.empty else rows.iloc[0]


def single_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of single seeds, or those of all seeds together where there are no others."""
    return rows[rows.seed != "all"] if rows.seed.ne("all").any() else rows


def mark(cells: pd.DataFrame | None, cell: Cell | None) -> str:
    """How the plan leaves a cell out: `collapsed`, `not unlearned` or nothing."""
    rows = pd.DataFrame() if cell is None or cells is None or cells.empty else in_cell(cells, cell)
    return next((mark for mark in rows.mark if mark and pd.notna(mark)), "") if len(rows) else ""
