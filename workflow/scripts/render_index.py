"""Render the landing page, the figures for papers and the summary for the terminal."""

from pathlib import Path

from overpaint import measures
from overpaint.jobs.job import job
from overpaint.report import index

with job(snakemake) as out:
    given = Path(snakemake.input.tables[0]).parent, snakemake.params.primary, snakemake.params.study
    measures.discovered("page")  # their figures are known from here on
    index.save_figures(*given, out.figures)
    index.render_index(*given, out.index, out.summary, shown_as=Path(snakemake.output.index))
