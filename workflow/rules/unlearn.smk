"""Unlearning: every variant of the sweep, and the base as the method that changes nothing.

Needs: the base model and the normalised corpora.
Makes: {out}/{model}/{run}/overlay.safetensors (changed tensors, control vectors, settings) and history.csv.
"""


rule unlearn:
    """Run one method with one choice of layer, c and seed."""
    input:
        model=checkpoint(),
        forget=corpora(STUDY["forget"]),
        retain=corpora(STUDY["retain"]),
    output:
        overlay=f"{MODEL}/{{run}}/overlay.safetensors",
        history=f"{MODEL}/{{run}}/history.csv",
        job=f"{MODEL}/{{run}}/overlay.job.json",
    log:
        f"logs/{OUT}/{MODEL_NAME}/{{run}}/unlearn.log",
    benchmark:
        f"logs/{OUT}/{MODEL_NAME}/{{run}}/unlearn.tsv"
    conda:
        "../../envs/unlearn.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        gpu=1,
    params:
        settings=lambda wildcards: RUNS[wildcards.run],
        topics=sweep.hazardous_topics(config),
        dtype=dtype(),
        code=lambda wildcards: code("unlearn.py", f"overpaint.methods.{RUNS[wildcards.run]['kind']}"),
    message:
        "Unlearning {wildcards.run}"
    script:
        "../scripts/unlearn.py"
