"""Execute one notebook and render it as a page."""

from pathlib import Path

from overpaint.jobs.job import job
from overpaint.report import notebooks

with job(snakemake) as out:
    tables = Path(snakemake.input.tables[0]).parent.resolve()
    parameters = {"tables": tables, "primary": snakemake.params.primary, "study": snakemake.params.study}
    title = snakemake.wildcards.report.title()
    notebooks.execute_report(Path(snakemake.input.notebook), parameters, Path(snakemake.log.notebook), out.page, title)
