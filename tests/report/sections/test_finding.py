"""What clearing gives back: figures, sentences and checks against tables whose numbers are known."""

import re

import numpy as np
import pytest
from helpers.pages import texts
from helpers.synthetic import Tables
from helpers.views import STUDIES, replace, views_of

from overpaint.report.drawing import COLOURS
from overpaint.report.sections.finding import accuracy, chance, checks, clearings, headline, published, recovery
from overpaint.report.select import main_cell

SETTINGS = {
    "topic": {"direction": "topic", "scope": "all", "strength": 1},
    "writes": {"direction": "span", "scope": "writes", "strength": 1},
    "half": {"direction": "span", "scope": "writes", "strength": 0.5},
    "more": {"direction": "span", "scope": "writes", "strength": 1.5},
    "top_1": {"direction": "top_k", "rank": 1},
    "top_4": {"direction": "top_k", "rank": 4},
    "benign": {"direction": "benign"},
}


def test_accuracy_draws_one_panel_per_topic_with_base_first_and_every_draw(view):
    drawn = accuracy.draw(view)
    titles = [axes.get_title("left").split("\n")[0] for axes in drawn.axes]
    assert titles == ["hazardous: north", "hazardous: south", "benign: plain"]
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels[:3] == ["base", "RMU", "cleared: topic"]
    dots = [line for line in drawn.axes[0].lines if line.get_marker() == "." and len(line.get_xdata()) == 10]
    assert len(dots) == 2  # rand and randn, ten draws each
    base = next(line for line in drawn.axes[0].lines if line.get_marker() == "s")
    assert base.get_xdata()[0] == pytest.approx(0.97)
    assert base.get_color() == COLOURS["base"]


def test_accuracy_leaves_clearings_out_that_were_asked_less_than_the_primary(view, scores):
    less = scores[~((scores.clearing == "pooled") & (scores.role == "benign"))]
    drawn = [accuracy.draw(replace(view, scores=table)) for table in (scores, less)]
    shown = [[label.get_text() for label in one.axes[0].get_yticklabels()] for one in drawn]
    assert "cleared: pooled" in shown[0] and "cleared: pooled" not in shown[1] and "cleared: span" in shown[1]


def test_recovery_says_undefined_only_where_it_is(view):
    drawn = recovery.draw(view)
    assert texts(drawn).count("undefined") == 2  # one cell, two topics
    assert "undefined" not in texts(recovery.draw(replace(view, scores=Tables(undefined=()).shown())))


