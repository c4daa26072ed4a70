"""A closer look at chosen runs: what they know by depth, how they relearn, how their training went.

Needs: the base model, overlays, junk directions, questions; forget corpora; activations and snapshots.
Makes: {out}/{model}/{run}/depth.parquet, relearning.parquet, emergence.parquet, and the tables
{out}/tables/{agreement,coherence,depth,relearning,emergence}.parquet and .csv.
"""


rule measure_depth:
    """Read the answers off the residual stream at every depth, by logit lens and linear probes."""
    input:
        model=base_model,
        overlay=f"{OUT}/{{model}}/{{run}}/overlay.safetensors",
        junk=junk,
        benchmarks=question_files(),
        control=base_control,
    output:
        depth=f"{OUT}/{{model}}/{{run}}/depth.parquet",
        job=f"{OUT}/{{model}}/{{run}}/depth.job.json",
    log:
        f"logs/{OUT}/{{model}}/{{run}}/measure_depth.log",
    benchmark:
        f"logs/{OUT}/{{model}}/{{run}}/measure_depth.tsv"
    conda:
        "../../envs/measure_depth.yaml"
    priority: 1  # long and few: not last, when nothing is left to run beside them
    threads: 1
    resources:
        mem_mb=memory("measure_depth"),
        runtime=walltime("measure_depth"),
        gpu=GPU,
    params:
        clearings=lambda wildcards: shown_clearings(wildcards.run),
        benchmarks=questions(),
        split=STUDY["split"],
        dtype=dtype,
        own=contents(base_model, base_control),
        code=code("measure_depth.py"),
    message:
        "Reading {wildcards.model}/{wildcards.run} by depth"
    script:
        "../scripts/measure_depth.py"


rule relearn:
    """Teach other facts of the hazardous topics to the model as it is, cleared, and to one that never knew them."""
    input:
        model=base_model,
        overlay=f"{OUT}/{{model}}/{{run}}/overlay.safetensors",
        junk=junk,
        forget=corpora(STUDY["forget"]),
        benchmarks=question_files(sweep.hazardous_topics(config)),
        control=control_model(),
    output:
        relearning=f"{OUT}/{{model}}/{{run}}/relearning.parquet",
        job=f"{OUT}/{{model}}/{{run}}/relearning.job.json",
    log:
        f"logs/{OUT}/{{model}}/{{run}}/relearn.log",
    benchmark:
        f"logs/{OUT}/{{model}}/{{run}}/relearn.tsv"
    conda:
        "../../envs/relearn.yaml"
    priority: 1  # long and few: not last, when nothing is left to run beside them
    threads: 1
    resources:
        mem_mb=memory("relearn"),
        runtime=walltime("relearn"),
        gpu=GPU,
    params:
        settings={key: STUDY["relearn"][key] for key in ("examples", "lr", "batch", "length")},
        clearings=lambda wildcards: shown_clearings(wildcards.run),
        topics=sweep.hazardous_topics(config),
        benchmarks=questions(sweep.hazardous_topics(config)),
        split=STUDY["split"],
        dtype=dtype,
        own=contents(base_model, control_model()),
        code=code("relearn.py"),
    message:
        "Relearning with {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/relearn.py"


rule trace_emergence:
    """Measure a run at the steps of its training whose weights were kept."""
    input:
        model=base_model,
        overlay=f"{OUT}/{{model}}/{{run}}/overlay.safetensors",
        snapshots=f"{OUT}/{{model}}/{{run}}/snapshots.safetensors",
        base=f"{OUT}/{{model}}/base/activations/none.safetensors",
        prompts=[f"{OUT}/{{model}}/prompts/{name}.jsonl" for name in hazardous_prompts().values()],
        benchmarks=question_files(sweep.hazardous_topics(config)),
    output:
        emergence=f"{OUT}/{{model}}/{{run}}/emergence.parquet",
        job=f"{OUT}/{{model}}/{{run}}/emergence.job.json",
    log:
        f"logs/{OUT}/{{model}}/{{run}}/trace_emergence.log",
    benchmark:
        f"logs/{OUT}/{{model}}/{{run}}/trace_emergence.tsv"
    conda:
        "../../envs/trace_emergence.yaml"
    priority: 1  # long and few: not last, when nothing is left to run beside them
    threads: 1
    resources:
        mem_mb=memory("trace_emergence"),
        runtime=walltime("trace_emergence"),
        gpu=GPU,
    params:
        primary={STUDY["primary"]: config["clearings"][STUDY["primary"]]},
        topics=hazardous_prompts(),
        benchmarks=questions(sweep.hazardous_topics(config)),
        split=STUDY["split"],
        dtype=dtype,
        own=contents(base_model),
        code=code("trace_emergence.py"),
    message:
        "Tracing the training of {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/trace_emergence.py"


rule gather_measures:
    """Gather what is measured beside the scores into tidy tables with intervals."""
    input:
        agreement=every("agreement.parquet"),
        coherence=every("coherence.csv", completed_runs()),
        depth=every("depth.parquet", looked_into(DEPTH)),
        relearning=every("relearning.parquet", RELEARNED),
        emergence=every("emergence.parquet", EMERGING),
    output:
        **{name: f"{OUT}/tables/{name}.parquet" for name in MEASURES},
        **{f"{name}_csv": f"{OUT}/tables/{name}.csv" for name in MEASURES},
        job=f"{OUT}/tables/measures.job.json",
    log:
        f"logs/{OUT}/tables/gather_measures.log",
    benchmark:
        f"logs/{OUT}/tables/gather_measures.tsv"
    conda:
        "../../envs/gather_measures.yaml"
    threads: 1
    resources:
        mem_mb=memory("gather_measures"),
        runtime=walltime("gather_measures"),
    params:
        study=STUDY["name"],
        models=MODELS,
        runs=RUNS,
        hazardous=sweep.hazardous_topics(config),
        measured={
            "agreement": list(RUNS),
            "coherence": completed_runs(),
            "depth": looked_into(DEPTH),
            "relearning": RELEARNED,
            "emergence": EMERGING,
        },
        code=code("gather_measures.py"),
    message:
        "Gathering the tables of measures"
    script:
        "../scripts/gather_measures.py"
