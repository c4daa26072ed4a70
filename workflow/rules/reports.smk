"""Reports for readers.

Needs: the tables, the notebooks in reports/, the templates of the package; answers and completions of single runs.
Makes: {out}/reports/{report}.html, explorer.html, index.html, summary.txt and {out}/figures/.
"""

from overpaint.report import PAGES

TEMPLATES = sorted(str(path.relative_to(BASE)) for path in BASE.glob("src/overpaint/report/templates/*"))


rule render_report:
    """Execute one notebook with papermill and render it as a page."""
    input:
        notebook="reports/{report}.ipynb",
        templates=[path for path in TEMPLATES if "index" not in path and "explorer" not in path],
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
        templates=[path for path in TEMPLATES if "explorer" not in path],
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


rule render_explorer:
    """Put single questions and their answers on a page that filters and sorts them."""
    input:
        templates=[path for path in TEMPLATES if "index" not in path],
        answers=per_run("answers.parquet", STUDY.completed),
        completions=per_run("completions.jsonl", STUDY.completed),
        questions=expand(texts("benchmarks", STUDY.asked), model=STUDY.models),
        prompts=expand(texts("prompts", STUDY.prompt_topics), model=STUDY.models),
    output:
        page=report(
            "<out>/reports/explorer.html",
            caption="../report/explorer.rst",
            category="Reports",
            labels={"report": "explorer"},
        ),
        job="<out>/reports/explorer.job.json",
    log:
        "logs/<out>/reports/render_explorer.log",
    conda:
        "../../envs/render_explorer.yaml"
    resources:
        **needs("render_explorer"),
    params:
        config=as_text({"study": LABELS | {"headline": SETTINGS["headline"]}, "clearings": STUDY.chosen["clearings"]}),
        models=STUDY.models,
        runs={run: STUDY.runs[run] for run in STUDY.completed},
        hazardous=STUDY.topics,
        nulls=sweep.NULLS,
        texts={name: "dataset" not in entry for name, entry in STUDY.asked.items()},  # whether texts are shown
        prompts=STUDY.prompt_topics,
        code=code("render_explorer.py"),
    message:
        "Rendering the explorer"
    script:
        "../scripts/render_explorer.py"
