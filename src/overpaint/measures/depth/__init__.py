"""What can be read off the residual stream at every depth, by logit lens and linear probes."""

FILE, JOB = "depth.parquet", "depth"  # of each run; what the job says of itself stands in {JOB}.job.json


def runs(study) -> list[str]:
    """The runs of which it is measured."""
    return ["base", *study.depth] if study.depth else []
