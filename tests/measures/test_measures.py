"""Tables of measures: numbers equal to a direct computation, intervals around them, and nothing where nothing is."""

import numpy as np
import pandas as pd
import pytest

from overpaint import measures
from overpaint.tables import statistics
from overpaint.tables.core import APPLIED, Study
from overpaint.tables.ratios import EMPTY

RUN = ["study", "model", "method", "layer", "c", "seed"]
RUNS = {
    "base": {"kind": "base", "method": "base"},
    "rmu/0": {"kind": "rmu", "method": "rmu", "layer": 2, "c": 4, "seed": 0},
    "rmu/1": {"kind": "rmu", "method": "rmu", "layer": 2, "c": 4, "seed": 1},
    "rmu/2": {"kind": "rmu", "method": "rmu", "layer": 3, "c": 6.5, "seed": 0},
}
CLEARINGS = {n: {"direction": n, "on_base": False} for n in ("none", "topic", "rand")}
STUDY = Study("study", "model", RUNS, ["fire", "ice"], CLEARINGS, "topic", ["rand"])
TOPICS = ("fire", "ice", "calm")
KEYS = {name: module.KEYS for name, module in measures.discovered("table").items()}
TABLE = {name: module.table for name, module in measures.discovered("table").items()}


def check(table: pd.DataFrame, name: str) -> None:
    """Columns, types and intervals that every table of measures has."""
    assert list(table.columns) == [*RUN, "topic", "role", *KEYS[name], "value", "low", "high", "n", "note"]
    assert table.layer.dtype == "Int64" and set(table.study) <= {"study"}
    defined = table[table.note == ""]
    assert (defined.low <= defined.value + 1e-12).all() and (defined.value <= defined.high + 1e-12).all()
    assert table[table.note != ""].value.isna().all()
    assert set(table.role[table.topic == "calm"]) <= {"benign"}
    assert not table.duplicated([*RUN, "topic", *KEYS[name]]).any()


def pick(table: pd.DataFrame, **keys) -> pd.Series:
    chosen = np.ones(len(table), bool)
    for key, value in keys.items():
        chosen &= (table[key] == value).fillna(False).to_numpy(bool)
    assert chosen.sum() == 1, f"{chosen.sum()} rows of {keys}"
    return table[chosen].iloc[0]


@pytest.mark.parametrize("name", KEYS)
def test_a_table_of_nothing_has_its_columns(name):
    table = TABLE[name]({}, STUDY)
    check(table, name)
    assert len(table) == 0


# -- agreement


def texts(rng: np.random.Generator, size: float, clearings: dict[str, list[dict]]) -> pd.DataFrame:
    rows = [
        {"clearing": c, "direction_of": "", "draw": None, "refit": None}
        | v
        | {"benchmark": f"{t}_text", "topic": t, "id": str(i), "unit": f"{t}/{i}"}
        | {"tokens": 10 + i, "kl": size * (10 + i) * rng.random(), "agreed": 5 + i % 3}
        for c, variants in clearings.items()
        for v in variants
        for t in TOPICS
        for i in range(12)
    ]
    return pd.DataFrame(rows).astype({"draw": "Int64", "refit": "Int64"})


@pytest.fixture(scope="module")
def compared() -> dict[str, pd.DataFrame]:
    rng, clearings = np.random.default_rng(0), {"none": [{}], "rand": [{"draw": 0}, {"draw": 1}]}
    clearings["topic"] = [{"direction_of": "fire"}, {"direction_of": "ice"}]
    return {run: texts(rng, float(run != "base"), clearings if run != "base" else {"none": [{}]}) for run in RUNS}


@pytest.fixture(scope="module")
def table(compared) -> pd.DataFrame:
    return TABLE["agreement"](compared, STUDY)


