"""The map over c and layer, the verdicts, and where the base looks facts up."""

import base64
import hashlib
import html
import io
import re

import numpy as np
import pandas as pd
from helpers.pages import texts
from helpers.synthetic import HOSTILE, ONE, PLAN, TABLES, Tables
from helpers.views import STUDIES, changed, replace, views_of, without
from matplotlib.figure import Figure

from overpaint.report.charts import heat
from overpaint.report.sections.map import base_models, claims, heatmap, layers, lookup
from overpaint.report.view import View, load


def drawn(view: View, cells: pd.DataFrame, *more) -> Figure:
    """The heat maps of other cells."""
    return heatmap.draw(replace(view, cells=cells), *more)


def test_every_study_has_a_map_and_verdicts(tmp_path):
    for name, settings in STUDIES.items():
        views = views_of(Tables(**settings), tmp_path / name)
        assert 'class="lead"' in heatmap.answer(views) and "<svg" in heatmap.show(views)
        assert "claim" in claims.show(views) and "claim" in claims.sentence(views)


def test_a_cell_shows_its_value_and_half_its_interval(views):
    picture = heatmap.draw(views[0])
    panels = {axes.get_title(loc="left"): [text.get_text() for text in axes.texts] for axes in picture.axes}
    assert panels["Forgetting, points"] == ["8\n\u00b13", "32\n\u00b13", "64\n\u00b13"] * 2
    assert panels["Recovered, % of lost"][1] == "60\n\u00b18" and panels["Recovered, % of lost"][0] == "unde-\nfined"


def test_marked_cells_are_hatched_and_others_are_not(views):
    def hatched(cells: pd.DataFrame) -> list[list[tuple]]:
        return [[patch.get_xy() for patch in axes.patches] for axes in drawn(views[0], cells).axes[:5]]

    marked = [(0, 0), (0, 1)]  # c = 1 of both layers lost 8 points, fewer than 10
    assert set(views[0].cells.mark[views[0].cells.c == 1]) == {"not unlearned"}
    assert hatched(views[0].cells) == [marked] * 5
    assert not any(hatched(views[0].cells.assign(mark="")))


def test_the_answer_leaves_marked_cells_out_and_counts_them(views):
    said = heatmap.answer(views)
    assert "Over 4 cells" in said and "Left out: 2 cells not unlearned." in said
    cells = views[0].cells.copy()
    here = (cells.quantity == "recovered_accuracy") & (cells.c == 4) & (cells.layer == 3)
    cells.loc[here, ["value", "low", "high"]] = [0.9, 0.8, 0.95]
    said = html.unescape(heatmap.answer([replace(views[0], cells=cells)])).replace("\xa0", " ")
    assert "90 % (95 % interval 80 % to 95 %; layer 3, c = 4)" in said


def c_grounds(figure: Figure) -> np.ndarray:
    """Shares of the darkest ground in the panel of c, by layer and c."""
    [panel] = [axes for axes in figure.axes if axes.get_title(loc="left").startswith("c in units")]
    mesh = panel.collections[0]
    return np.asarray(mesh.norm(mesh.get_array()), dtype=float).reshape(2, 3)


def test_base_models_share_the_scale_of_c(views):
    cells = views[0].cells.assign(mark="")
    other = cells.assign(value=2 * cells.value)
    assert np.allclose(c_grounds(drawn(views[0], cells))[:, -1], 1, atol=0.01)
    assert np.allclose(c_grounds(drawn(views[0], cells, pd.concat([cells, other])))[:, -1], 0.5, atol=0.01)
    shown = heatmap.show([views[0], replace(views[0], model="other", cells=other)])
    assert shown.count("<figure>") == 2 and "other" in shown


def test_numbers_are_legible_on_every_ground():
    assert heat.legible("#EEEEEE") == heat.legible("#E69F63") == "#333333"
    assert heat.legible("#1F4E79") == heat.legible("black") == "white"


def test_an_empty_table_of_cells_says_so(view):
    assert "holds no unlearned model" in " ".join(texts(drawn(view, view.cells[:0])))


# --- verdicts


def test_verdicts_of_another_study_are_called_exploratory(views):
    shown = claims.show(views)
    assert "Exploratory: the plan was not written for this study" in shown and "Confirmatory" not in shown
    assert "a plan that was not fixed for this study" in claims.sentence(views)


