"""How a run comes to be over the steps of its training."""

FILE, JOB = "emergence.parquet", "emergence"  # of each run; what the job says of itself stands in {JOB}.job.json


def runs(study) -> list[str]:
    """The runs of which it is measured."""
    return study.emerging
