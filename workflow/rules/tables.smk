"""Tidy tables of the whole study.

Needs: what every run has written.
Makes: {out}/tables/{table}.parquet and .csv for each of TABLES and of the measures, which docs/tables.md describes,
config.json and preregistration.yaml.
"""

from overpaint.tables import TABLES

MEASURES = measures.discovered()
MEASURED = {name: measure.runs(STUDY) for name, measure in MEASURES.items()}  # the runs that each measures
LABELS = {key: SETTINGS[key] for key in ("name", "model", "split")}
LABELS["headline"] = {"clearing": SETTINGS["headline"]["clearing"]}
MADE = [name for name in (*STUDY.models, *STUDY.naive.values()) if "path" not in config["models"][name]]
SHARED = dict.fromkeys(STUDY.prefix_of[run] for run in STUDY.unlearned if run in STUDY.prefix_of)
# Provenance of every job between the base models and the tables.
RECORDS = [
    *expand("<out>/{model}/checkpoint.job.json", model=MADE),
    *expand("<out>/downloads/datasets/{dataset}.job.json", dataset=STUDY.chosen["datasets"]),
    *expand("<out>/{model}/{texts}.job.json", model=STUDY.models, texts=STUDY.used_texts),
    *expand("<out>/{model}/prefix/{prefix}.job.json", model=STUDY.models, prefix=SHARED),
    *per_run("overlay.job.json"),
    *per_run("activations/none.job.json"),
    *per_run(f"activations/{SETTINGS['headline']['clearing']}.job.json", STUDY.unlearned),
    *per_run("junk.job.json", STUDY.unlearned),
    *expand("<out>/{model}/weights.job.json", model=STUDY.models),
    *per_run("answers.job.json"),
    *per_run("completions.job.json", STUDY.completed),
    *(path for name, measure in MEASURES.items() for path in per_run(f"{measure.JOB}.job.json", MEASURED[name])),
]
RECORDS = list(dict.fromkeys(RECORDS))  # a job may write what several measures need


rule gather_tables:
    """Gather every run into tidy tables with intervals."""
    input:
        answers=per_run("answers.parquet"),
        uncleared=per_run("activations/none.csv"),
        cleared=per_run(f"activations/{SETTINGS['headline']['clearing']}.csv", STUDY.unlearned),
        junk=per_run("junk.csv", STUDY.unlearned),
        depths=per_run("depths.csv", STUDY.unlearned),
        weights=expand("<out>/{model}/weights.csv", model=STUDY.models),
        history=per_run("history.csv", STUDY.unlearned),
        completions=per_run("completions.jsonl", STUDY.completed),
        jobs=RECORDS,
        before=[ancient(f"{checkpoint(model)}.job.json") for model in STUDY.taught if model not in MADE],
        preregistration=SETTINGS["preregistration"],
    output:
        **{name: f"<out>/tables/{name}.parquet" for name in TABLES},
        **{
            f"{name}_csv": report(
                f"<out>/tables/{name}.csv", caption="../report/table.rst", category="Tables", labels={"table": name}
            )
            for name in TABLES
        },
        config="<out>/tables/config.json",
        preregistration="<out>/tables/preregistration.yaml",
        job="<out>/tables/tables.job.json",
    log:
        "logs/<out>/tables/gather_tables.log",
    conda:
        "../../envs/gather_tables.yaml"
    resources:
        **needs("gather_tables"),
    params:
        config=as_text(STUDY.chosen),
        preregistration=as_text(PREREGISTRATION),
        models=STUDY.models,
        runs=STUDY.runs,
        completed=STUDY.completed,
        hazardous=STUDY.topics,
        nulls=sweep.NULLS,
        families=STUDY.families,
        code=code("gather_tables.py"),
    message:
        "Gathering the tables"
    script:
        "../scripts/gather_tables.py"


rule gather_measures:
    """Gather what is measured beside the scores into tidy tables with intervals."""
    input:
        **{name: per_run(measure.FILE, MEASURED[name]) for name, measure in MEASURES.items()},
    output:
        **{name: f"<out>/tables/{name}.parquet" for name in MEASURES},
        **{f"{name}_csv": f"<out>/tables/{name}.csv" for name in MEASURES},
        job="<out>/tables/measures.job.json",
    log:
        "logs/<out>/tables/gather_measures.log",
    conda:
        "../../envs/gather_measures.yaml"
    resources:
        **needs("gather_measures"),
    params:
        config=as_text({"study": LABELS, "clearings": STUDY.chosen["clearings"]}),
        models=STUDY.models,
        runs=STUDY.runs,
        hazardous=STUDY.topics,
        nulls=sweep.NULLS,
        measured=MEASURED,
        code=code("gather_measures.py", *measures.modules("table")),
    message:
        "Gathering the tables of measures"
    script:
        "../scripts/gather_measures.py"
