"""A closer look at chosen runs: what they know by depth, what of it is painted over, how their training went.

Needs: the base model, overlays, junk directions, questions; activations and snapshots.
Makes: {out}/{model}/{run}/depth.parquet, uds.parquet, emergence.parquet.
"""


rule measure_depth:
    """Read the answers off the residual stream at every depth, by logit lens and linear probes."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=junk,
        benchmarks=texts("benchmarks", STUDY.questions()),
        naive=base_naive,
    output:
        depth="<out>/{model}/{run}/depth.parquet",
        job="<out>/{model}/{run}/depth.job.json",
    log:
        "logs/<out>/{model}/{run}/measure_depth.log",
    conda:
        "../../envs/measure_depth.yaml"
    priority: 1  # long and few: not last, when nothing is left to run beside them
    resources:
        **needs("measure_depth", gpu=GPU),
    params:
        clearings=lambda wildcards: STUDY.shown(wildcards.run),
        benchmarks=STUDY.questions(),
        split=SETTINGS["split"],
        hazardous=STUDY.topics,
        dtype=dtype,
        own=contents(base_model, base_naive),
        code=code("measure_depth.py"),
    message:
        "Reading {wildcards.model}/{wildcards.run} by depth"
    script:
        "../scripts/measure_depth.py"


rule score_depth:
    """Let the base go on from what a run's model writes, as it is and cleared, and from what one that never knew does."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=junk,
        benchmarks=texts("benchmarks", STUDY.questions(STUDY.topics)),
        naive=naive,
    output:
        uds="<out>/{model}/{run}/uds.parquet",
        job="<out>/{model}/{run}/uds.job.json",
    log:
        "logs/<out>/{model}/{run}/score_depth.log",
    conda:
        "../../envs/score_depth.yaml"
    resources:
        **needs("score_depth", gpu=GPU),
    params:
        clearings=lambda wildcards: STUDY.patching(wildcards.run),
        threshold=SETTINGS["measures"]["uds"]["threshold"],
        benchmarks=STUDY.questions(STUDY.topics),
        split=SETTINGS["split"],
        dtype=dtype,
        own=contents(base_model, naive),
        code=code("score_depth.py"),
    message:
        "Scoring the depth of {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/score_depth.py"


rule trace_emergence:
    """Measure a run at the steps of its training whose weights were kept."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        snapshots="<out>/{model}/{run}/snapshots.safetensors",
        junk=[],  # fitted anew at every step
        base="<out>/{model}/base/activations/none.safetensors",
        prompts=expand("<out>/{{model}}/prompts/{name}.jsonl", name=STUDY.hazardous_prompts.values()),
        benchmarks=texts("benchmarks", STUDY.questions(STUDY.topics)),
    output:
        emergence="<out>/{model}/{run}/emergence.parquet",
        job="<out>/{model}/{run}/emergence.job.json",
    log:
        "logs/<out>/{model}/{run}/trace_emergence.log",
    conda:
        "../../envs/trace_emergence.yaml"
    priority: 1  # long and few: not last, when nothing is left to run beside them
    resources:
        **needs("trace_emergence", gpu=GPU),
    params:
        primary={SETTINGS["headline"]["clearing"]: config["clearings"][SETTINGS["headline"]["clearing"]]},
        position=SETTINGS["junk"]["position"],
        topics=STUDY.hazardous_prompts,
        benchmarks=STUDY.questions(STUDY.topics),
        split=SETTINGS["split"],
        dtype=dtype,
        own=contents(base_model),
        code=code("trace_emergence.py"),
    message:
        "Tracing the training of {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/trace_emergence.py"
