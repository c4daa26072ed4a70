"""Models for use elsewhere; no report needs them, so ask for one by its path.

Needs: the base model, overlays, junk directions.
Makes: {out}/{model}/{run}/export/{clearing}/, an ordinary Hugging Face folder.
"""


rule export_model:
    """Write one run, with one clearing folded into its weights, as a Hugging Face folder."""
    input:
        model=base_model,
        overlay="<out>/{model}/{run}/overlay.safetensors",
        junk=junk,
    output:
        model=directory("<out>/{model}/{run}/export/{clearing}"),
        job="<out>/{model}/{run}/export/{clearing}.job.json",
    log:
        "logs/<out>/{model}/{run}/{clearing}/export_model.log",
    conda:
        "../../envs/export_model.yaml"
    resources:
        **needs("export_model"),
    params:
        settings=lambda wildcards: config["clearings"][wildcards.clearing],
        dtype=dtype,
        own=contents(base_model),
        code=code("export_model.py"),
    message:
        "Exporting {wildcards.model}/{wildcards.run}, clearing {wildcards.clearing}"
    script:
        "../scripts/export_model.py"
