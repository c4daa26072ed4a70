"""Tidy tables of the whole study.

Needs: what every run has written.
Makes: {out}/tables/{table}.parquet and .csv for each of TABLES, which docs/tables.md describes, config.json and plan.yaml.
"""


rule gather_tables:
    """Gather every run into tidy tables with intervals."""
    input:
        answers=every("answers.parquet"),
        uncleared=every("activations/none.csv"),
        cleared=every(f"activations/{STUDY['primary']}.csv", UNLEARNED),
        junk=every("junk.csv", UNLEARNED),
        depths=every("depths.csv", UNLEARNED),
        weights=of_models("weights.csv"),
        history=every("history.csv", UNLEARNED),
        completions=every("completions.jsonl", completed_runs()),
        jobs=jobs(),
        plan=STUDY["plan"],
    output:
        **{name: f"{OUT}/tables/{name}.parquet" for name in TABLES},
        **{
            f"{name}_csv": report(
                f"{OUT}/tables/{name}.csv", caption="../report/table.rst", category="Tables", labels={"table": name}
            )
            for name in TABLES
        },
        config=f"{OUT}/tables/config.json",
        plan=f"{OUT}/tables/plan.yaml",
        job=f"{OUT}/tables/tables.job.json",
    log:
        f"logs/{OUT}/tables/gather_tables.log",
    benchmark:
        f"logs/{OUT}/tables/gather_tables.tsv"
    conda:
        "../../envs/gather_tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("gather_tables"),
        runtime=walltime("gather_tables"),
    params:
        config=as_text(CHOSEN),
        plan=as_text(PLAN),
        models=MODELS,
        runs=RUNS,
        unlearned=UNLEARNED,
        completed=completed_runs(),
        hazardous=sweep.hazardous_topics(config),
        code=code("gather_tables.py"),
    message:
        "Gathering the tables"
    script:
        "../scripts/gather_tables.py"