def test_verdicts_of_the_study_that_was_planned_are_called_confirmatory(tmp_path):
    tables = Tables()
    tables.write(tmp_path)
    tables.hypotheses().assign(confirmatory=True).to_parquet(tmp_path / "hypotheses.parquet")
    views = load(tmp_path, "topic")
    assert "Confirmatory: the plan was fixed" in claims.show(views)
    assert "fixed before the study ran" in claims.sentence(views)


def test_verdicts_stand_beside_their_claims_and_the_model_only_where_there_are_several(views):
    other = replace(views[0], model="other", hypotheses=views[0].hypotheses.assign(model="other"))

    def heads(shown: list[View]) -> list[str]:
        return re.findall("<button>(.*?)</button>", claims.show(shown))

    assert heads(views) == ["claim", "verdict", "cells", "value", "needed"]
    assert heads([*views, other]) == ["claim", "verdict", "model", "cells", "value", "needed"]


def test_hostile_claims_are_text(views):
    table = views[0].hypotheses.assign(claim=HOSTILE, model=HOSTILE)
    shown = claims.show([replace(views[0], hypotheses=table)])
    assert "<script" not in shown and "<img" not in shown and "&lt;script&gt;" in shown


def test_verdicts_are_counted(tmp_path):
    tables = Tables()
    tables.write(tmp_path)
    verdicts = ["holds", "holds", "fails", "too few cells"]
    tables.hypotheses().assign(verdict=verdicts).to_parquet(tmp_path / "hypotheses.parquet")
    said = claims.sentence(load(tmp_path, "topic"))
    assert said.endswith(": 2 hold, 1 fails, 1 with too few cells.")


def test_over_several_models_the_joint_verdict_counts(tmp_path):
    tables = Tables(**ONE)
    tables.write(tmp_path)
    for name in TABLES:
        table = pd.read_parquet(tmp_path / f"{name}.parquet")
        pd.concat([table, table.assign(model="other")]).to_parquet(tmp_path / f"{name}.parquet")
    judged = pd.read_parquet(tmp_path / "hypotheses.parquet")
    joint = judged[judged.model == "tiny"].assign(model="all", verdict="undecided", value=np.nan)
    pd.concat([judged, joint]).to_parquet(tmp_path / "hypotheses.parquet")
    views = load(tmp_path, "topic")
    assert "4 undecided" in claims.sentence(views)
    assert claims.show(views).count("<tr>") == 1 + 3 * len(joint)
    assert claims.final(views).count("<tr>") == 1 + len(joint)
    models = re.findall(r"<td>(tiny|other|all)</td>", claims.show(views))
    assert models == ["tiny"] * len(joint) + ["other"] * len(joint) + ["all"] * len(joint)


def test_the_plan_is_quoted_whole_with_its_hash_and_date(views, tmp_path):
    shown = claims.plan(views)
    digest = hashlib.sha256(PLAN.read_bytes()).hexdigest()
    assert f"fixed on 2026-11-26, SHA-256 {digest}" in shown and "layer_over_c" in shown
    views_of(Tables(**ONE), tmp_path)
    (tmp_path / "preregistration.yaml").write_text(HOSTILE)
    hostile = claims.plan(load(tmp_path, "topic"))
    assert "<script" not in hostile and "&lt;script&gt;" in hostile and "without a date" in hostile
    (tmp_path / "preregistration.yaml").unlink()
    assert "No plan" in claims.plan(load(tmp_path, "topic"))


# --- layers against each other


def test_layers_are_told_apart_with_the_interval_of_all_base_models_where_there_are_several(view):
    one = layers.sentence([view])
    assert "layer 3 less layer 2: 10.0 points (95 % interval 2.0 to 30.0; above 0 in 98 % of resamples)" in one
    joint = view.layers.assign(model="all", models=9, value=0.26, above=8 / 9)
    several = [replace(view, layers=pd.concat([view.layers, joint]))] * 2
    assert "at the same c, on average over 9 base models: layer 3" in layers.sentence(several)
    assert "26.0 points" in layers.sentence(several) and "above 0 in 8 of 9 base models)" in layers.sentence(several)
    assert csv_of(layers.show(several)).model.tolist() == ["tiny", "all"]
    none = [without(view, "layers")]
    assert layers.sentence(none) == "" and "No two layers" in layers.show(none)


