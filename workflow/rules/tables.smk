"""Tidy tables of the whole study.

Needs: what every run has written.
Makes: {out}/tables/{table}.parquet and .csv for each of TABLES, which docs/tables.md describes, config.json and plan.yaml.
"""

TABLES = [
    "cells", "hypotheses", "scores", "nulls", "mcnemar", "activations", "junk", "depths", "weights", "history",
    "completions", "provenance",
]  # fmt: skip
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
        unlearned=STUDY.unlearned,
        completed=STUDY.completed,
        hazardous=STUDY.topics,
        code=code("gather_tables.py"),
    message:
        "Gathering the tables"
    script:
        "../scripts/gather_tables.py"