def test_agreement_is_per_token(compared, table):
    check(table, "agreement")
    own = compared["rmu/0"].query("clearing == 'none' and topic == 'fire'")
    for metric, column in (("kl", "kl"), ("top1_agreement", "agreed")):
        row = pick(table, seed="0", layer=2, topic="fire", clearing="none", metric=metric)
        assert row.value == pytest.approx(own[column].sum() / own.tokens.sum()) and row.n == 12
        assert row.low < row.value < row.high
    for topic in TOPICS:
        row = pick(table, method="base", topic=topic, clearing="none", metric="kl")
        assert (row.value, row.low, row.high) == (0, 0, 0), "the base agrees with itself"


def test_seeds_are_pooled_and_the_interval_is_theirs_too(compared, table):
    both = pd.concat([compared[run].query("clearing == 'none' and topic == 'ice'") for run in ("rmu/0", "rmu/1")])
    row = pick(table, seed="all", layer=2, topic="ice", clearing="none", metric="kl")
    assert row.value == pytest.approx(both.kl.sum() / both.tokens.sum()) and row.n == 12
    assert set(table[table.method == "rmu"].seed) == {"0", "1", "all"}


def test_variants_are_told_apart_as_in_the_scores(compared, table):
    assert set(table.clearing) == {"none", "topic", "rand"}
    frame = compared["rmu/2"]
    for how, own in [
        (("topic", "primary", -1, False), "clearing == 'topic' and direction_of == 'fire'"),
        (("topic", "control", -1, True), "clearing == 'topic' and direction_of == 'ice'"),
        (("rand", "null", -1, False), "clearing == 'rand'"),
        (("rand", "null", 1, False), "clearing == 'rand' and draw == 1"),
    ]:
        part, wanted = frame.query(f"topic == 'fire' and {own}"), dict(zip(APPLIED, how, strict=True))
        row = pick(table.fillna({"draw": -1}), seed="0", layer=3, topic="fire", metric="kl", **wanted)
        assert row.value == pytest.approx(part.kl.sum() / part.tokens.sum()), how
    assert not (table.other_topic & (table.topic == "calm")).any()


def test_hazardous_texts_are_also_taken_together(compared, table):
    both = compared["rmu/2"].query("clearing == 'none' and topic != 'calm'")
    row = pick(table, seed="0", layer=3, topic="all", clearing="none", metric="kl", benchmark="all")
    assert row.value == pytest.approx(both.kl.sum() / both.tokens.sum()) and (row.n, row.role) == (24, "hazardous")


def test_texts_of_a_unit_in_two_benchmarks_count_once(compared, table):
    again = {
        run: pd.concat([frame, frame[frame.benchmark == "fire_text"].assign(benchmark="again")])
        for run, frame in compared.items()
    }
    found = TABLE["agreement"](again, STUDY)
    where = {"seed": "0", "layer": 3, "topic": "all", "clearing": "none", "metric": "kl"}
    row, before = pick(found, **where), pick(table, **where)
    assert row.n == before.n == 24
    assert (row.value, row.low, row.high) == pytest.approx((before.value, before.low, before.high))
    assert pick(found, **where | {"topic": "fire", "benchmark": "again"}).n == 12


# -- coherence


def written(tokens: int, distinct: int, held: int | None = None) -> pd.DataFrame:
    """Of six prompts a topic; the first `held` hold the answer, of None no answer is known."""
    counts = {"tokens": tokens, "distinct_1": distinct, "pairs": max(tokens - 1, 0), "distinct_2": distinct}
    counts |= {"fours": max(tokens - 3, 0), "repeated_4": 2 if tokens else 0, "nll": 1.5 * tokens}
    return pd.DataFrame(
        [
            {"topic": t, "clearing": "none", "draw": None, "naive": False, "unit": f"{i}"}
            | counts
            | {"holds_answer": np.nan if held is None else float(i < held)}
            for t in TOPICS
            for i in range(6)
        ]
    )


def test_coherence_of_known_counts():
    table = TABLE["coherence"]({"base": written(8, 4), "rmu/0": written(0, 0)}, STUDY)
    check(table, "coherence")
    wanted = {"distinct_1": 0.5, "distinct_2": 4 / 7, "repeated_4": 2 / 5, "base_nll": 1.5, "length": 8}
    for metric, value in wanted.items():
        row = pick(table, method="base", topic="all", metric=metric)
        assert (row.value, row.n) == (pytest.approx(value), 12), "both hazardous topics, whose units are others"


