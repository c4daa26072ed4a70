"""Score one run on the benchmarks under every clearing of the study."""

from pathlib import Path

import pandas as pd

from overpaint.jobs.job import job
from overpaint.junk import clearing
from overpaint.junk.directions import Junk
from overpaint.measures.agreement import measure as agreement
from overpaint.models.load import load_overlaid, load_tokenizer
from overpaint.models.overlay import Overlay
from overpaint.scoring import evaluation

with job(snakemake) as out:
    params, overlay = snakemake.params, Overlay.load(snakemake.input.overlay)
    model, base_tensors = load_overlaid(snakemake.input.model, overlay, params.dtype)
    tokenizer, junk = load_tokenizer(snakemake.input.model), Junk.load(snakemake.input.junk)
    files = zip(params.benchmarks.items(), snakemake.input.benchmarks, strict=True)
    benchmarks = {name: evaluation.Benchmark.of(name, settings, Path(path)) for (name, settings), path in files}
    plan = [
        (cleared, [benchmarks[name] for name in entry["benchmarks"]])
        for entry in params.plan
        for name in entry["clearings"]
        for cleared in clearing.for_run(name, params.clearings[name], overlay.settings, junk)
    ]
    rows = evaluation.evaluate_clearings(model, tokenizer, base_tensors, plan, params.split)
    pd.DataFrame(rows).astype(clearing.LABEL_TYPES).to_parquet(out.answers, index=False)
    rows = agreement.compare(model, tokenizer, base_tensors, plan, params.split)
    compared = pd.DataFrame(rows, columns=agreement.COLUMNS).astype(clearing.LABEL_TYPES)
    compared.to_parquet(out.agreement, index=False)
