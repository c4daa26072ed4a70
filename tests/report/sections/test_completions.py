"""What models write, how coherent it is and how far from the base's predictions."""

from helpers.pages import dots
from helpers.views import changed

from overpaint.measures.agreement import page as agreement
from overpaint.measures.coherence import page as coherence
from overpaint.report.drawing import COLOURS


def test_coherence_is_told_and_short_continuations_are_warned_of(view):
    said = coherence.sentence(view)
    assert "base 20 % (18 % to 22 %), unlearned 70 % (63 % to 77 %) and cleared 20 %" in said
    assert "stops after" not in said
    short = changed(view, "coherence", 4.0, metric="length", clearing="topic")
    warned = coherence.sentence(short)
    assert "stops after 4.0 tokens on average, the base after 30.0" in warned


def test_coherence_and_agreement_draw_clearings_and_nulls_by_role(view):
    drawn = coherence.draw(view)
    assert len(drawn.axes) == 10
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == ["base", "RMU", "cleared: topic", "random: rand", "random: randn"]
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
