"""How the results were made."""

import pandas as pd
from helpers.views import replace

from overpaint.report.sections import provenance
from overpaint.report.wording import NO_VALUE


def test_jobs_outside_version_control_are_counted_not_called_clean(view):
    known = provenance.answer([view])
    assert "1 of them with uncommitted changes" in known and "outside version control" not in known
    for missing in (None, pd.NA):
        jobs = view.provenance.astype({"git": object, "dirty": object})
        jobs.loc[0, ["git", "dirty"]] = missing
        unknown = replace(view, provenance=jobs)
        assert "1 of them outside version control" in provenance.answer([unknown])
        assert provenance.jobs([unknown]).count(NO_VALUE) == 2