# --- over base models


def test_means_over_base_models_are_drawn_told_and_listed(view):
    columns = {"study": "synthetic", "model": "all", "method": "rmu", "seed": "all", "models": 5, "above": 0.8}
    rows = [columns | {"layer": layer, "c": view.cell.c, "value": 0.2 * layer, "low": 0.1 * layer} for layer in (2, 3)]
    table = pd.DataFrame([row | {"high": 0.3 * row["layer"], "spread": 0.15} for row in rows])
    views = [replace(view, model=name, family=dict(view.family) | {"models": table}) for name in ("a", "b")]
    said = base_models.sentence(views)
    assert f"40 % (20 % to 60 %; 4 of 5 base models above 0) at layer 2, c = {view.cell.c:g}; 60 %" in said
    page = base_models.show(views)
    shown = csv_of(page)
    assert shown.layer.tolist() == [2, 3] and shown.spread.tolist() == [0.15, 0.15] and "<svg" in page
    single = view.family["cells"].query("quantity == 'recovered_accuracy' and mark == ''")
    drawn = base_models.draw(table, pd.concat([single.assign(model=name) for name in "ab"]))
    assert {"40 %", "60 %"} <= {*texts(drawn)}
    dots = [line for line in drawn.axes[0].lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in dots] == [2, 2]
    assert "There is one base model" in base_models.show([view]) and base_models.sentence([view]) == ""


# --- where the base looks facts up


def csv_of(page: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(base64.b64decode(page.split("text/csv;base64,")[1].split('"')[0])))


def test_each_target_layer_has_what_the_base_knows_before_it_and_what_comes_back(view):
    table = csv_of(lookup.show([view])).set_index("layer")
    assert list(table.index) == [2, 3]
    assert table.logit_lens.tolist() == ["0.47 (0.41 to 0.53)", "0.57 (0.51 to 0.64)"]  # a third, a half of the way up
    assert table.linear_probe.tolist() == ["0.52 (0.46 to 0.58)", "0.62 (0.56 to 0.69)"]
    assert set(table.recovered) == {"60 %"} and set(table.cells) == {2}  # c = 1 was not unlearned
    other = changed(view, "cells", 0.1, layer=2, c=8.0, quantity="recovered_accuracy")
    assert csv_of(lookup.show([other])).recovered.tolist() == ["10 % to 60 %", "60 %"]
    marked = replace(view, cells=view.cells.assign(mark="collapsed"))
    assert csv_of(lookup.show([marked])).cells.tolist() == [0, 0]
    assert "did not look" in lookup.show([without(view, "depth")])
    before = csv_of(lookup.show([replace(view, updated=(-2, -1, 0))])).set_index("layer")
    assert before.depth.tolist() == [0, 1] and before.linear_probe.tolist()[0] == "0.30 (0.24 to 0.36)"
    whole = csv_of(lookup.show([replace(view, updated="all")]))
    assert whole.depth.tolist() == [0, 0] and set(whole.linear_probe) == {"0.30 (0.24 to 0.36)"}


def test_base_models_that_know_more_before_the_layer_are_told_from_others(view):
    def said(back: list[int], lost: list[int], layers: tuple = (3,)) -> str:
        rows = [(f"m{k}", layer, k, lost[k], own) for layer in layers for k, own in enumerate(back)]
        return lookup.sentence(pd.DataFrame(rows, columns=["model", "layer", "known", "lost", "back"]))

    some = [3, 1, 4, 1, 5, 9, 2, 6]
    assert "correlation of 1.00 at layer 3 over 8 base models (two-sided p = 0.00" in said([*range(8)], some)
    assert "correlation of -1.00" in said([*range(8)][::-1], some) and "; " in said([*range(8)], some, layers=(2, 3))
    assert said([*range(5)], some) == "", "too few"
    known = said([2, 0, 3, 1, 5, 7, 4, 6], [0, 1, 2, 3, 4, 5, 7, 6])
    assert "correlation of 1.00" not in known, "what was lost explains most"
    other = changed(view, "cells", 0.1, layer=2, c=8.0, quantity="recovered_accuracy")
    several = lookup.show([replace(other, model=name) for name in "abcdef"])
    assert "<button>model</button>" in several and "<button>method</button>" not in several
    assert "correlation" not in several, "all know as much"
