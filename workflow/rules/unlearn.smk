"""Unlearning: every variant of the sweep, and the base as the method that changes nothing.

Needs: the base model and the normalised corpora; a released model for the method `published`.
Makes: {out}/{model}/prefix/{prefix}/ (kept, so that a run added later needs no other run again), and per run
{out}/{model}/{run}/overlay.safetensors (changed tensors, control vectors, settings) with history.csv and
snapshots.safetensors (the changed tensors after some steps, of the runs that study.measures.emergence lists).
"""


rule compute_prefix:
    """Run the blocks below the first trained one, once for all runs that share them."""
    input:
        model=base_model,
        forget=texts("corpora", SETTINGS["forget"]),
        retain=texts("corpora", SETTINGS["retain"]),
    output:
        prefix=directory("<out>/{model}/prefix/{prefix}"),
        job="<out>/{model}/prefix/{prefix}.job.json",
    log:
        "logs/<out>/{model}/prefix/{prefix}/compute_prefix.log",
    wildcard_constraints:
        prefix=named(*STUDY.prefixes),
    conda:
        "../../envs/compute_prefix.yaml"
    resources:
        **needs("compute_prefix", gpu=GPU),
    params:
        settings=lambda wildcards: STUDY.prefixes[wildcards.prefix],
        topics=STUDY.topics,
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
        overlay="<out>/{model}/{run}/overlay.safetensors",
        history="<out>/{model}/{run}/history.csv",
        snapshots="<out>/{model}/{run}/snapshots.safetensors",
        job="<out>/{model}/{run}/overlay.job.json",
    log:
        "logs/<out>/{model}/{run}/unlearn.log",
    conda:
        "../../envs/unlearn.yaml"
    resources:
        **needs("unlearn", gpu=GPU),
    params:
        settings=lambda wildcards: STUDY.runs[wildcards.run],
        topics=STUDY.topics,
        dtype=dtype,
        own=contents(base_model, released),
        code=lambda wildcards: code("unlearn.py", f"overpaint.unlearning.methods.{STUDY.runs[wildcards.run]['kind']}"),
    message:
        "Unlearning {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/unlearn.py"
