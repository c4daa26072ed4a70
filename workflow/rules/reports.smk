"""Reports for readers.

Needs: the tables, the notebooks in reports/, the templates of the package.
Makes: {out}/reports/{report}.html, index.html, summary.txt and {out}/figures/.
"""

from overpaint.report import PAGES

TEMPLATES = sorted(str(path.relative_to(BASE)) for path in BASE.glob("src/overpaint/report/templates/*"))


rule render_report:
    """Execute one notebook with papermill and render it as a page."""
    input:
        notebook="reports/{report}.ipynb",
        templates=[path for path in TEMPLATES if "index" not in path],
        tables=expand("<out>/tables/{table}.parquet", table=[*TABLES, *MEASURES]),
        config="<out>/tables/config.json",
        preregistration="<out>/tables/preregistration.yaml",
    output:
        page=report(
            "<out>/reports/{report}.html",
            caption="../report/report.rst",
            category="Reports",
            labels={"report": "{report}"},
        ),
        job="<out>/reports/{report}.job.json",
    log:
        "logs/<out>/reports/{report}/render_report.log",
        notebook="logs/<out>/reports/{report}/{report}.ipynb",
    wildcard_constraints:
        report=named(*PAGES),
    conda:
        "../../envs/render_report.yaml"
    resources:
        **needs("render_report"),
    params:
        study=SETTINGS["name"],
        primary=SETTINGS["headline"]["clearing"],
        code=lambda wildcards: code("render_report.py", BASE / f"reports/{wildcards.report}.ipynb"),
    message:
        "Rendering the report {wildcards.report}"
    script:
        "../scripts/render_report.py"


rule render_index:
    """Render the landing page and the summary for the terminal."""
    input:
        templates=TEMPLATES,
        tables=expand("<out>/tables/{table}.parquet", table=[*TABLES, *MEASURES]),
        config="<out>/tables/config.json",
        preregistration="<out>/tables/preregistration.yaml",
    output:
        index=report(
            "<out>/reports/index.html",
            caption="../report/index.rst",
            category="Reports",
            labels={"report": "landing page"},
        ),
        summary="<out>/reports/summary.txt",
        figures=report(
            directory("<out>/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        job="<out>/reports/index.job.json",
    log:
        "logs/<out>/reports/render_index.log",
    conda:
        "../../envs/render_index.yaml"
    priority: 1  # takes longest of all reports: first, so that the others share the rest
    resources:
        **needs("render_index"),
    params:
        study=SETTINGS["name"],
        primary=SETTINGS["headline"]["clearing"],
        code=code("render_index.py", "overpaint.report.sections", *measures.modules("page")),  # finds their figures
    message:
        "Rendering the landing page"
    script:
        "../scripts/render_index.py"
