"""Large sweeps: what a plan of a thousand variants costs, and docs/scale.md, what 60 variants of a 7B model would."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from helpers.checkout import ROOT, RUNS, copy_checkout, planned, snakemake
from helpers.models import reference
from snakemake.utils import update_config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from overpaint.junk import activations, estimators
from overpaint.models.parts import blocks
from overpaint.sources import texts, world
from overpaint.study import resources
from overpaint.study.configuration import complete
from overpaint.unlearning import training
from overpaint.unlearning.methods import Task, rmu

DOC = ROOT / "docs/scale.md"
# Mistral-7B in bfloat16, the model of the published pair.
WIDTH, INNER, BLOCKS, WEIGHTS, LAYER = 4096, 14336, 32, 7.24e9, 7
VARIANTS = 60
SUSTAINED = 125e12  # 40 % of the 312 TFLOP/s that an A100 has in bfloat16: an assumption
# Tokens of a variant, and what runs on them.
TRAINED = 150 * 4 * (640 + 512)  # 150 steps with 4 texts to forget (512 or 768 tokens) and 4 to retain (512)
PREFIX = 150 * 4 * 640 + 2 * 75 * 4 * 512  # every text to forget once; to retain, once per topic, with its target
PROMPTS, PROMPT_TOKENS, SETS = 1200, 60, 3
HAZARDOUS, BENIGN = 3260, 14042  # questions of WMDP-Bio and -Cyber, and of MMLU
QUESTION_TOKENS = 130
CLEARINGS, NULLS = 7, 22  # uncleared and cleared on all questions; nulls on the hazardous ones
ROW_BYTES = 43  # of answers.parquet, as in the SmolLM2 study
TABLE = """# What a large sweep costs

