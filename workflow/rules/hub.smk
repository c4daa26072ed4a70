"""Models and data sets of the Hugging Face hub.

Needs: the models and datasets of the configuration; the hub, or a mirror (HF_ENDPOINT), and a token for what is gated
(HF_TOKEN, which these jobs alone read, from the environment).
Makes: {out}/{model}/checkpoint/, {out}/downloads/datasets/{dataset}/.
What has arrived of an interrupted download lies in a hidden folder beside the output, and the next one goes on from it.
"""


rule download_model:
    """Fetch the weights, tokenizer and configuration of a model at one commit, and verify every file."""
    localrule: True  # on clusters, where Snakemake itself runs: nodes that compute often reach no network
    output:
        model=directory(f"{OUT}/{{model}}/checkpoint"),
        job=f"{OUT}/{{model}}/checkpoint.job.json",
    log:
        f"logs/{OUT}/{{model}}/download_model.log",
    conda:
        "../../envs/download_model.yaml"
    wildcard_constraints:
        model=models_from("hub"),
    threads: 1
    resources:
        mem_mb=memory("download_model"),
        runtime=walltime("download_model"),
    params:
        repo=lambda wildcards: config["models"][wildcards.model]["repo"],
        revision=lambda wildcards: config["models"][wildcards.model]["revision"],
        code=code("download_model.py"),
    message:
        "Downloading the model {params.repo}"
    script:
        "../scripts/download_model.py"


rule download_dataset:
    """Fetch files of a data set at one commit, and verify every one."""
    localrule: True  # as above
    output:
        files=directory(f"{OUT}/downloads/datasets/{{dataset}}"),
        job=f"{OUT}/downloads/datasets/{{dataset}}.job.json",
    log:
        f"logs/{OUT}/downloads/datasets/{{dataset}}/download_dataset.log",
    conda:
        "../../envs/download_dataset.yaml"
    wildcard_constraints:
        dataset=named(*config["datasets"]),
    threads: 1
    resources:
        mem_mb=memory("download_dataset"),
        runtime=walltime("download_dataset"),
    params:
        settings=lambda wildcards: config["datasets"][wildcards.dataset],
        code=code("download_dataset.py"),
    message:
        "Downloading the data set {params.settings[repo]}"
    script:
        "../scripts/download_dataset.py"
