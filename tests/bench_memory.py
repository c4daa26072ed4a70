"""What a model that is read part by part takes: `make bench-memory`.

Peak resident memory of two RMU steps and of 20 questions under 3 clearings, on random weights of the shape of a model
of 7 billion in bfloat16, which are written once (14.5 GB) and removed after; and processor time beside that of the
whole model, on the same 32 blocks at width 256: of one run under 20 clearings, and of 8 runs that share a layer.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench import SETTINGS, words
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, MistralConfig

from overpaint.jobs.provenance import GIVEN
from overpaint.junk.clearing import Clearing
from overpaint.junk.run import Run
from overpaint.models import pretrain
from overpaint.models.hooks import residual_sites
from overpaint.models.load import load_model, load_tokenizer
from overpaint.models.overlay import copies, replaced
from overpaint.models.parts import blocks, down_projection, parameter_names
from overpaint.models.streamed.passes import State
from overpaint.scoring import together
from overpaint.scoring.intervened import IntervenedLM
from overpaint.sources import world
from overpaint.unlearning import prefix, span
from overpaint.unlearning.methods import Task, rmu

LAYER, LENGTH, QUESTIONS = 7, 512, 20
SHAPES = {
    "7b": {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8},
    "small": {"hidden_size": 256, "intermediate_size": 896, "num_attention_heads": 8, "num_key_value_heads": 2},
}
DTYPES = {"7b": "bfloat16", "small": "float32"}
PARTS = ["nothing", "prefix", "rmu", "evaluation"]
CLEARINGS, RUNS = 20, 8


def write(folder: Path, name: str) -> None:
    """A random model, each block in a file of its own, all blocks of the same numbers."""
    config = MistralConfig(vocab_size=32000, num_hidden_layers=32, sliding_window=None, **SHAPES[name])
    config.dtype = DTYPES[name]
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in AutoModelForCausalLM.from_config(config).state_dict().items()}
    config.save_pretrained(folder)
    pretrain.build_tokenizer(world.generate(seed=0, entities=24, values=12)).save_pretrained(folder)
    generator, index = torch.Generator().manual_seed(0), {}

    def drawn(shape: torch.Size) -> Tensor:
        tensor = torch.randn(shape, generator=generator) if len(shape) > 1 else torch.ones(shape) / 0.02
        return (0.02 * tensor).to(getattr(torch, DTYPES[name]))

    first = "model.layers.0."
    block = {key.removeprefix(first): drawn(shape) for key, shape in shapes.items() if key.startswith(first)}
    outside = {key: drawn(shape) for key, shape in shapes.items() if ".layers." not in key}
    for number, tensors in enumerate([outside, *([block] * 32)]):
        file = f"model-{number:05d}-of-00033.safetensors"
        named = {f"model.layers.{number - 1}.{key}" if number else key: value for key, value in tensors.items()}
        save_file(named, folder / file, {"format": "pt"})
        index |= dict.fromkeys(named, file)
    listed = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(listed, encoding="utf-8")


def clearings(model: nn.Module, count: int, scopes: tuple[str, ...] = ("all",)) -> list[Clearing]:
    """So many clearings of two random directions, at every site or from the layer on in turns."""
    generator, found = torch.Generator().manual_seed(0), []
    for number in range(count):
        basis = torch.linalg.qr(torch.randn(model.config.hidden_size, 2, generator=generator))[0].T
        scope = scopes[number % len(scopes)]
        sites = [site for site in residual_sites(model) if scope == "all" or int(site.split("/")[0]) >= LAYER]
        found.append(Clearing(f"cleared {number}", "", basis, dict.fromkeys(sites, torch.zeros(2))))
    return found


def pairs(tokenizer, count: int) -> tuple:
    """Four options of two words each for so many questions of 24 words."""
    asked = [tuple(tokenizer(text)["input_ids"]) for text in words(count, 24, 0)]
    options = [tuple(tokenizer(text)["input_ids"]) for text in words(4 * count, 2, 1)]
    return tuple((asked[number // 4], option) for number, option in enumerate(options))


def train(model: nn.Module, tokenizer, folder: Path, beforehand: bool) -> None:
    """Two steps of RMU as published, on batches of 4 and 4 texts of 512 tokens; or what is computed before them."""
    sizes = {"max_tokens": LENGTH, "forget_max_tokens": LENGTH, "steps": 2, "layer": LAYER, "alpha": 1200.0}
    settings, given = SETTINGS | sizes, ({"topic": words(8, LENGTH, 0)}, words(8, LENGTH, 1))
    if beforehand:
        made = prefix.compute(span.span_of(model, settings), tokenizer, *given, settings, norms=False)
        prefix.write(made, folder)
    else:
        rmu.unlearn(model, Task(settings, tokenizer, *given, prefix=folder))


def measure(part: str, folder: Path) -> float:
    """Peak resident memory of this process in MB."""
    GIVEN["residency"] = "streamed"
    if part == "write":
        write(folder, "7b")
    elif part != "nothing":
        model, tokenizer = load_model(folder, "bfloat16", "cpu"), load_tokenizer(folder)
        run = Run(model, tokenizer)
        if part in ("prefix", "rmu"):
            train(model, tokenizer, folder / "prefix", part == "prefix")
        else:
            states, asked = (
                [State(), *map(run.state, clearings(model, 2, ("all", "from")))],
                pairs(tokenizer, QUESTIONS),
            )
            together.score(IntervenedLM(model, tokenizer), [(state, asked) for state in states])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peaks(folder: Path) -> None:
    """Peaks of all parts on the shape of 7 billion weights, each in a process of its own."""
    if shutil.disk_usage(folder).free < 16e9:
        print("Not measured: the weights of the shape of 7 billion need 16 GB of disk.")
        return
    model = folder / "7b"
    try:
        for part in ("write", *PARTS):  # the peak of a process counts that of the one that started it: it stays small
            start = time.perf_counter()
            command = [sys.executable, __file__, "--measure", part, str(model)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"7b, {part}: {done.stdout.split()[-1]} MB, {time.perf_counter() - start:.0f} s", flush=True)
    finally:
        shutil.rmtree(model, ignore_errors=True)


def ratios(folder: Path, repeats: int) -> None:
    """Processor time beside the whole model's, in turns: one run under many clearings, and runs that share a layer."""
    torch.set_num_threads(1)
    write(folder / "small", "small")
    models = {}
    for residency in ("whole", "streamed"):
        GIVEN["residency"] = residency
        models[residency] = load_model(folder / "small")
    tokenizer = load_tokenizer(folder / "small")
    whole, cleared = models["whole"], clearings(models["whole"], CLEARINGS - 1)
    names = parameter_names(whole, [down_projection(blocks(whole)[LAYER + offset]) for offset in (-2, -1, 0)])
    unlearned = [
        {name: tensor + 0.001 * number for name, tensor in copies(whole, names).items()} for number in range(RUNS)
    ]
    runs = {name: Run(model, tokenizer) for name, model in models.items()}
    late = clearings(whole, 1, ("from",))[0]
    lm, other = (IntervenedLM(model, tokenizer) for model in models.values())
    asked = list(pairs(tokenizer, QUESTIONS))
    states = [State(), *map(runs["streamed"].state, cleared)]
    of_runs = [State(tensors, edits) for tensors in unlearned for edits in ({}, runs["streamed"].state(late).edits)]

    def one_by_one() -> None:
        lm.score(asked)
        for clearing in cleared:
            with runs["whole"].cleared(clearing):
                lm.score(asked)

    def by_run() -> None:
        for tensors in unlearned:
            with replaced(whole, tensors):
                lm.score(asked)
                with runs["whole"].cleared(late):
                    lm.score(asked)

    arms = {
        "20 clearings": (one_by_one, lambda: together.score(other, [(state, tuple(asked)) for state in states])),
        "8 runs": (by_run, lambda: together.score(other, [(state, tuple(asked)) for state in of_runs])),
    }
    for name, (plain, ours) in arms.items():
        spent = []
        for _ in range(repeats):
            times = [time.process_time()]
            for work in (plain, ours):
                work()
                times.append(time.process_time())
            spent.append((times[2] - times[1]) / (times[1] - times[0]))
        low, middle, high = sorted(spent)[0], sorted(spent)[len(spent) // 2], sorted(spent)[-1]
        print(f"{name}: streamed takes {middle:.2f} of the time of whole ({low:.2f} to {high:.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs=2, metavar=("PART", "FOLDER"), help="one measurement")
    parser.add_argument("--only", choices=["peaks", "ratios"])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.measure:
        print(f"{measure(given.measure[0], Path(given.measure[1])):.0f}")
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:
        if given.only != "ratios":
            peaks(Path(folder))
        if given.only != "peaks":
            ratios(Path(folder), given.repeats)


if __name__ == "__main__":
    main()
