"""Verdicts: marks and judgements of constructed maps come out as their construction says."""

import copy

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.checkout import ROOT

from overpaint.tables import core, verdicts

PLAN = yaml.safe_load((ROOT / "preregistration.yaml").read_text())
LAYERS, SIZES = (2, 3, 4), (1.0, 2.0, 4.0)


def run(model: str, layer: int | None, c: float, method: str = "rmu") -> dict:
    settings = {"method": method, "layer": layer, "c": c}
    return core.run_columns("map", model, settings, "all")


def score(role: str, metric: str, clearing: str, value: float, half: float, topic: str = "all") -> dict:
    bounds = {"value": value, "low": value - half, "high": value + half}
    kind = {"none": "none", "span": "primary"}.get(clearing, "alternative")
    return {
        "topic": topic,
        "role": role,
        "clearing": clearing,
        "kind": kind,
        "metric": metric,
        "part": "all",
        "note": "",
    } | bounds


def scores_of(lost: dict, recovered: dict, damage: dict, half: float = 0.05, model: str = "one") -> pd.DataFrame:
    """Scores of cells: accuracy lost, recovered fraction and benign accuracy lost by (layer, c)."""
    rows = []
    for cell in lost:
        own = [
            score("hazardous", "forgotten_accuracy", "none", lost[cell], half),
            score("hazardous", "forgotten_accuracy", "none", 0.99, half, "fire"),
            score("hazardous", "recovered_accuracy", "span", recovered[cell], half),
            score("hazardous", "recovered_accuracy", "topic", -1.0, half),
            score("hazardous", "recovered_nll", "span", 0.5, half),
            score("benign", "forgotten_accuracy", "none", damage[cell], half, "calm"),
            score("benign", "forgotten_accuracy", "none", damage[cell] - 0.1, half, "water"),
        ]
        rows += [run(model, *cell) | row for row in own]
    base = [core.run_columns("map", model, {"method": "base"}) | score("hazardous", "accuracy", "none", 1.0, 0.0)]
    return core.typed(base + rows)


def junk_of(found: dict, model: str = "one") -> pd.DataFrame:
    """The junk's quantities of two topics in cells: a value by (layer, c), the other topic's larger by 0.2."""
    rows = [
        core.run_columns("map", model, {"method": "rmu", "layer": layer, "c": c}, "0")
        | {"topic": topic, "direction": "topic", "quantity": quantity, "value": value + more}
        for (layer, c), value in found.items()
        for topic, more in (("fire", 0.0), ("ice", 0.2))
        for quantity in verdicts.OF_JUNK
    ]
    return core.typed(pd.DataFrame(rows, columns=[*core.RUN, "topic", "direction", "quantity", "value"]))


def everywhere(value: float) -> dict:
    return {(layer, c): value for layer in LAYERS for c in SIZES}


def of(table: pd.DataFrame, layer: int, c: float, quantity: str) -> pd.Series:
    rows = table[(table.layer == layer) & (table.c == c) & (table.quantity == quantity)]
    assert len(rows) == 1
    return rows.iloc[0]


def mapped(recovered: dict | None = None, lost: dict | None = None, damage: dict | None = None, **more) -> pd.DataFrame:
    values = lost or everywhere(0.4), recovered or everywhere(0.5), damage or everywhere(0.02)
    return verdicts.cells(scores_of(*values, **more), junk_of(everywhere(0.3)), PLAN["marks"])


