"""How far a run, as it is and cleared, predicts running text otherwise than the base: KL and top-1 tokens."""

FILE, JOB = "agreement.parquet", "answers"  # of each run; what the job says of itself stands in {JOB}.job.json


def runs(study) -> list[str]:
    """The runs of which it is measured."""
    return list(study.runs)
