"""The residual stream: its norm, the shift by depth, selectivity."""

import numpy as np
import pytest
from helpers.synthetic import Tables
from helpers.views import MAIN, replace

from overpaint.report import select
from overpaint.report.sections.activations import selectivity, shift, stream


def test_activations_use_a_log_scale_only_where_the_range_is_wide(view):
    assert {axes.get_yscale() for axes in stream.draw(view).axes} == {"linear"}
    wide = view.activations.copy()
    hit = (wide.method == "rmu") & (wide.clearing == "none") & (wide.depth > 2) & (wide.role == "hazardous")
    wide.loc[hit, ["norm", "norm_low", "norm_high"]] *= 100
    drawn = stream.draw(replace(view, activations=wide))
    assert [axes.get_yscale() for axes in drawn.axes] == ["log"] * 3 + ["linear"] * 3
    assert len({axes.get_ylim() for axes in drawn.axes[:3]}) == 1


def test_the_heat_map_is_symmetric_and_a_mean_over_seeds(view):
    rows = select.in_cell(view.depths, MAIN)
    rows = rows[rows.topic == "north"].copy()
    rows.loc[(rows.depth == 3) & (rows.other_depth == 5).fillna(False), "value"] = [0.2, 0.3, 0.7]
    matrix = shift.shift_matrix(rows)
    assert matrix.index.tolist() == [2, 3, 4, 5]  # nothing moved below
    assert matrix.equals(matrix.T) and np.diag(matrix).tolist() == [1] * 4
    assert matrix.loc[5, 3] == pytest.approx(0.4) and matrix.loc[2, 5] == pytest.approx(0.7)
    drawn = shift.draw_cosines(view)
    assert [axes.get_title("left") for axes in drawn.axes] == ["north", "south"]
    assert [text.get_text() for text in drawn.axes[0].texts].count("0.70") == 2
    assert "cosine of 0.80 (0.80 to 0.80) for north" in shift.sentence(view)  # depth 3 to 5


def test_a_large_model_has_a_scale_in_place_of_numbers(view):
    rows = [("n", depth, other, "cosine", 1.0) for depth in range(32) for other in range(depth, 32)]
    table = Tables().frame(
        [("rmu", 2, 8.0, "0", *row) for row in rows], ["topic", "depth", "other_depth", "quantity", "value"]
    )
    drawn = shift.draw_cosines(replace(view, depths=table))
    assert len(drawn.axes) == 2 and not drawn.axes[0].texts


def test_selectivity_counts_values_above_their_own_null(view):
    row = selectivity.selectivity(view.junk, MAIN).set_index("direction").loc["topic"]
    assert (row["mean"], row.null_high, row.above, row["of"]) == pytest.approx((0.9, 0.8, 6, 6), abs=0.02)
    low = view.junk.copy()
    low.loc[low.quantity.eq("auc_centred") & low.seed.eq("1"), "value"] = 0.75
    assert selectivity.selectivity(low, MAIN).above.tolist() == [4, 2]
    raw = view.junk.assign(quantity=view.junk.quantity.replace("auc_centred", "auc"))
    assert selectivity.selectivity(raw, MAIN).empty  # the raw one is never shown
    assert "above its null range (0.20 to 0.80) in 6 of 6" in selectivity.show([view])