def comparisons_of(
    cells: list[tuple[int, float]], p: float = 0.001, gained: int = 20, best: float = 0.5, model: str = "one"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables nulls and mcnemar of cells, the cleared accuracy 0.7 everywhere, with rows that must not be read."""
    label = {"topic": "all", "role": "hazardous", "clearing": "span", "kind": "primary", "benchmark": "all"}
    other = {"clearing": "topic", "kind": "alternative"}
    fair, tested = [], []
    for cell in cells:
        own = run(model, *cell) | label
        fair += [own | {"metric": "accuracy", "null": "rand", "value": 0.7, "null_best": best}]
        fair += [own | {"metric": "accuracy", "null": "randn", "value": 0.7, "null_best": 0.9}]
        fair += [own | {"metric": "nll", "null": "rand", "value": 0.7, "null_best": 0.9}]
        fair += [own | other | {"metric": "accuracy", "null": "rand", "value": 0.1, "null_best": 0.9}]
        fair += [own | {"topic": "fire", "metric": "accuracy", "null": "rand", "value": 0.1, "null_best": 0.9}]
        tested += [own | {"gained": gained, "lost": 10, "p": p, "p_holm": p}]
        tested += [own | {"topic": "fire", "gained": 0, "lost": 9, "p": p, "p_holm": np.nan}]
    return core.typed(fair), core.typed(tested)


def judged(table: pd.DataFrame, plan: dict = PLAN, **comparisons) -> pd.DataFrame:
    fair, tested = comparisons_of(list(everywhere(0)), **comparisons)
    return verdicts.judge(table, fair, tested, plan).set_index("hypothesis")


# --- cells


def test_a_cell_has_the_numbers_of_its_primary_clearing_on_all_hazardous_topics():
    found = mapped(recovered=everywhere(0.5) | {(3, 2.0): 0.8})
    assert len(found) == 9 * 10 and set(found.seed) == {"all"} and set(found.topic) == {"all"}
    row = of(found, 3, 2.0, "recovered_accuracy")
    assert (row.value, row.low, row.high) == pytest.approx((0.8, 0.75, 0.85))
    assert of(found, 2, 2.0, "recovered_accuracy").value == pytest.approx(0.5)
    assert of(found, 2, 2.0, "forgotten_accuracy").value == pytest.approx(0.4)


def test_damage_is_that_of_the_benign_topic_that_lost_most():
    assert of(mapped(damage=everywhere(0.07)), 2, 1.0, "damage").value == pytest.approx(0.07)


def test_what_the_junk_tells_is_a_mean_with_its_range_over_topics_and_seeds():
    row = of(mapped(), 2, 1.0, "attained")
    assert (row.value, row.low, row.high) == pytest.approx((0.4, 0.3, 0.5))


@pytest.mark.parametrize(
    "lost, half, damage, mark",
    [
        (0.40, 0.05, 0.02, ""),
        (0.09, 0.05, 0.02, "not unlearned"),  # fewer points than the rule
        (0.30, 0.31, 0.02, "not unlearned"),  # its interval reaches zero
        (0.10, 0.05, 0.15, ""),  # both at their limits
        (0.40, 0.05, 0.16, "collapsed"),
        (0.05, 0.05, 0.16, "collapsed"),
        (np.nan, 0.05, 0.02, "not unlearned"),
    ],
)
def test_cells_are_marked_by_the_rule_of_the_plan(lost, half, damage, mark):
    found = mapped(lost=everywhere(0.4) | {(3, 2.0): lost}, damage=everywhere(0.02) | {(3, 2.0): damage}, half=half)
    assert set(found.mark[(found.layer == 3) & (found.c == 2)]) == {mark}


def test_cells_of_the_only_topic_are_found_without_a_row_on_all():
    scores = scores_of(everywhere(0.4), everywhere(0.5), everywhere(0.0))
    scores = scores[scores.topic != "fire"].replace({"topic": {"all": "fire"}})
    found = verdicts.cells(scores, junk_of(everywhere(0.3)), PLAN["marks"])
    assert set(found.topic) == {"fire"} and of(found, 2, 1.0, "forgotten_accuracy").value == pytest.approx(0.4)


def test_what_was_not_measured_is_said():
    scores = scores_of(everywhere(0.4), everywhere(0.5), everywhere(0.0))
    found = verdicts.cells(scores[scores.role != "benign"], junk_of({}), PLAN["marks"])
    row = of(found, 2, 1.0, "damage")
    assert np.isnan(row.value) and row.note == "not measured" and set(found.mark) == {""}


# --- hypotheses


def test_a_map_in_which_all_is_as_claimed_holds():
    recovered = {(layer, c): 0.2 * layer + 0.01 * c for layer in LAYERS for c in SIZES}
    found = judged(mapped(recovered=recovered))
    assert found.verdict.to_dict() == dict.fromkeys(PLAN["hypotheses"], "holds")
    assert set(found.cells) == {9} and found.value["shallow"] == found.value["specific"] == 1
    assert found.value["layered"] == pytest.approx(0.4) and found.needed["layered"] == pytest.approx(0.03)
    assert found.confirmatory.all()


@pytest.mark.parametrize(
    "hypothesis, given",
    [
        ("shallow", {"p": 0.06}),
        ("shallow", {"gained": 5}),  # significant, and the wrong way round
        ("specific", {"best": 0.7}),
        ("incomplete", {"table": mapped(recovered=everywhere(0.96))}),
        ("layered", {"table": mapped(recovered={(n, c): 0.2 * c for n in LAYERS for c in SIZES})}),
    ],
)
def test_each_hypothesis_fails_where_its_reason_is_taken_away(hypothesis, given):
    recovered = {(layer, c): 0.2 * layer + 0.01 * c for layer in LAYERS for c in SIZES}
    table = given.get("table", mapped(recovered=recovered))
    found = judged(table, **{key: value for key, value in given.items() if key != "table"})
    assert found.verdict[hypothesis] == "fails"


def test_it_must_be_so_in_the_share_of_cells_that_the_plan_asks_for():
    within, beyond = everywhere(0.5), everywhere(0.99)
    half = {cell: within[cell] if i < 5 else beyond[cell] for i, cell in enumerate(within)}
    fewer = {cell: within[cell] if i < 4 else beyond[cell] for i, cell in enumerate(within)}
    assert judged(mapped(recovered=half)).loc["incomplete", ["value", "verdict"]].tolist() == [5 / 9, "holds"]
    assert judged(mapped(recovered=fewer)).loc["incomplete", ["value", "verdict"]].tolist() == [4 / 9, "fails"]


def test_marked_cells_do_not_count():
    damage = {cell: 0.3 if cell[0] == 2 else 0.0 for cell in everywhere(0)}
    found = judged(mapped(damage=damage, recovered={cell: 2.0 if cell[0] == 2 else 0.5 for cell in everywhere(0)}))
    assert set(found.cells) == {6} and found.verdict["incomplete"] == "holds" and found.value["incomplete"] == 1


def test_undefined_fractions_do_not_count():
    found = judged(mapped(recovered=everywhere(0.5) | {(2, 1.0): np.nan}))
    assert found.cells["incomplete"] == 8 and found.cells["shallow"] == 9


def test_a_judgement_needs_cells_enough():
    damage = {cell: 0.0 if cell in [(2, 1.0), (3, 1.0)] else 0.3 for cell in everywhere(0)}
    assert set(judged(mapped(damage=damage)).verdict) == {"too few cells"}
    assert set(judged(mapped(damage=everywhere(0.3))).verdict) == {"too few cells"}


def test_one_layer_alone_says_nothing_of_layers():
    one = {cell: 0.4 for cell in everywhere(0) if cell[0] == 2}
    scores = scores_of(one, one, dict.fromkeys(one, 0.0))
    found = verdicts.cells(scores, junk_of(one), PLAN["marks"])
    assert judged(found).loc["layered", ["cells", "verdict"]].tolist() == [0, "too few cells"]


def test_the_judgement_of_another_study_is_exploratory():
    plan = copy.deepcopy(PLAN) | {"studies": ["other"]}
    assert not judged(mapped(), plan).confirmatory.any()


def test_a_plan_that_names_base_models_is_confirmatory_for_these_alone():
    named = [PLAN | {"models": ["one"]}, PLAN | {"models": ["other"]}]
    assert [bool(judged(mapped(), plan).confirmatory.all()) for plan in named] == [True, False]
    both = pd.concat([judged(mapped(), PLAN), judged(mapped(), PLAN).assign(model="two", confirmatory=False)])
    assert not verdicts.together(both).query("model == 'all'").confirmatory.any()


def test_models_that_agree_decide_and_others_leave_it_undecided():
    recovered = {(layer, c): 0.2 * layer + 0.01 * c for layer in LAYERS for c in SIZES}
    parts = []
    for model, best in (("one", 0.5), ("two", 0.7)):
        values = scores_of(everywhere(0.4), recovered, everywhere(0.0), model=model)
        table = verdicts.cells(values, junk_of(everywhere(0.3), model), PLAN["marks"])
        parts.append(verdicts.judge(table, *comparisons_of(list(recovered), best=best, model=model), PLAN))
    both = verdicts.together(pd.concat(parts, ignore_index=True))
    overall = both[both.model == "all"].set_index("hypothesis")
    wanted = {"shallow": "holds", "specific": "undecided", "incomplete": "holds", "layered": "holds"}
    assert overall.verdict.to_dict() == wanted and set(overall.cells) == {18}
    assert len(both) == 12 and verdicts.together(parts[0]).equals(parts[0])


# --- settings chosen at equal damage


def chosen(damage: dict[str, float], lost: dict[str, float], budget: float = 1.0) -> dict[str, str]:
    """{method: how it is chosen} in one cell of methods with these points lost on `fit`, all variants of the first."""
    cell = (3, 4.0)
    parts = [
        scores_of({cell: lost[name]}, {cell: 0.5}, {cell: damage[name]}).assign(method=name, part="all")
        for name in damage
    ]
    fit = pd.concat(parts, ignore_index=True)
    shown = fit.assign(value=0.9 - fit.value)  # the other way round: nothing may be chosen by what is reported
    families = dict.fromkeys(damage, next(iter(damage)))
    found = verdicts.cells(shown, junk_of({}), PLAN["marks"], fit, families, budget)
    assert set(found.family) == {next(iter(damage))}
    return found.groupby("method").choice.first().to_dict()


def test_of_the_variants_within_the_budget_on_fit_the_one_that_forgets_most_is_chosen():
    damage = {"weak": 0.05, "middle": 0.009, "strong": 0.002}
    assert chosen(damage, {"weak": 0.6, "middle": 0.4, "strong": 0.2}) == {"weak": "", "middle": "chosen", "strong": ""}
    assert chosen(damage, {"weak": 0.6, "middle": 0.1, "strong": 0.2})["strong"] == "chosen"
    assert chosen(damage, {"weak": 0.6, "middle": 0.1, "strong": 0.2}, budget=5)["weak"] == "chosen"


def test_where_none_is_within_the_budget_the_one_that_damages_least_is_shown_as_over_it():
    lost = {"weak": 0.6, "strong": 0.2}
    assert chosen({"weak": 0.05, "strong": 0.02}, lost) == {"weak": "", "strong": "over budget"}


def test_each_layer_and_c_chooses_for_itself_and_other_methods_beside_it():
    cells = everywhere(0.5)
    fit = pd.concat([scores_of(everywhere(0.4), cells, everywhere(d)).assign(method=m) for m, d in
                     (("rmu", 0.02), ("rmu_30", 0.001), ("npo", 0.03))])  # fmt: skip
    found = verdicts.cells(fit, junk_of({}), PLAN["marks"], fit, {"rmu_30": "rmu"}, 1.0)
    named = found.drop_duplicates(["method", "layer", "c"]).groupby("method").choice.unique().map(list).to_dict()
    assert named == {"npo": ["over budget"], "rmu": [""], "rmu_30": ["chosen"]}


def test_without_answers_to_choose_by_nothing_is_chosen():
    assert set(mapped().choice) == {""}


def test_without_benign_questions_what_benign_texts_cost_is_held_to_a_budget():
    cell, lost = (3, 4.0), {"weak": 0.6, "middle": 0.4, "strong": 0.2}
    asked = {name: scores_of({cell: share}, {cell: 0.5}, {cell: 0.0}) for name, share in lost.items()}
    parts = [rows[rows.role == "hazardous"].assign(method=name, part="all") for name, rows in asked.items()]
    text = {"role": "benign", "metric": "perplexity", "benchmark": "t", "topic": "t", "kind": "none", "value": 10.0}
    texts = [parts[0].iloc[[1]].assign(**text | {"method": "base", "layer": pd.NA, "c": np.nan, "seed": ""})]
    for name, rise in zip(lost, (0.2, 0.04, 0.01), strict=True):
        texts.append(parts[0].iloc[[1]].assign(**text | {"method": name, "value": 10 * (1 + rise)}))
    fit = core.typed(pd.concat([*parts, *texts], ignore_index=True))

    def chosen(budget: float) -> dict[str, str]:
        found = verdicts.cells(fit, junk_of({}), PLAN["marks"], fit, dict.fromkeys(lost, "weak"), 1.0, budget)
        rises = found[found.quantity == "perplexity_rise_fit"].set_index("method").value
        assert rises.to_dict() == pytest.approx({"weak": 0.2, "middle": 0.04, "strong": 0.01})
        return {name: choice for name, choice in found.groupby("method").choice.first().items() if choice}

    assert chosen(5) == {"middle": "chosen"} and chosen(30) == {"weak": "chosen"}
    assert chosen(0.5) == {"strong": "over budget"}
