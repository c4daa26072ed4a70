"""Tidy tables of the whole study.

Needs: what every run has written.
Makes: {out}/tables/{table}.parquet and .csv for each of TABLES and of what is measured, which docs/tables.md describes,
config.json and plan.yaml.
"""

TABLES = [
    "cells", "hypotheses", "scores", "nulls", "mcnemar", "activations", "junk", "depths", "weights", "history",
    "completions", "provenance",
]  # fmt: skip
LABELS = {key: SETTINGS[key] for key in ("name", "model", "primary")}
TRAINED = [name for name in (*STUDY.models, STUDY.control) if name and "path" not in config["models"][name]]
# Provenance of every job between the base models and the tables.
RECORDS = [
    *expand("<out>/{model}/checkpoint.job.json", model=TRAINED),
    *expand("<out>/downloads/datasets/{dataset}.job.json", dataset=STUDY.chosen["datasets"]),
    *expand("<out>/{model}/{texts}.job.json", model=STUDY.models, texts=STUDY.used_texts),
    *expand("<out>/{model}/prefix/{prefix}.job.json", model=STUDY.models, prefix=STUDY.prefixes),
    *every("overlay.job.json"),
    *every("activations/none.job.json"),
    *every(f"activations/{SETTINGS['primary']}.job.json", STUDY.unlearned),
    *every("junk.job.json", STUDY.unlearned),
    *expand("<out>/{model}/weights.job.json", model=STUDY.models),
    *every("answers.job.json"),
    *every("completions.job.json", STUDY.completed),
    *every("depth.job.json", STUDY.measured["depth"]),
    *every("relearning.job.json", STUDY.relearned),
    *every("emergence.job.json", STUDY.emerging),
]


rule gather_tables:
    """Gather every run into tidy tables with intervals."""
    input:
        answers=every("answers.parquet"),
        uncleared=every("activations/none.csv"),
        cleared=every(f"activations/{SETTINGS['primary']}.csv", STUDY.unlearned),
        junk=every("junk.csv", STUDY.unlearned),
        depths=every("depths.csv", STUDY.unlearned),
        weights=expand("<out>/{model}/weights.csv", model=STUDY.models),
        history=every("history.csv", STUDY.unlearned),
        completions=every("completions.jsonl", STUDY.completed),
        jobs=RECORDS,
        plan=SETTINGS["plan"],
    output:
        **{name: f"<out>/tables/{name}.parquet" for name in TABLES},
        **{
            f"{name}_csv": report(
                f"<out>/tables/{name}.csv", caption="../report/table.rst", category="Tables", labels={"table": name}
            )
            for name in TABLES
        },
        config="<out>/tables/config.json",
        plan="<out>/tables/plan.yaml",
        job="<out>/tables/tables.job.json",
    log:
        "logs/<out>/tables/gather_tables.log",
    benchmark:
        "logs/<out>/tables/gather_tables.tsv"
    conda:
        "../../envs/gather_tables.yaml"
    resources:
        **needs("gather_tables"),
    params:
        config=as_text(STUDY.chosen),
        plan=as_text(PLAN),
        models=STUDY.models,
        runs=STUDY.runs,
        completed=STUDY.completed,
        hazardous=STUDY.topics,
        code=code("gather_tables.py"),
    message:
        "Gathering the tables"
    script:
        "../scripts/gather_tables.py"


rule gather_measures:
    """Gather what is measured beside the scores into tidy tables with intervals."""
    input:
        agreement=every("agreement.parquet", STUDY.measured["agreement"]),
        coherence=every("coherence.csv", STUDY.measured["coherence"]),
        depth=every("depth.parquet", STUDY.measured["depth"]),
        relearning=every("relearning.parquet", STUDY.measured["relearning"]),
        emergence=every("emergence.parquet", STUDY.measured["emergence"]),
    output:
        **{name: f"<out>/tables/{name}.parquet" for name in STUDY.measured},
        **{f"{name}_csv": f"<out>/tables/{name}.csv" for name in STUDY.measured},
        job="<out>/tables/measures.job.json",
    log:
        "logs/<out>/tables/gather_measures.log",
    benchmark:
        "logs/<out>/tables/gather_measures.tsv"
    conda:
        "../../envs/gather_measures.yaml"
    resources:
        **needs("gather_measures"),
    params:
        config=as_text({"study": LABELS, "clearings": STUDY.chosen["clearings"]}),
        models=STUDY.models,
        runs=STUDY.runs,
        hazardous=STUDY.topics,
        measured=STUDY.measured,
        code=code("gather_measures.py"),
    message:
        "Gathering the tables of measures"
    script:
        "../scripts/gather_measures.py"
