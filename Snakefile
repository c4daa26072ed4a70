# overpaint: how deep does RMU unlearning go?
#
# {out}    study.output                      {run}  base | {method}/layer={layer}/c={c}/seed={seed}
#   downloads/{package}                      one file of a registry package
#   downloads/datasets/{dataset}/            files of a data set of the hub
#   worlds/{world}/                          facts of a fictional world; taught.json is what base models learn
#   {model}/checkpoint/                      base model, a Hugging Face folder (of the source `trained`: bases/{model}/)
#   {model}/corpora|prompts|benchmarks/{name}.jsonl      normalised texts
#   {model}/prefix/                          what runs that differ in c, alpha or seed share
#   {model}/{run}/overlay.safetensors        what the method changed; history.csv beside it
#   {model}/{run}/activations/{clearing}.safetensors
#   {model}/{run}/junk.safetensors           directions; junk.csv and depths.csv beside it
#   {model}/{run}/answers.parquet            a row per question and clearing; agreement.parquet per running text
#   {model}/{run}/completions.jsonl          coherence.csv beside it
#   {model}/{run}/{depth,relearning,uds,perturbations,emergence}.parquet   of the runs that the study looks into
#   {model}/{run}/tuning.parquet, .csv       of settings that are tried; tuned/ has what is chosen
#   {model}/weights.csv                      what the runs changed in the weights
#   {model}/{run}/export/{clearing}/         a Hugging Face folder, where asked for by this path
#   tables/{table}.parquet, .csv             tidy tables
#   reports/index.html                       start here; explorer.html has single questions
# Every rule also writes provenance to a .json file beside its output, and logs to logs/.

from snakemake.utils import min_version

min_version("9.27.1")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/downloads.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/texts.smk"
include: "workflow/rules/unlearn.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/measures.smk"
include: "workflow/rules/attacks.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/reports.smk"


rule all:
    """The whole study: every report, and every run even where the reports have it (a deleted run is run again)."""
    default_target: True
    input:
        pages=expand("<out>/reports/{report}.html", report=["index", "explorer", *PAGES]),
        runs=per_run("overlay.safetensors") + per_run("answers.parquet"),


rule bases:
    """The base models of the study's worlds, trained anew; `make bases` keeps them where `source: trained` finds them."""
    input:
        models=expand("<out>/{model}/checkpoint", model=STUDY.taught),
