"""Attacks on chosen runs: how they relearn, and what rounding, noise and other words bring back.

Needs: the base model, overlays, junk directions, questions; corpora.
Makes: {out}/{model}/{run}/relearning.parquet, perturbations.parquet.
"""


rule relearn:
    """Teach other facts, hazardous and benign, to the model as it is and cleared, and to one that never knew them."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=junk,
        forget=texts("corpora", SETTINGS["forget"]),
        retain=texts("corpora", SETTINGS["retain"]),
        benchmarks=texts("benchmarks", STUDY.questions(STUDY.topics)),
        naive=base_naive,
    output:
        relearning="<out>/{model}/{run}/relearning.parquet",
        job="<out>/{model}/{run}/relearning.job.json",
    log:
        "logs/<out>/{model}/{run}/relearn.log",
    conda:
        "../../envs/relearn.yaml"
    priority: 1  # long and few: not last, when nothing is left to run beside them
    resources:
        **needs("relearn", gpu=GPU),
    params:
        settings={key: SETTINGS["measures"]["relearning"][key] for key in ("examples", "lr", "batch", "max_tokens")},
        clearings=lambda wildcards: STUDY.shown(wildcards.run),
        topics=STUDY.topics,
        benchmarks=STUDY.questions(STUDY.topics),
        split=SETTINGS["split"],
        dtype=dtype,
        own=contents(base_model, base_naive),
        code=code("relearn.py"),
    message:
        "Relearning with {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/relearn.py"


rule measure_perturbations:
    """Ask while weights are rounded, shaken or scaled back, and after other words."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=junk,
        forget=texts("corpora", SETTINGS["forget"]),
        retain=texts("corpora", SETTINGS["retain"]),
        benchmarks=texts("benchmarks", STUDY.questions()),
        naive=base_naive,
    output:
        perturbations="<out>/{model}/{run}/perturbations.parquet",
        job="<out>/{model}/{run}/perturbations.job.json",
    log:
        "logs/<out>/{model}/{run}/measure_perturbations.log",
    conda:
        "../../envs/measure_perturbations.yaml"
    priority: 1  # long and few: not last, when nothing is left to run beside them
    resources:
        **needs("measure_perturbations", gpu=GPU),
    params:
        settings={key: value for key, value in SETTINGS["measures"]["perturbations"].items() if key != "runs"},
        clearings=lambda wildcards: STUDY.shown(wildcards.run),
        topics=STUDY.topics,
        benchmarks=STUDY.questions(),
        split=SETTINGS["split"],
        dtype=dtype,
        own=contents(base_model, base_naive),
        code=code("measure_perturbations.py"),
    message:
        "Perturbing {wildcards.model}/{wildcards.run}"
    script:
        "../scripts/measure_perturbations.py"
