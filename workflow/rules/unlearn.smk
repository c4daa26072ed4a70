"""Unlearning: every variant of the sweep, and the base as the method that changes nothing.

Needs: the base model and the normalised corpora; a released model for the method `published`.
Makes: {out}/{model}/prefix/{prefix}/ (kept, so that a run added later needs no other run again), and per run
{out}/{model}/{run}/overlay.safetensors (changed tensors, control vectors, settings) with history.csv and
snapshots.safetensors (the changed tensors after some steps, of the runs that study.emergence lists).
"""


rule compute_prefix:
    """Run the blocks below the first trained one, once for all runs that share them."""
    input:
        model=base_model,
        forget=corpora(STUDY["forget"]),
        retain=corpora(STUDY["retain"]),
    output:
        prefix=directory(f"{OUT}/{{model}}/prefix/{{prefix}}"),
        job=f"{OUT}/{{model}}/prefix/{{prefix}}.job.json",
    log:
        f"logs/{OUT}/{{model}}/prefix/{{prefix}}/compute_prefix.log",
    wildcard_constraints:
        prefix=named(*PREFIXES),
    conda:
        "../../envs/compute_prefix.yaml"
    threads: 1
    resources:
        mem_mb=memory("compute_prefix"),
        runtime=walltime("compute_prefix"),
        gpu=GPU,
    params:
        settings=lambda wildcards: PREFIXES[wildcards.prefix],
        topics=sweep.hazardous_topics(config),
        dtype=dtype,
        own=contents(base_model),
        code=code("compute_prefix.py"),
    message:
        "Computing what enters {wildcards.prefix} of {wildcards.model}"
    script:
        "../scripts/compute_prefix.py"


rule unlearn:
    """Run one method with one choice of layer, c and seed."""
    input:
        model=base_model,
        forget=training_corpora("forget"),
        retain=training_corpora("retain"),
        prefix=shared_prefix,
        released=released,
    output:
        overlay=f"{OUT}/{{model}}/{{run}}/overlay.safetensors",
        history=f"{OUT}/{{model}}/{{run}}/history.csv",
        snapshots=f"{OUT}/{{model}}/{{run}}/snapshots.safetensors",
        job=f"{OUT}/{{model}}/{{run}}/overlay.job.json",
    log:
        f"logs/{OUT}/{{model}}/{{run}}/unlearn.log",
    benchmark:
        f"logs/{OUT}/{{model}}/{{run}}/unlearn.tsv"
    conda:
        "../../envs/unlearn.yaml"
    threads: 1
    resources:
        mem_mb=memory("unlearn"),
        runtime=walltime("unlearn"),
        gpu=GPU,
    params:
        settings=lambda wildcards: RUNS[wildcards.run],
        topics=sweep.hazardous_topics(config),
        dtype=dtype,
        own=contents(base_model, released),
        code=lambda wildcards: code("unlearn.py", f"overpaint.methods.{RUNS[wildcards.run]['kind']}"),
    message:
        "Unlearning {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/unlearn.py"