def test_the_share_that_holds_the_answer_is_of_prompts_whose_answer_is_known():
    base, naive = written(8, 4, held=6), written(8, 4, held=0).assign(naive=True)
    run = pd.concat([written(8, 4, held=1), written(8, 4, held=3).assign(clearing="topic")])
    run.loc[run.topic.eq("calm") & run.unit.isin(["4", "5"]), "holds_answer"] = np.nan
    table = TABLE["coherence"]({"base": pd.concat([base, naive]), "rmu/0": run}, STUDY)
    check(table, "coherence")
    for (state, topic), value in {
        ("base", "all"): 1, ("naive", "all"): 0, ("unlearned", "all"): 1 / 6, ("cleared", "all"): 1 / 2,
        ("unlearned", "calm"): 1 / 4, ("cleared", "calm"): 3 / 4, ("naive", "calm"): 0,
    }.items():  # fmt: skip
        seeds = table[~table.seed.isin(["0"])]
        row = pick(seeds, state=state, topic=topic, metric="holds_answer")
        n = 12 if topic == "all" else 6 if state in ("base", "naive") else 4
        assert (row.value, row.n) == (pytest.approx(value), n)
        assert (row.low < value < row.high) if 0 < value < 1 else (row.low == value == row.high)
    assert pick(seeds, state="unlearned", topic="calm", metric="length").n == 6


def test_answers_that_are_not_known_make_no_share_and_change_no_other():
    known, unknown = (TABLE["coherence"]({"rmu/0": written(8, 4, held)}, STUDY) for held in (2, None))
    assert "holds_answer" in set(known.metric) and "holds_answer" not in set(unknown.metric)
    rest = known[known.metric != "holds_answer"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, unknown)


def test_nulls_are_states_of_their_own():
    frame = pd.concat([written(8, 4, held=1), written(8, 4, held=2).assign(clearing="rand", draw=0)])
    table = TABLE["coherence"]({"rmu/0": frame}, STUDY)
    assert set(table.state[table.clearing == "rand"]) == {"rand"} and set(table.state) == {"unlearned", "rand"}


def test_models_that_write_nothing_have_no_coherence():
    table = TABLE["coherence"]({"rmu/0": written(0, 0)}, STUDY)
    own = table[table.seed == "0"].set_index(["topic", "metric"])
    assert own.loc[("fire", "length")].value == 0
    for metric in ("distinct_1", "distinct_2", "repeated_4", "base_nll"):
        assert own.loc[("fire", metric)].note == EMPTY


def test_a_resample_without_tokens_leaves_the_interval_of_the_others():
    frame = written(8, 4)
    frame.loc[frame.unit != "0", "tokens":] = 0
    row = pick(TABLE["coherence"]({"rmu/0": frame}, STUDY), seed="0", topic="fire", metric="distinct_1")
    assert (row.value, row.low, row.high) == (0.5, 0.5, 0.5)


# -- depth, relearning, perturbations


