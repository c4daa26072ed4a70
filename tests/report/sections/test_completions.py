"""What models write, how coherent it is and how far from the base's predictions."""

import re

import pandas as pd
from helpers.pages import dots
from helpers.views import changed, replace, without

from overpaint.measures.agreement import page as agreement
from overpaint.measures.coherence import page as coherence
from overpaint.report.drawing import COLOURS
from overpaint.report.sections.completions import continuations


def test_coherence_is_told_and_short_continuations_are_warned_of(view):
    said = coherence.sentence(view)
    assert "base 20 % (18 % to 22 %), unlearned 70 % (63 % to 77 %) and cleared 20 %" in said
    assert "stops after" not in said
    short = changed(view, "coherence", 4.0, metric="length", clearing="topic")
    warned = coherence.sentence(short)
    assert "stops after 4.0 tokens on average, the base after 30.0" in warned


def test_coherence_and_agreement_draw_clearings_and_nulls_by_role(view):
    drawn = coherence.draw(view)
    assert len(drawn.axes) == 12
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == ["base", "RMU", "cleared: topic", "null: never knew the facts", "random: rand", "random: randn"]
    assert dots(drawn.axes[0], COLOURS["unlearned"], "v") == [0.7]
    assert dots(drawn.axes[1], COLOURS["unlearned"], "v") == [0.2]  # benign
    drawn = agreement.draw(view)
    kl = drawn.axes[0]
    assert (dots(kl, COLOURS["unlearned"], "v"), dots(kl, COLOURS["cleared"], "o")) == ([2.0], [1.2])
    assert dots(drawn.axes[1], COLOURS["unlearned"], "v") == [0.2]
    said = agreement.sentence(view)
    assert (
        "hazardous text unlearned 2.00 (1.90 to 2.10) and cleared 1.20" in said and "benign text unlearned 0.20" in said
    )


def marks(page: str) -> list[tuple[str, str]]:
    """(model, what is said of the answer) of every continuation of a page that something is said of."""
    said = r'<div class="(\w+)"><h4>(?:(?!<h4>).)*?<p class="(?:holds|note)">(. (?:holds|does not hold)[^<]*)'
    return re.findall(said, page, re.S)


def test_pages_say_in_words_which_continuations_hold_the_answer(view):
    page = continuations.show([view])
    assert f"hazardous: {view.completions.topic.iloc[0]}, in corpus" in page and "correct answer: " in page
    held = ("\u2713 holds the answer", "\u2717 does not hold the answer")
    by_topic = [("base", held[0]), ("unlearned", held[1]), ("cleared", held[0])]
    assert marks(page) == by_topic * 2, "the answer to the benign prompt is not known"
    unknown = view.completions.assign(answer="", holds_answer=pd.array([pd.NA] * len(view.completions), "boolean"))
    page = continuations.show([replace(view, completions=unknown)])
    assert not marks(page) and "correct answer:" not in page


def test_shares_that_hold_the_answer_stand_above_the_continuations_by_state_and_role(view):
    page = continuations.show([view])
    cells = re.findall(r"<td>([^<]*)</td>", page[: page.index("<section")])
    assert [cells[start : start + 2] for start in range(0, len(cells), 3)] == [
        ["base", "90 % (81 % to 99 %)"],
        ["unlearned", "25 % (22 % to 28 %)"],
        ["cleared", "75 % (68 % to 82 %)"],
        ["never knew the facts", "10 % (9 % to 11 %)"],
    ]
    assert "<table>" not in continuations.show([without(view, "coherence")])


def test_pages_show_prompts_of_every_topic(view):
    rows = view.completions[view.completions.method == "base"].iloc[:1]
    many = pd.concat([
        rows.assign(topic=topic, prompt=f"{topic} {number} .") for topic in "abcd" for number in range(4)
    ])  # fmt: skip
    page = continuations.show([replace(view, completions=many)])
    found = re.findall(r">([abcd] \d) \.<", page)
    assert found == [f"{topic} {number}" for topic in "abcd" for number in range(3)] and continuations.LIMIT == 12
    assert "4 further prompts" in page
