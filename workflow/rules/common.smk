"""Settings and functions of all rules; no rules."""

import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

BASE = Path(workflow.basedir)
CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
sys.path.insert(0, str(BASE / "src"))

import snakemake_logger_plugin_overpaint

from overpaint import measures
from overpaint.downloads.address import check_variables
from overpaint.errors import UserError
from overpaint.jobs import warm
from overpaint.jobs.provenance import sketch
from overpaint.study import environments, sweep
from overpaint.study.configuration import complete, read_preregistration
from overpaint.study.fingerprint import fingerprint
from overpaint.study.resources import has_gpu
from overpaint.study.study import Study

try:
    if set(":{}") & set(str(BASE)):
        raise UserError(
            f"The checkout lies in {BASE}, and PATH and Snakemake read a colon or a brace as their own: rename the folder."
        )
    check_variables()
    config = complete(config, BASE / "workflow/schemas/config.schema.yaml")
    PREREGISTRATION = read_preregistration(config, BASE / "workflow/schemas/preregistration.schema.yaml")
    STUDY = Study(config)
    if workflow.is_main_process and CONDA:
        prefix = Path(workflow.deployment_settings.conda_prefix or ".snakemake/conda")
        environments.check(prefix, sorted(BASE.glob("envs/*.yaml")))
except UserError as error:
    raise WorkflowError(str(error)) from None

# Jobs import the package from this checkout, in every environment, and read and write UTF-8 in every locale; everything
# after a download is offline.
JOBS = {
    **{"PYTHONPATH": f"{BASE}/src", "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", "MPLBACKEND": "agg"},
    **{"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    **{"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"},
}
shell.prefix(f"set -euo pipefail; export {' '.join(f'{name}={shlex.quote(value)}' for name, value in JOBS.items())}; ")
# Snakemake puts its interpreter into commands as it stands: a space or an apostrophe in its path breaks them, and another
# command can take its place.
PYTHON = sys.executable
sys.executable = shlex.quote(PYTHON)

SETTINGS = STUDY.settings
OUT = SETTINGS["output"]
needs = STUDY.needs
GPU = int(has_gpu())  # that of this machine; cluster profiles say themselves which rules use one


pathvars:
    out=OUT,


wildcard_constraints:
    model="|".join(map(re.escape, config["models"])),
    run="base|[^/]+/layer=[0-9]+/c=[^/]+/seed=[0-9]+",  # a pattern of every run's name took twice as long to plan
    clearing="|".join(map(re.escape, config["clearings"])),


onstart:
    # Unless asked to start fewer jobs, Snakemake 9.27.1 has no use for its limit of 100 a second, for which it would look
    # at all waiting jobs again every second: once, and once more for every job that has ended. After 100 jobs that is a
    # tenth of a core, in studies/map.yaml 17 processor minutes.
    limiter = workflow.scheduler.job_rate_limiter
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    snakemake_logger_plugin_overpaint.expect(workflow)
    if workflow.local_exec and not CONDA:
        sys.executable = warm.start(PYTHON, JOBS)


def named(*names):
    """Names as one pattern for a wildcard; one that nothing matches where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def models_from(*origins):
    """Pattern of the models that come from some kinds of source."""
    return named(*(name for name, entry in config["models"].items() if entry["source"] in origins))


def code(script, *others):
    """Fingerprint of a script's library code: a change of code reruns the rule, a change of comments does not."""
    return fingerprint(BASE / "workflow/scripts" / script, *others)


def contents(*inputs):
    """Params function: sketches of the user's own files among some inputs; replaced in place, they may look as before."""

    def find(wildcards):
        paths = [path(wildcards) if callable(path) else path for path in inputs]
        return [sketch(path) for path in paths if path and path in STUDY.own]

    return find


def as_text(data):
    """`data` as JSON without a `<`: Snakemake's report puts params into a script as they stand, which none may end."""
    return json.dumps(data).replace("<", "\\u003c")


def per_run(pattern, runs=STUDY.runs):
    """The paths of `pattern` for `runs`, of one model after the other."""
    return expand(f"{OUT}/{{model}}/{{run}}/{pattern}", model=STUDY.models, run=runs)