def test_published_numbers_are_labelled_and_hollow(view):
    drawn = published.draw(view)
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == ["published: WMDP-Bio", "published: WMDP-Cyber", "here: north", "here: south"]
    hollow = [line.get_xdata()[0] for line in drawn.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert hollow == [0.71, 0.45]
    assert "another model" in drawn.get_supxlabel()


# --- the three numbers


def test_headline_gives_the_numbers_of_the_tables(view):
    forgetting, recovered, aligned = headline.sentences(view)
    assert "64.0 points" in forgetting and "61.0 to 67.0" in forgetting and "within the 3 points" in forgetting
    assert "60 %" in recovered and "51 % to 68 %" in recovered
    assert "more than each of 21 null directions" in recovered and "on average over seeds; of one draw" in recovered
    assert "in 3 of 3 seeds it is above each null of that seed" in recovered
    assert "holds 0.31" in aligned and "on held-out prompts (rank-1 share), 0.42" in aligned
    assert "above its null range" in aligned


def of(view, **settings):
    """The view with scores, junk and main cell of other synthetic tables."""
    tables = Tables(**settings)
    scores = tables.shown()
    return replace(view, scores=scores, junk=tables.junk(), cell=main_cell(scores))


def test_headline_flips_when_a_null_beats_the_clearing(view):
    text = headline.sentences(of(view, beaten=True))[1]
    assert "does not beat every null" in text and "in 0 of 3 seeds it is above" in text
    assert "more than each" not in text


@pytest.mark.parametrize(
    ("settings", "index", "said"),
    [
        (
            {"undefined": ((2, 8.0),)},
            1,
            "is undefined: the gap to base is within 2 standard errors; 38.4 points of accuracy",
        ),
        ({"damage": 0.08}, 0, "more than the 3 points allowed"),
        ({"damage": -0.01}, 0, "benign accuracy rose by 1.0 points (95 % interval -2.0 to 4.0)"),
        ({"share": 0.05}, 1, "cannot be told from nothing"),
        ({"draws": 0}, 1, "no null direction was measured"),
        ({"clearings": ("pooled",)}, 1, "No recovered fraction of the clearing 'topic'"),
        ({"sizes": (0.1,)}, 0, "no measurable accuracy"),
    ],
)
def test_headline_says_plainly(settings, index, said, view):
    assert said in headline.sentences(of(view, **settings))[index]
    assert said not in headline.sentences(view)[index]


def test_headline_without_junk_or_runs(view):
    assert "were not measured" in headline.sentences(replace(view, junk=view.junk[:0]))[2]
    assert len(headline.sentences(replace(view, cell=None))) == 1


def test_nulls_are_known_by_their_kind_and_not_by_their_names(view, scores):
    names = {"rand": "v1.2", "randn": "topics", "ones": "none_but_ones"}
    odd = replace(view, scores=scores.assign(clearing=scores.clearing.replace(names)))
    assert "more than each of 21 null directions" in headline.sentences(odd)[1]
    expected = checks.checks(scores, "topic").best_null_accuracy
    assert checks.checks(odd.scores, "topic").best_null_accuracy.tolist() == expected.tolist()
    [axes, *_] = accuracy.draw(odd).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-3:] == ["null: none_but_ones", "random: v1.2", "random: topics"]
    treated = replace(view, scores=scores.assign(kind=scores.kind.replace({"null": "alternative"})))
    assert "no null direction was measured" in headline.sentences(treated)[1]


def test_the_junk_direction_is_found_by_the_kind_of_the_primary_clearing_and_not_by_its_name(view):
    def said(primary: str, **clearings: dict) -> str:
        return headline.sentences(replace(of(view, topics=("north",)), primary=primary, clearings=clearings))[2]

    for name in ("topic", "contrast"):
        assert "The junk direction 'pooled'" in said(name, **{name: {"direction": "pooled"}})
    assert "The junk direction 'topic'" in said("pooled")


def test_checks_follow_accuracies_averaged_over_seeds(scores):
    table = checks.checks(scores, "topic").set_index(["layer", "c"])
    assert table.beats_every_null.to_dict() == {
        cell: "undefined" if cell == (2, 1.0) else "yes" for cell in [(i, c) for i in (2, 3) for c in (1.0, 4.0, 8.0)]
    }
    assert table.benign_within_3_points.eq("yes").all()
    # One seed in which one draw does very well turns its mean, and the answer, around.
    lucky = scores.copy()
    here = (lucky.layer == 2) & (lucky.c == 8) & (lucky.metric == "accuracy")
    here &= (lucky.clearing == "rand") & lucky.draw.eq(3).fillna(False)
    lucky.loc[here & (lucky.seed == "1") & (lucky.topic == "all"), "value"] = 3.0
    row = checks.checks(lucky, "topic").set_index(["layer", "c"]).loc[(2, 8.0)]
    assert (row.beats_every_null, row.best_null_name) == ("no", "draw 3 of rand")
    worse = checks.checks(Tables(damage=0.08).shown(), "topic")
    assert worse.benign_within_3_points.eq("no").all()


# --- other clearings


def test_ranks_and_doses_are_found_by_what_clearings_are():
    assert clearings.by_rank(SETTINGS, SETTINGS) == {1: "top_1", 4: "top_4"}
    assert clearings.by_strength(SETTINGS, SETTINGS) == {0.5: "half", 1: "writes", 1.5: "more"}
    assert clearings.by_strength(["topic", "writes", "benign"], SETTINGS) == {}
    assert clearings.by_rank(["unknown"], {}) == {} and clearings.by_strength(["unknown"], {}) == {}


