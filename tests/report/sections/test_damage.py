"""What unlearning costs: curves over a method's variants, and what is said of the chosen ones."""

from dataclasses import replace

import pandas as pd

from overpaint.report.sections.finding import parts
from overpaint.report.sections.map import damage
from overpaint.report.wording import number, points


def with_variant(view):
    """The view with a variant of its method that costs a point less everywhere, chosen in each cell."""
    own = view.cells.assign(choice="")
    less = own.assign(method="rmu_30", choice="chosen")
    less.loc[less.quantity.eq("damage"), ["value", "low", "high"]] -= 0.01
    uds = pd.concat([view.uds, view.uds.assign(method="rmu_30")], ignore_index=True)
    return replace(view, family={"cells": pd.concat([own, less], ignore_index=True), "uds": uds})


def test_a_method_without_variants_has_no_curve(view):
    assert "variants" in damage.show([view]) and "svg" not in damage.show([view])


def test_variants_are_named_at_their_damage_and_the_chosen_one_with_its_interval(view):
    shown = with_variant(view)
    html = damage.show([shown])
    assert "<svg" in html and "rmu_30" in html
    row = next(r for r in shown.family["cells"].itertuples() if r.method == "rmu_30" and r.quantity == "damage")
    assert number(row, points) in damage.sentence(shown)
    assert "no variant was within the budget" not in damage.sentence(shown)
    assert len(damage.draw(shown).axes) == 3
    bare = replace(shown, family=shown.family | {"uds": view.uds.iloc[:0]})
    assert len(damage.draw(bare).axes) == 2 and "beneath" not in damage.numbers(bare)
    table = damage.numbers(shown)
    assert len(table) == 2 * len(shown.cells.drop_duplicates(["layer", "c"]))


def test_the_map_at_the_budget_shows_what_is_chosen_in_each_cell_and_leaves_others_out(view):
    assert not damage.draw_at_budget(view).axes
    shown = with_variant(view)
    cells = shown.family["cells"]
    texts = [text.get_text() for axes in damage.draw_at_budget(shown).axes for text in axes.texts]
    assert str(damage.show([shown])).count("<svg") == 2
    assert texts and all(text.endswith("\n30") for text in texts)
    one = cells.layer.eq(cells.layer.iloc[0]) & cells.c.eq(cells.c.iloc[0])
    over = shown.family | {"cells": cells.assign(choice=cells.choice.mask(one & cells.choice.ne(""), "over budget"))}
    kept = [text.get_text() for axes in damage.draw_at_budget(replace(shown, family=over)).axes for text in axes.texts]
    assert sum(text.endswith("\n30") for text in kept) < len(texts)


def test_a_choice_over_the_budget_is_told(view):
    shown = with_variant(view)
    cells = shown.family["cells"]
    over = shown.family | {"cells": cells.assign(choice=cells.choice.replace("chosen", "over budget"))}
    assert "no variant was within the budget" in damage.sentence(replace(shown, family=over))


def test_both_parts_stand_beside_each_other_and_a_study_without_them_says_so(view):
    table = parts.table(view)
    assert set(zip(table.questions, table.part, strict=True)) == {
        (role, part) for role in ("hazardous", "benign") for part in ("in corpus", "unseen")
    }
    assert "do not say" in parts.show([replace(view, parts=view.parts.iloc[:0])])