def test_depth_is_a_mean_over_units():
    rng = np.random.default_rng(0)
    read = pd.DataFrame(
        [
            {"state": s, "topic": t, "unit": str(i // 2), "centring": "none"}
            | {"depth": d, "quantity": q, "value": rng.random()}
            for s in ("unlearned", "cleared") for t in TOPICS for d in (0, 1) for q in ("a", "b") for i in range(10)
        ]
    )  # fmt: skip
    table = TABLE["depth"]({"rmu/0": read}, STUDY)
    check(table, "depth")
    own = read.query("state == 'cleared' and topic == 'ice' and depth == 1 and quantity == 'b'")
    row = pick(table, seed="0", topic="ice", state="cleared", depth=1, quantity="b")
    assert row.value == pytest.approx(own.value.mean()) and row.n == 5


def taught(state: str, right: dict[tuple[str, float, int], float], units: int = 20) -> pd.DataFrame:
    """A question of each of so many units a topic, answered right by a share after (texts, rate, number of texts)."""
    return pd.DataFrame(
        [
            {"state": state, "topic": t, "texts": texts, "lr": lr, "examples": n, "unit": str(i)}
            | {"correct": i < share * units, "nll": 2.0 - share}
            for t in ("fire", "ice") for (texts, lr, n), share in right.items() for i in range(units)
        ]
    )  # fmt: skip


def curves(starts: float, *ends: float) -> dict[tuple[str, float, int], float]:
    """From a share with no text to one with 8, by rate."""
    return {("hazardous", 10.0**-i, n): (starts, end)[n > 0] for i, end in enumerate(ends) for n in (0, 8)}


def relearned(unlearned, cleared, naive, base=1.0) -> pd.DataFrame:
    """The table of two seeds and the base from the curves of every state."""
    run = pd.concat([taught("unlearned", unlearned), taught("cleared", cleared)])
    others = [taught("base", curves(base, base))] + ([taught("naive", naive)] if naive else [])
    return TABLE["relearning"]({"base": pd.concat(others), "rmu/0": run, "rmu/1": run}, STUDY)


def shares(table: pd.DataFrame) -> dict[str, float]:
    """What was painted over, displaced and gone."""
    where = {"seed": "all", "layer": 2, "topic": "all", "state": "unlearned", "texts": "hazardous", "examples": 8}
    return {name: pick(table, **where, metric=name).value for name in ("painted_over", "displaced", "gone")}


def test_of_the_rates_the_best_is_told_for_every_state():
    table = relearned(curves(0.2, 0.5, 0.7), curves(0.5, 0.6, 0.4), curves(0.25, 0.2, 0.3))
    check(table, "relearning")
    where = {"seed": "all", "layer": 2, "topic": "all", "texts": "hazardous", "examples": 8}
    for state, ends in {"unlearned": (0.5, 0.7), "cleared": (0.6, 0.4)}.items():
        rows = [pick(table, **where, state=state, lr=10.0**-i, metric="accuracy") for i in range(2)]
        assert [row.value for row in rows] == pytest.approx(ends)
        best = table[table.lr.isna()]
        row = pick(best, **where, state=state, metric="accuracy")
        assert row.value == pytest.approx(max(ends)) and (row.low, row.high) == pytest.approx((row.low, row.high))
        assert pick(best, **where, state=state, metric="nll").value == pytest.approx(2 - max(ends))
        assert all(row.value >= other.value and row.low >= other.low for other in rows)
    naive = pick(table[table.lr.isna()], method="base", topic="all", state="naive", examples=8, metric="accuracy")
    assert naive.value == pytest.approx(0.3), "the maximum is fair: it is the controls', too"


def test_what_was_lost_is_painted_over_displaced_or_gone():
    table = relearned(curves(0.2, 0.5, 0.8), curves(0.5, 0.7), curves(0.25, 0.2, 0.4))
    # Of 80 points lost clearing gives 30 back and relearning 30 more. Texts mend a fifth of K's wrong answers, so 10 of
    # the 50 points that are wrong after clearing; 30 come by neither.
    assert shares(table) == pytest.approx({"painted_over": 30 / 80, "displaced": 20 / 80, "gone": 30 / 80})
    flat = relearned(curves(0.2, 0.8), curves(0.5, 0.7), curves(0.25, 0.1))
    assert shares(flat)["displaced"] == pytest.approx(30 / 80), "K that loses gains nothing"
    as_k = relearned(curves(0.2, 0.7), curves(0.5, 0.7), curves(0.25, 0.55))
    assert shares(as_k)["displaced"] == pytest.approx(0), "what one gains that never knew is no knowledge"
    from_cleared = relearned(curves(0.2, 0.6), curves(0.5, 0.9), curves(0.25, 0.25))
    assert shares(from_cleared)["displaced"] == pytest.approx(40 / 80), "after clearing, too"
    rows = table[
        table.metric.isin(["painted_over", "displaced", "gone"]) & table.seed.eq("all") & table.topic.eq("all")
    ]
    assert ((rows.low < rows.value) & (rows.value < rows.high)).all() and (rows.n == 40).all()


def test_without_a_loss_or_a_model_that_never_knew_nothing_is_said_of_them():
    table = relearned(curves(1.0, 1.0), curves(1.0, 1.0), curves(0.25, 0.25))
    assert all(np.isnan(value) for value in shares(table).values())
    found = shares(relearned(curves(0.2, 0.8), curves(0.5, 0.7), None))
    assert found.pop("painted_over") == pytest.approx(30 / 80) and all(np.isnan(value) for value in found.values())


def test_perturbations_are_means_over_draws_and_the_size_that_is_best_is_told():
    right = {("noise", 0.1): [0.2, 0.4], ("noise", 0.4): [0.5, 0.6], ("none", 0.0): [0.3], ("scaled", 0.0): [0.9]}
    frame = pd.DataFrame(
        [
            {"state": "unlearned", "perturbation": how, "size": size, "topic": t, "unit": str(i)}
            | {"value": i < share * 20}
            for (how, size), draws in right.items() for share in draws for t in TOPICS for i in range(20)
        ]
    ).astype({"value": float})  # fmt: skip
    table = TABLE["perturbations"]({"rmu/0": frame}, STUDY)
    check(table, "perturbations")
    for (how, size), draws in right.items():
        row = pick(table, seed="0", topic="calm", perturbation=how, size=size)
        assert (row.value, row.n) == (pytest.approx(np.mean(draws)), 20)
    best = table[table["size"].isna()]
    assert set(best.perturbation) == {"noise"}
    assert pick(best, seed="0", topic="all").value == pytest.approx(0.55)


def test_runs_of_a_cell_with_other_units_are_an_error():
    frames = {run: written(8, 4) for run in ("rmu/0", "rmu/1")}
    frames["rmu/1"] = frames["rmu/1"].replace({"unit": {"5": "6"}})
    with pytest.raises(ValueError, match="different units"):
        TABLE["coherence"](frames, STUDY)


# -- emergence


def traced(forgotten: int, recovered: int) -> pd.DataFrame:
    """Of 20 questions a topic, all known: at step 10 the first `forgotten` are lost, `recovered` of them cleared."""
    rows = []
    for topic in ("fire", "ice"):
        for step in (0, 10):
            lost = forgotten if step else 0
            rows += [
                {"step": step, "topic": topic, "quantity": "norm", "unit": str(i), "value": step + i} for i in range(4)
            ]
            rows += [{"step": step, "topic": topic, "quantity": "cos_u", "unit": "", "value": 0.9}] * bool(step)
            for i in range(20):
                values = {"base": 1.0, "unlearned": float(i >= lost), "cleared": float(i >= lost or i < recovered)}
                rows += [
                    {"step": step, "topic": topic, "quantity": f"correct_{state}", "unit": str(i), "value": value}
                    for state, value in values.items()
                ]
    return pd.DataFrame(rows)


def test_emergence_of_known_answers():
    table = TABLE["emergence"]({"rmu/0": traced(10, 4)}, STUDY)
    check(table, "emergence")
    for topic, count in (("fire", 20), ("all", 40)):
        own = {q: pick(table, seed="0", topic=topic, step=10, quantity=q) for q in
               ("norm", "cos_u", "forgotten_accuracy", "recovered_accuracy")}  # fmt: skip
        assert own["forgotten_accuracy"].value == 0.5 and own["recovered_accuracy"].value == pytest.approx(0.4)
        assert own["norm"].value == 11.5 and own["cos_u"].value == pytest.approx(0.9)
        assert own["recovered_accuracy"].n == count and own["recovered_accuracy"].low < 0.4


def test_before_anything_is_forgotten_nothing_can_be_recovered():
    table = TABLE["emergence"]({"rmu/0": traced(10, 4)}, STUDY)
    row = pick(table, seed="all", topic="all", step=0, quantity="recovered_accuracy")
    assert np.isnan(row.value) and row.note == statistics.UNDEFINED
    assert pick(table, seed="all", topic="all", step=0, quantity="forgotten_accuracy").value == 0
    assert not ((table.step == 0) & (table.quantity == "cos_u")).any(), "what did not move has no direction"
