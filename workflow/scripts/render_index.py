"""Render the landing page, the figures for papers and the summary for the terminal."""

from pathlib import Path

from overpaint import depths, maps, reporting
from overpaint.job import job

with job(snakemake) as out:
    tables, params = Path(snakemake.input.tables[0]).parent, snakemake.params
    drawn = depths.all_figures, maps.all_figures
    reporting.save_figures(tables, params.primary, params.study, out.figures, *drawn)
    reporting.render_index(
        tables, params.primary, params.study, out.index, out.summary, shown_as=Path(snakemake.output.index)
    )
