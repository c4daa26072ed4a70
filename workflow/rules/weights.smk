"""The weights: what each run changed in them.

Needs: the base model, every run's overlay and junk.
Makes: {out}/{model}/weights.csv, a row per run, changed tensor and quantity.
"""


rule analyse_weights:
    """Describe size, spectrum and direction of what every run changed; one job, which loads the base model once."""
    input:
        model=base_model,
        overlays=expand(f"{OUT}/{{{{model}}}}/{{run}}/overlay.safetensors", run=UNLEARNED),
        junk=expand(f"{OUT}/{{{{model}}}}/{{run}}/junk.safetensors", run=UNLEARNED),
    output:
        table=f"{OUT}/{{model}}/weights.csv",
        job=f"{OUT}/{{model}}/weights.job.json",
    log:
        f"logs/{OUT}/{{model}}/weights/analyse_weights.log",
    benchmark:
        f"logs/{OUT}/{{model}}/weights/analyse_weights.tsv"
    conda:
        "../../envs/analyse_weights.yaml"
    threads: 1
    resources:
        mem_mb=memory("analyse_weights"),
        runtime=walltime("analyse_weights"),
    params:
        runs=UNLEARNED,
        dtype=dtype,
        own=contents(base_model),
        code=code("analyse_weights.py"),
    message:
        "Analysing what was changed in the weights of {wildcards.model}"
    script:
        "../scripts/analyse_weights.py"