**A sweep of {variants} variants of a model of 7 billion weights** (Mistral-7B's shape, bfloat16, layer {layer}) was
never run by us. The tests compute these numbers from what the code does and from assumptions.

| per variant | tokens | passes per token | minutes on one GPU | MB of memory asked for | MB on disk |
|---|---|---|---|---|---|
{rows}
| **{variants} variants** | | | **{hours:.0f} GPU-hours** | | **{disk:.0f} GB** |

- *Passes* through all blocks of the model are counted: floating-point operations of this code on 32 small blocks, over
  2 per weight and token. The published loop takes {reference:.2f} per token of training.
- *Minutes* assume {sustained:.0f} TFLOP/s, 40 % of an A100's peak, and one pass for each of {question_tokens} tokens a
  question, which its options share: {clearings} clearings on {hazardous} questions of WMDP and {benign} of MMLU,
  {nulls} nulls on WMDP alone. Loading and starting are not counted.
- *Memory* is what `src/overpaint/study/resources.py` asks for; it grows with each attempt.
- *Disk*: {share:.0f} variants take as much as one checkpoint, {checkpoint:.1f} GB. That checkpoint, and a prefix of
  {prefix:.1f} GB per layer, which may be deleted after training, come once. A variant has {files} files, with logs.
- A dry run of 1,000 variants takes 12 s of processor time, in proportion to their number.

**`studies/zephyr.yaml` on one GPU**, by the same assumptions and {small:.0f} TFLOP/s for a GPU of 24 GB (40 % of an
RTX 4090's), was never run by us on the real models:

| rule | jobs | minutes each, 24 GB | minutes each, 80 GB | GB on the GPU | MB of memory asked for | MB on disk each |
|---|---|---|---|---|---|---|
{pair}
| **all** | **{jobs}** | **{hours_small:.0f} h** | **{hours_large:.0f} h** | **{most:.0f}** | | **{total:.0f} GB** |

- *GB on the GPU*: the weights, {weights:.1f} GB; in training also a gradient, two moments and the original of the three
  edited matrices, and what three blocks keep of 4 texts of 768 tokens; elsewhere logits and attention of 2048 tokens.
  Batches that do not fit are halved.
- The other rules load no model, or take minutes in all. The two checkpoints are downloads of {weights:.1f} GB each.
"""
SMALL = 66e12  # 40 % of the 165 TFLOP/s that an RTX 4090 has in bfloat16 with float32 sums: an assumption
ASKED = {"wmdp_bio": 1273, "wmdp_cyber": 1987, "mmlu": 14042}  # questions
TEXT_TOKENS = 300
GPU_RULES = ["compute_prefix", "unlearn", "collect_activations", "evaluate", "complete_prompts"]


def plan_seconds(folder: Path, values: int) -> float:
    """Processor seconds of a dry run of the default study with 4 layers, `values` of c and 5 seeds."""
    runs = [{"method": "rmu", "layer": [2, 3, 4, 5], "c": list(range(1, values + 1)), "seed": [0, 1, 2, 3, 4]}]
    (folder / "many.yaml").write_text(yaml.safe_dump({"study": {"runs": runs}}))
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = snakemake(folder, "--dry-run", "--configfile", "many.yaml")
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert planned(done.stdout)["unlearn"] == planned(done.stdout)["evaluate"] == 20 * values + 1, done.stdout[-2000:]
    return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime


@pytest.fixture(scope="module")
def seconds(tmp_path_factory) -> dict[int, float]:
    """Processor seconds by number of variants."""
    folder = copy_checkout(tmp_path_factory.mktemp("many"))
    return {20 * values: plan_seconds(folder, values) for values in (5, 25, 50)}


def test_a_thousand_variants_are_planned_in_40_seconds(seconds):
    assert seconds[1000] < 40  # 15 on a quiet machine, twice that where other jobs run


def test_the_cost_of_a_plan_grows_in_proportion_to_its_variants(seconds):
    assert seconds[1000] - seconds[100] < 3 * (seconds[500] - seconds[100])


# --- what is on disk


def overlay_mb(width: int, inner: int, item: int, topics: int, updated: int = 3) -> float:
    """Edited down projections and control vectors."""
    return (updated * width * inner * item + topics * width * 4) / 1e6


def activations_mb(width: int, blocks: int, item: int, prompts: int, sets: int, splits: int = 2) -> float:
    """Two vectors per prompt at one depth, and means at every depth and residual site."""
    means = (blocks + 1) + 3 * blocks
    return (2 * prompts * width * item + splits * sets * means * width * 4) / 1e6


def junk_mb(width: int, blocks: int, topics: int) -> float:
    """A direction per topic by three estimators and by each resample of its prompts, those that topics share, and the
    base's mean at every residual site."""
    rows = (3 + estimators.RESAMPLES) * topics + estimators.TOP + 1
    return (rows + 3 * blocks) * width * 4 / 1e6


def test_sizes_on_disk_are_those_of_the_smoke_study(study):
    parts = [activations.load(study / RUNS[0] / "activations/none.safetensors", split) for split in texts.SPLITS]
    prompts, width, count = sum(len(found.last) for sets in parts for found in sets.values()), 32, 3
    expected = {
        "overlay": overlay_mb(width, 85, 4, topics=2, updated=2),
        "activations/none": activations_mb(width, count, 4, prompts, len(parts[0])),
        "junk": junk_mb(width, count, topics=2),
    }
    for name, size in expected.items():
        path = study / RUNS[0] / f"{name}.safetensors"
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        assert (path.stat().st_size - header) / 1e6 == pytest.approx(size, rel=0.001), name


# --- what is computed


@pytest.fixture(scope="module")
def passes(make_model, tokenizer, facts) -> dict[str, float]:
    """Passes through all blocks, per token, that a plain pass, our training and the published loop amount to."""
    length, batch, steps, counted = 24, 2, 8, {}
    words = " ".join(world.training_texts(facts, ["gloomcraft"], copies=8, seed=1)).split()
    corpora = [[" ".join(words[start + k : start + k + length]) for k in range(batch * steps)] for start in (0, 99)]
    given = {
        "layer": LAYER, "updated": [-2, -1, 0], "projections": ["mlp"], "steps": steps, "batch": batch,
        "max_batches": steps, "max_tokens": length, "forget_max_tokens": length, "min_chars": 0, "c": 4.0, "seed": 0,
        "c_unit": "absolute", "control_vector": "uniform", "lr": 1e-2, "alpha": 5.0, "shuffle": False,
        "skip_first": False, "mask_padding": False,
    }  # fmt: skip

    def count(name: str, tokens: int, work: Callable[[nn.Module], object]) -> None:
        model = make_model("mistral", blocks=BLOCKS, hidden_size=128, intermediate_size=448)
        weights = sum(p.numel() for block in blocks(model) for p in block.parameters() if p.dim() > 1)
        with FlopCounterMode(display=False) as counter:
            work(model)
        counted[name] = counter.get_total_flops() / (2 * weights * tokens)

    def publish(model: nn.Module) -> object:
        controls = rmu.draw_controls(["topic"], 128, "uniform", 0)
        lists = given | {"alpha": [given["alpha"]], "forget_max_tokens": [length]}
        return reference.unlearn(model, tokenizer, {"topic": corpora[0]}, corpora[1], controls, lists)

    tokens = torch.arange(length)[None] + 2
    count("plain", length, lambda model: model.model(tokens, use_cache=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PROBES", 1)  # history is a few steps of hundreds in a real training
        task = Task(given, tokenizer, {"topic": corpora[0]}, corpora[1])
        count("ours", 2 * batch * steps * length, lambda model: rmu.unlearn(model, task))
    count("reference", 2 * batch * steps * length, publish)
    return counted


def test_passes_are_those_of_the_blocks_that_run(passes):
    assert passes["plain"] == pytest.approx(1, abs=0.1), "attention itself is left out of the weights"
    assert LAYER / BLOCKS < passes["ours"] < 0.7 and 1.5 < passes["reference"] < 3


def row(rule: str, tokens: float, each: float, disk: float) -> tuple[str, float, float]:
    """A row of the table, its GPU-hours and MB on disk."""
    hours = 2 * WEIGHTS * tokens * each / SUSTAINED / 3600
    memory = resources.memory_mb(rule, WEIGHTS * 2 / 2**20)
    shown = f"{hours * 60:.1f}" if tokens else "none"
    return f"| {rule} | {tokens:,.0f} | {each:.2f} | {shown} | {memory:,} | {disk:.0f} |", hours, disk


def evaluated_tokens(config: dict) -> float:
    """Tokens that one job of `evaluate` runs on: questions and texts under every clearing and draw."""
    total = 0
    for entry in config["study"]["evaluate"]:
        chosen = [config["clearings"][name] for name in entry["clearings"]]
        times = sum(found["draws"] if found["direction"] in ("rand", "randn") else 1 for found in chosen)
        for name in entry["benchmarks"]:
            found = config["benchmarks"][name]
            if found["kind"] == "text":
                total += 3 * times * found["max_rows"] * TEXT_TOKENS  # scores, and predictions of both models
            else:
                reported = (1 - found["fit"]) * ASKED[name]
                total += times * min(reported, found["max_scored"] or reported) * QUESTION_TOKENS
    return total


def gpu_gb(rule: str) -> float:
    """GB of GPU memory that a job of the study of the pair needs."""
    weights = 2 * WEIGHTS / 1e9
    if rule == "unlearn":
        edited = 3 * WIDTH * INNER * 2 * 4 / 1e9  # gradient, two moments, original
        kept = 4 * 768 * 3 * (4 * INNER + 10 * WIDTH) * 2 / 1e9
        return weights + edited + kept
    return weights + 2048 * (32000 * 4 * 2 + 2048 * 2 * 32) / 1e9


def pair(passes: dict[str, float], folder: Path) -> dict:
    """What the table of studies/zephyr.yaml says."""
    planned_jobs = planned(snakemake(folder, "--dry-run", "--configfile", "studies/zephyr.yaml").stdout)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, yaml.safe_load((ROOT / "studies/zephyr.yaml").read_text()))
    config = complete(config, ROOT / "workflow/schemas/config.schema.yaml")
    prompts = ASKED["wmdp_bio"] + ASKED["wmdp_cyber"] + 2 * config["prompts"]["mmlu"]["max_rows"]
    tokens = {
        "compute_prefix": PREFIX * LAYER / BLOCKS,
        "unlearn": TRAINED * passes["ours"],
        "collect_activations": prompts * PROMPT_TOKENS,
        "evaluate": evaluated_tokens(config),
        "complete_prompts": 3 * 48 * (PROMPT_TOKENS + 32),
    }
    disk = {
        "compute_prefix": PREFIX * WIDTH * 2 / 1e6,
        "unlearn": overlay_mb(WIDTH, INNER, 2, topics=2),
        "collect_activations": activations_mb(WIDTH, BLOCKS, 2, int(prompts), SETS),
        "evaluate": evaluated_tokens(config) / QUESTION_TOKENS * ROW_BYTES / 1e6,
        "complete_prompts": 1,
    }
    rows, hours = [], {SMALL: 0.0, SUSTAINED: 0.0}
    for rule in GPU_RULES:
        minutes = {speed: 2 * WEIGHTS * tokens[rule] / speed / 60 for speed in hours}
        for speed in hours:
            hours[speed] += planned_jobs[rule] * minutes[speed] / 60
        memory = resources.memory_mb(rule, WEIGHTS * 2 / 2**20)
        rows.append(
            f"| {rule} | {planned_jobs[rule]} | {minutes[SMALL]:.1f} | {minutes[SUSTAINED]:.1f} | {gpu_gb(rule):.1f} "
            f"| {memory:,} | {disk[rule]:,.0f} |"
        )
    total = sum(planned_jobs[rule] * disk[rule] for rule in GPU_RULES) / 1e3 + 4 * WEIGHTS / 1e9
    return {
        "pair": "\n".join(rows), "jobs": sum(planned_jobs[rule] for rule in GPU_RULES), "small": SMALL / 1e12,
        "hours_small": hours[SMALL], "hours_large": hours[SUSTAINED], "most": max(map(gpu_gb, GPU_RULES)),
        "total": total, "weights": 2 * WEIGHTS / 1e9,
    }  # fmt: skip


def test_the_pair_fits_a_gpu_of_24_gb():
    assert 2 * WEIGHTS / 1e9 < gpu_gb("evaluate") < gpu_gb("unlearn") < 22


def test_the_table_of_a_large_sweep_is_what_is_computed(passes, study, tmp_path):
    hazardous, everything = HAZARDOUS * QUESTION_TOKENS, (HAZARDOUS + BENIGN) * QUESTION_TOKENS
    answers = (CLEARINGS * (HAZARDOUS + BENIGN) + NULLS * HAZARDOUS) * ROW_BYTES / 1e6
    activation = activations_mb(WIDTH, BLOCKS, 2, PROMPTS, SETS)
    rows = [
        row("unlearn", TRAINED, passes["ours"], overlay_mb(WIDTH, INNER, 2, topics=2)),
        row("collect_activations", 2 * PROMPTS * PROMPT_TOKENS, 1, 2 * activation),
        row("fit_junk", 0, 0, junk_mb(WIDTH, BLOCKS, topics=2)),
        row("evaluate", CLEARINGS * everything + NULLS * hazardous, 1, answers),
    ]
    disk, checkpoint = sum(mb for _, _, mb in rows), WEIGHTS * 2 / 1e6
    assert disk <= checkpoint / 30, "a variant takes more than 1/30 of a checkpoint"
    run = RUNS[1].removeprefix("results/")
    files = sum(path.is_file() for top in ("results", "logs/results") for path in (study / top / run).rglob("*"))
    text = TABLE.format(
        variants=VARIANTS, layer=LAYER, rows="\n".join(text for text, _, _ in rows),
        hours=VARIANTS * sum(hours for _, hours, _ in rows), disk=VARIANTS * disk / 1e3, reference=passes["reference"],
        sustained=SUSTAINED / 1e12, question_tokens=QUESTION_TOKENS, clearings=CLEARINGS, hazardous=HAZARDOUS,
        benign=BENIGN, nulls=NULLS, share=checkpoint / disk, checkpoint=checkpoint / 1e3,
        prefix=PREFIX * WIDTH * 2 / 1e9, files=files, **pair(passes, study),
    )  # fmt: skip
    made = tmp_path / "scale.md"
    made.write_text(text)
    assert DOC.exists() and DOC.read_text() == text, f"Right? Then: cp {made} {DOC}"
