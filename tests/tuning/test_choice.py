"""The rule of choice, on settings whose accuracy, costs and states are known."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.checkout import ROOT
from helpers.configurations import SCHEMA, merged

from overpaint.errors import UserError
from overpaint.junk.clearing import LABEL_TYPES
from overpaint.study import sweep
from overpaint.study.configuration import complete
from overpaint.tables import core
from overpaint.tuning import table

TUNE = {"attained": 0.4, "cosine": 0.97, "runs": []}
STUDY = {"name": "small", "damage_budget": 1, "perplexity_budget": 5, "tune": TUNE}
BASE = {"fire": 0.9, "calm": 0.9, "rise": 0.0}
# What each setting leaves of hazardous and benign accuracy, by how much benign perplexity rises, and the states.
KEPT = {"fire": 0.4, "calm": 0.9, "rise": 0.02, "attained": 0.5, "cosine": 0.98}
BEST = KEPT | {"fire": 0.3, "calm": 0.89, "rise": 0.05, "cosine": 0.97}  # each cost at the end of its budget
BREACHES = {
    "keeps_damage": BEST | {"fire": 0.2, "calm": 0.88},
    "keeps_perplexity_rise": BEST | {"fire": 0.2, "rise": 0.06},
    "keeps_attained": BEST | {"fire": 0.2, "attained": 0.39},
    "keeps_cosine": BEST | {"fire": 0.2, "cosine": 0.96},
}


def answers(level: dict[str, float]) -> pd.DataFrame:
    """A hundred questions each on a hazardous and a benign topic, and benign texts."""
    label = {"clearing": "none", "direction_of": "", "draw": None, "refit": None, "split": "fit", "part": ""}
    rows = [
        label
        | {"benchmark": topic, "topic": topic, "id": str(n), "unit": str(n), "kind": "question", "answer": 0}
        | {"correct": n < round(100 * level[topic]), "nll": 1.0, "tokens": 0, "scores": [-1.0, -2.0, -3.0, -4.0]}
        for topic in ("fire", "calm")
        for n in range(100)
    ]
    text = {"benchmark": "calm_text", "topic": "calm", "kind": "text", "answer": -1, "correct": None, "scores": []}
    nll = 10 * (2 + np.log1p(level["rise"]))
    rows += [label | text | {"id": str(n), "unit": f"t{n}", "nll": nll, "tokens": 10} for n in range(8)]
    return pd.DataFrame(rows).astype(LABEL_TYPES)


def states(level: dict[str, float]) -> pd.DataFrame:
    rows = [("fire", "attained", level.get("attained"), 12), ("calm", "cosine", level.get("cosine"), 9)]
    return pd.DataFrame([row for row in rows if row[2] is not None], columns=list(table.STATES))


@pytest.fixture
def landscape(tmp_path):
    """landscape(levels): the files and parameters of the job that chooses among them; settings differ in alpha."""

    def make(*levels: dict[str, float]) -> tuple[SimpleNamespace, SimpleNamespace]:
        entries = {f"rmu+alpha-{n}": {"kind": "rmu", "lr": 1e-3, "alpha": n, "steps": 9} for n in range(len(levels))}
        runs = sweep.expand_runs([{"method": [*entries], "layer": 5, "c": 4, "seed": 0}], entries)
        for n, level in enumerate((BASE, *levels)):
            answers(level).to_parquet(tmp_path / f"{n}.parquet", index=False)
            states(level if n else {}).to_csv(tmp_path / f"{n}.csv", index=False)
        files = {kind: [tmp_path / f"{n}.{kind}" for n in range(len(runs))] for kind in ("parquet", "csv")}
        given = SimpleNamespace(answers=files["parquet"], states=files["csv"])
        variants = dict.fromkeys(entries, "rmu")
        return given, SimpleNamespace(study=STUDY, models=["tiny"], runs=runs, variants=variants, hazardous=["fire"])

    return make


def choice(landscape, *levels: dict[str, float]) -> list[str]:
    return table.gather(*landscape(*levels)).choice.tolist()


def test_of_the_settings_that_keep_all_budgets_the_one_that_forgets_most_is_chosen(landscape):
    found = table.gather(*landscape(KEPT, BEST, *BREACHES.values()))
    assert found.choice.tolist() == ["", "chosen", "", "", "", ""]
    assert found.alpha.tolist() == [*range(6)]
    assert found.hazardous_accuracy.tolist() == pytest.approx([0.4, 0.3] + 4 * [0.2])
    assert found[["method", "layer", "c", "seed"]].drop_duplicates().values.tolist() == [["rmu", 5, 4.0, "all"]]
    assert (found.hazardous_base[0], found.chance[0]) == (pytest.approx(0.9), 0.25)
    counts = {"n_hazardous": 100, "n_damage": 100, "n_perplexity_rise": 8, "n_attained": 12, "n_cosine": 9}
    assert found[[*counts]].iloc[0].to_dict() == counts


def test_the_columns_are_those_that_the_page_of_tables_describes(landscape):
    [section] = [part for part in (ROOT / "docs/tables.md").read_text().split("\n## ") if part.startswith("`tuning`")]
    described = re.findall(r"^- `(\w+)`: \S", section, re.MULTILINE)
    assert [*core.RUN, *described] == list(table.gather(*landscape(KEPT)).columns)


@pytest.mark.parametrize("budget", BREACHES)
def test_each_budget_alone_rules_a_setting_out(landscape, budget):
    found = table.gather(*landscape(KEPT, BREACHES[budget]))
    kept = found[[name for name in found if name.startswith("keeps_")]]
    assert kept.iloc[0].all() and [name for name in kept if not kept[name].iloc[1]] == [budget]
    assert found.choice.tolist() == ["chosen", ""] and found.used[1] > 1 >= found.used[0]
    assert choice(landscape, KEPT, BEST) == ["", "chosen"]


def test_of_equal_forgetting_the_one_that_used_less_of_its_budgets_is_chosen(landscape):
    assert choice(landscape, BEST, BEST | {"rise": 0.01, "calm": 0.9, "cosine": 0.99}) == ["", "chosen"]


def test_where_none_keeps_all_budgets_the_frontier_is_shown_and_none_is_chosen(landscape, tmp_path):
    cheap, middle, dear = (KEPT | {"fire": f, "cosine": c} for f, c in ((0.6, 0.96), (0.4, 0.95), (0.3, 0.9)))
    beaten = KEPT | {"fire": 0.5, "cosine": 0.94}
    given, params = landscape(beaten, cheap, middle, dear, dear)
    found = table.gather(given, params)
    assert found.choice.tolist() == ["", "frontier", "frontier", "frontier", ""]
    table.save(found, params, tmp_path / "tuned", "results/tuned")
    said = (tmp_path / "tuned/summary.txt").read_text()
    assert "tiny, rmu: 0 of 5 settings keep all budgets" in said and "None is chosen. The frontier" in said
    assert said.count("hazardous accuracy") == 3 and "alpha 0" not in said
    assert yaml.safe_load((tmp_path / "tuned/tiny/rmu.yaml").read_text()) == {"methods": {}}


def test_what_is_chosen_is_an_entry_that_a_study_can_run(landscape, tmp_path):
    given, params = landscape(KEPT, BEST)
    table.save(table.gather(given, params), params, tmp_path / "tuned", "results/tuned")
    said = (tmp_path / "tuned/summary.txt").read_text()
    assert "Chosen" in said and "results/tuned/tiny/rmu.yaml" in said and "alpha 1" in said and "alpha 0" not in said
    config, file = merged(), Path(tmp_path / "tuned/tiny/rmu.yaml").read_text()
    entry = yaml.safe_load(file)["methods"]["rmu_tuned"]
    assert entry == {"kind": "rmu", "lr": 1e-3, "alpha": 1, "steps": 9}
    config["methods"]["rmu_tuned"] = entry
    config["study"] |= yaml.safe_load(file.partition("run as  ")[2].splitlines()[0])["study"]
    assert "rmu_tuned/layer=5/c=4/seed=2" in sweep.expand_runs(
        complete(config, SCHEMA)["study"]["runs"], config["methods"]
    )


def test_what_a_method_cannot_measure_is_not_asked_of_it(landscape, tmp_path):
    without = {key: value for key, value in KEPT.items() if key != "attained"}
    given, params = landscape(without, BREACHES["keeps_cosine"] | {"attained": None})
    found = table.gather(given, params)
    assert found.choice.tolist() == ["chosen", ""] and found.keeps_attained.isna().all()
    assert (found.n_attained == 0).all()
    table.save(found, params, tmp_path / "tuned", "tuned")
    said = (tmp_path / "tuned/summary.txt").read_text()
    assert "benign accuracy +0.0 points (n 100)" in said and "nan" not in said and "attained 0.4, " in said


def test_seeds_are_pooled_and_the_worst_topic_counts(landscape):
    given, params = landscape(KEPT, BEST)
    params.runs = sweep.Runs(params.runs)
    run, other = [run for run in params.runs if run != "base"]
    params.runs[other] = params.runs[run] | {"seed": 1}
    more = pd.DataFrame([("ice", "attained", 0.1, 3), ("ice", "cosine", 1.0, 3)], columns=list(table.STATES))
    for path in given.states[1:]:
        pd.concat([pd.read_csv(path), more]).to_csv(path, index=False)
    [row] = table.gather(given, params).to_dict("records")
    assert (row["seeds"], row["seed"]) == (2, "all") and row["hazardous_accuracy"] == pytest.approx(0.35)
    assert (row["attained"], row["n_attained"], row["cosine"]) == (0.1, 3, pytest.approx(0.975))


def test_a_study_that_tries_nothing_is_told_so(landscape):
    given, params = landscape()
    with pytest.raises(UserError, match=r"study\.tune\.runs is empty: list settings to try there"):
        table.gather(given, params)
