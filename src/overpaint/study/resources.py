"""Memory and time that the jobs of a rule need, from the size of the study's model (standard library only)."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overpaint.models import folders

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# MB of a job beside its script: on a cluster two Snakemake processes of 290 MB each wait for it.
SNAKEMAKE_MB = 700
# Minutes of any job: 10 s of these two, imports from a slow disk.
START_MINUTES = 10
# Minutes that a first attempt asks for at most; more is refused or waits for long in many queues.
LONGEST = 12 * 60


@dataclass(frozen=True)
class Need:
    """What the script of a rule needs.

    mb: peak memory without a model.
    copies: how many times the model's size comes to that.
    minutes_per_gb: by which time grows with the model, on one processor core; a GPU needs a fraction of it.
    """

    mb: int
    copies: float = 0
    minutes_per_gb: float = 0


# Comments: the largest job of studies/smollm2.yaml, one thread on a machine that others used too. Its model is 513 MB;
# torch and transformers alone take 530 MB.
NEEDS = {
    "generate_world": Need(250),
    "prepare_texts": Need(600),  # 182 MB, of 10,000 articles; 295 MB, of 600 papers of 40 kB out of a table of 6,000
    "prepare_task": Need(400),  # 256 MB, of 14,000 questions in 57 tasks
    "download_package": Need(250),  # 182 MB, of a package of 93 MB
    "download_model": Need(250),
    "download_dataset": Need(250),
    "convert_model": Need(300, copies=1.5, minutes_per_gb=5),  # 843 MB, 5 s
    "pretrain_model": Need(1000),
    "compute_prefix": Need(700, copies=1.5, minutes_per_gb=10),  # 1113 MB, 95 s
    "unlearn": Need(700, copies=1.5, minutes_per_gb=30),  # 684 MB, 103 s
    "collect_activations": Need(700, copies=1.5, minutes_per_gb=5),  # 1155 MB, 27 s
    "fit_junk": Need(500),  # 334 MB, 0.2 s
    "analyse_weights": Need(700, copies=1.5, minutes_per_gb=20),
    "evaluate": Need(700, copies=1.5, minutes_per_gb=60),  # 1275 MB, 1032 s
    "try_setting": Need(700, copies=1.5, minutes_per_gb=20),  # 1087 MB, 67 s
    "choose_setting": Need(500),
    "complete_prompts": Need(700, copies=2.5, minutes_per_gb=5),  # 1051 MB, 18 s; beside the base the naive model
    "measure_depth": Need(700, copies=1.5, minutes_per_gb=10),
    "score_depth": Need(700, copies=3, minutes_per_gb=30),  # the naive model beside the run's
    "relearn": Need(1000, copies=6, minutes_per_gb=60),  # weights twice, gradients, two moments
    "measure_perturbations": Need(700, copies=3.5, minutes_per_gb=60),  # weights, as they were, and as they become
    "trace_emergence": Need(700, copies=1.5, minutes_per_gb=60),
    "gather_measures": Need(500),
    "export_model": Need(700, copies=2.5, minutes_per_gb=5),
    "gather_tables": Need(500),  # 187 MB, of 7 runs
    "render_report": Need(1000),  # 271 MB, and its notebook in a process of its own
    "render_index": Need(500),  # 296 MB
    "render_explorer": Need(700),  # 610 MB, of 10,000 questions and 3 runs under 48 clearings each
}
# Rules whose jobs can hold a model in parts; others change all of its weights, or run no model.
STREAMED = {
    "compute_prefix", "unlearn", "collect_activations", "analyse_weights", "evaluate", "complete_prompts",
    "measure_depth", "score_depth", "trace_emergence",
}  # fmt: skip
OTHERS = Need(700, copies=1.5, minutes_per_gb=10)  # as of a rule that runs the model over some texts


def model_mb(entry: dict[str, Any]) -> float:
    """MB of a model's weights in memory, from its entry in the catalogue."""
    return _weights(entry) * BYTES[entry["dtype"]] / 2**20


def memory_mb(rule: str, model: float, attempt: int = 1, models: int = 1) -> int:
    """MB to ask for, as much again with every attempt.

    Args:
        model: size of the study's model in MB.
        models: how many models of that size the job loads.
    """
    need = NEEDS.get(rule, OTHERS)
    return attempt * 100 * math.ceil((SNAKEMAKE_MB + need.mb + need.copies * models * model) / 100)


def minutes(rule: str, model: float, attempt: int = 1) -> int:
    """Minutes to ask for, as many again with every attempt."""
    wanted = START_MINUTES + NEEDS.get(rule, OTHERS).minutes_per_gb * model / 1024
    return attempt * min(LONGEST, math.ceil(wanted))


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether this machine has a GPU of NVIDIA or AMD that PyTorch could use."""
    return any(devices.glob("nvidia[0-9]*")) or (devices / "kfd").exists()


def _weights(entry: dict[str, Any]) -> int:
    """Number of weights: as stated, as its files say, or of the Llama that the study trains, embeddings left out."""
    if entry["source"] in ("package", "hub"):
        return entry["parameters"]
    if entry["source"] == "folder":
        return sum(map(folders.weights, sorted(Path(entry["path"]).glob("*.safetensors"))))
    return 12 * entry["layers"] * entry["width"] ** 2
