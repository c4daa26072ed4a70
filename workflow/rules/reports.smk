"""Reports for readers.

Needs: the tables, the notebooks in reports/, the templates of the package.
Makes: {out}/reports/{report}.html, index.html, summary.txt and {out}/figures/.
"""


rule render_report:
    """Execute one notebook with papermill and render it as a page."""
    input:
        notebook="reports/{report}.ipynb",
        templates=[path for path in TEMPLATES if "index" not in path],
        tables=expand(f"{OUT}/tables/{{table}}.parquet", table=TABLES + MEASURES),
        config=f"{OUT}/tables/config.json",
        plan=f"{OUT}/tables/plan.yaml",
    output:
        page=report(
            f"{OUT}/reports/{{report}}.html",
            caption="../report/report.rst",
            category="Reports",
            labels={"report": "{report}"},
        ),
        job=f"{OUT}/reports/{{report}}.job.json",
    log:
        f"logs/{OUT}/reports/{{report}}/render_report.log",
        notebook=f"logs/{OUT}/reports/{{report}}/{{report}}.ipynb",
    benchmark:
        f"logs/{OUT}/reports/{{report}}/render_report.tsv"
    wildcard_constraints:
        report=named(*REPORTS),
    conda:
        "../../envs/render_report.yaml"
    threads: 1
    resources:
        mem_mb=memory("render_report"),
        runtime=walltime("render_report"),
    params:
        study=STUDY["name"],
        primary=STUDY["primary"],
        code=lambda wildcards: code("render_report.py", BASE / f"reports/{wildcards.report}.ipynb"),
    message:
        "Rendering the report {wildcards.report}"
    script:
        "../scripts/render_report.py"


rule render_index:
    """Render the landing page and the summary for the terminal."""
    input:
        templates=TEMPLATES,
        tables=expand(f"{OUT}/tables/{{table}}.parquet", table=TABLES + MEASURES),
        config=f"{OUT}/tables/config.json",
        plan=f"{OUT}/tables/plan.yaml",
    output:
        index=report(
            f"{OUT}/reports/index.html",
            caption="../report/index.rst",
            category="Reports",
            labels={"report": "landing page"},
        ),
        summary=f"{OUT}/reports/summary.txt",
        figures=report(
            directory(f"{OUT}/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        job=f"{OUT}/reports/index.job.json",
    log:
        f"logs/{OUT}/reports/render_index.log",
    benchmark:
        f"logs/{OUT}/reports/render_index.tsv"
    conda:
        "../../envs/render_index.yaml"
    priority: 1  # takes longest of all reports: first, so that the others share the rest
    threads: 1
    resources:
        mem_mb=memory("render_index"),
        runtime=walltime("render_index"),
    params:
        study=STUDY["name"],
        primary=STUDY["primary"],
        code=code("render_index.py", "overpaint.report.sections"),  # finds them all for their figures
    message:
        "Rendering the landing page"
    script:
        "../scripts/render_index.py"
