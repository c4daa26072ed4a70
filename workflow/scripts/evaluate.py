"""Score one run on the benchmarks under every clearing of the study."""

from pathlib import Path

import pandas as pd

from overpaint import agreement, clearing, evaluation, models
from overpaint.job import job
from overpaint.junk import Junk

with job(snakemake) as out:
    params, overlay = snakemake.params, models.Overlay.load(snakemake.input.overlay)
    model, base_tensors = models.load_overlaid(snakemake.input.model, overlay, params.dtype)
    tokenizer, junk = models.load_tokenizer(snakemake.input.model), Junk.load(snakemake.input.junk)
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
