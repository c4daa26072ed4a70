"""The weights: what each run changed in them.

Needs: the base model, every run's overlay and junk.
Makes: {out}/{model}/weights.csv, a row per run, changed tensor and quantity.
"""


rule analyse_weights:
    """Describe size, spectrum and direction of what every run changed; one job, which loads the base model once."""
    input:
        model=base_model,
        overlays=expand("<out>/{{model}}/{run}/overlay.safetensors", run=STUDY.unlearned),
        junk=expand("<out>/{{model}}/{run}/junk.safetensors", run=STUDY.unlearned),
    output:
        table="<out>/{model}/weights.csv",
        job="<out>/{model}/weights.job.json",
    log:
        "logs/<out>/{model}/weights/analyse_weights.log",
    conda:
        "../../envs/analyse_weights.yaml"
    resources:
        **needs("analyse_weights"),
    params:
        runs=STUDY.unlearned,
        dtype=dtype,
        own=contents(base_model),
        code=code("analyse_weights.py"),
    message:
        "Analysing what was changed in the weights of {wildcards.model}"
    script:
        "../scripts/analyse_weights.py"