def test_the_figure_of_clearings_has_a_row_each_and_a_curve_over_rank_and_dose(view):
    tables = Tables(clearings=tuple(SETTINGS), layers=(2,), sizes=(8.0,))
    scores = tables.shown()
    high = (scores.clearing == "top_4") & (scores.metric == "recovered_accuracy")
    scores.loc[high, ["value", "low", "high"]] = [0.9, 0.85, 0.95]
    drawn = clearings.draw(replace(view, scores=scores, clearings=SETTINGS))
    rows, rank, strength = drawn.axes
    assert [label.get_text() for label in rows.get_yticklabels()] == ["topic", "benign", "ones"]
    assert list(rank.lines[0].get_xdata()) == [1, 4] and list(strength.lines[0].get_xdata()) == [0.5, 1, 1.5]
    assert rank.get_ylim() == strength.get_ylim()
    assert len(clearings.draw(replace(view, scores=tables.shown())).axes) == 1
    assert "No recovered fraction" in " ".join(texts(clearings.draw(replace(view, cell=None))))


def test_the_caption_tells_of_curves_only_where_they_are_drawn(tmp_path):
    one_cell = {"layers": (2,), "sizes": (8.0,)}
    [curved] = views_of(Tables(clearings=tuple(SETTINGS), **one_cell), tmp_path / "curved", SETTINGS)
    [plain] = views_of(Tables(**one_cell), tmp_path / "plain", SETTINGS)
    assert "Rank: the first k" in clearings.show([curved]) and "Strength: the share" in clearings.show([curved])
    assert "Rank:" not in clearings.show([plain]) and "Strength:" not in clearings.show([plain])


# --- chance


def test_the_sentence_on_chance_has_the_numbers_of_the_tables(views):
    said = chance.sentence(views[0])
    nulls = views[0].nulls
    row = nulls[
        (nulls.seed == "all") & (nulls.topic == "all") & (nulls.kind == "primary") & (nulls.metric == "accuracy")
        & (nulls.layer == views[0].cell.layer) & (nulls.c == views[0].cell.c) & (nulls.null == "randn")
    ].iloc[0]  # fmt: skip
    assert "accuracy after clearing 'topic'" in said
    own = f"in 3 of them above each of their own; best single draw: {row.single_best:.2f}"
    assert f"above the mean of 10 draws of randn, each a mean over 3 seeds ({own}) (p = 0.091;" in said
    assert f"{row.z:.1f} standard deviations above" in said
    assert "of 64 units 24 were gained and 3 lost (exact McNemar test: p = 0.0001, p = 0.0004 after Holm" in said


def test_the_exact_test_stands_in_a_table_where_it_was_made(views):
    heads = ["n", "gained", "lost", "p", "p holm"]
    shown = chance.show(views)
    assert re.findall("<button>(.*?)</button>", shown)[-5:] == heads and "mcnemar.csv" in shown
    [cells] = [row for row in re.findall("<tr>(.*?)</tr>", shown) if ">24</td>" in row]
    assert re.findall(">([^<>]+)</td>", cells)[:3] == ["64", "24", "3"]
    assert "mcnemar.csv" not in chance.show([replace(views[0], mcnemar=views[0].mcnemar[:0])])


def test_a_clearing_worse_than_chance_is_said_to_be_below_it():
    assert chance._times(-1.23) == "1.2 standard deviations below" and chance._times(1.23).endswith("above")
    assert chance._times(np.nan) == chance._times(np.inf) == "an unknown number of standard deviations from"


def test_without_nulls_and_tests_that_is_said(tmp_path):
    [view] = views_of(Tables(**STUDIES["nothing cleared"]), tmp_path)
    assert chance.sentence(view) == "Neither null directions nor exact tests were run in this cell."
