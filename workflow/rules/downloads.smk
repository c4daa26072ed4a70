"""Downloads: the only rules that need a network.

Needs: the models, datasets and packages of the configuration; the hub, or a mirror (HF_ENDPOINT), and a token for what is
gated (HF_TOKEN, which these jobs alone read, from the environment); the Python package registry.
Makes: {out}/{model}/checkpoint/, {out}/downloads/datasets/{dataset}/, {out}/downloads/{package}.
What has arrived of an interrupted download lies in a hidden folder beside the output, and the next one goes on from it.
"""


rule download_model:
    """Fetch the weights, tokenizer and configuration of a model at one commit, and verify every file."""
    localrule: True  # on clusters, where Snakemake itself runs: nodes that compute often reach no network
    output:
        model=directory("<out>/{model}/checkpoint"),
        job="<out>/{model}/checkpoint.job.json",
    log:
        "logs/<out>/{model}/download_model.log",
    conda:
        "../../envs/download_model.yaml"
    wildcard_constraints:
        model=models_from("hub"),
    resources:
        **needs("download_model"),
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
        files=directory("<out>/downloads/datasets/{dataset}"),
        job="<out>/downloads/datasets/{dataset}.job.json",
    log:
        "logs/<out>/downloads/datasets/{dataset}/download_dataset.log",
    conda:
        "../../envs/download_dataset.yaml"
    wildcard_constraints:
        dataset=named(*config["datasets"]),
    resources:
        **needs("download_dataset"),
    params:
        settings=lambda wildcards: config["datasets"][wildcards.dataset],
        code=code("download_dataset.py"),
    message:
        "Downloading the data set {params.settings[repo]}"
    script:
        "../scripts/download_dataset.py"


rule download_package:
    """Fetch one file of a registry package and verify its hash."""
    localrule: True  # as above
    output:
        file="<out>/downloads/{package}",
        job="<out>/downloads/{package}.job.json",
    log:
        "logs/<out>/downloads/{package}/download_package.log",
    conda:
        "../../envs/download_package.yaml"
    wildcard_constraints:
        package=named(*config["packages"]),
    resources:
        **needs("download_package"),
    params:
        settings=lambda wildcards: config["packages"][wildcards.package],
        code=code("download_package.py"),
    message:
        "Downloading {params.settings[package]} {params.settings[version]}"
    script:
        "../scripts/download_package.py"
