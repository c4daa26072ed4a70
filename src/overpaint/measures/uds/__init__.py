"""The unlearning depth score: what the base loses when it goes on from what another model has written."""

FILE, JOB = "uds.parquet", "uds"  # of each run; what the job says of itself stands in {JOB}.job.json


def runs(study) -> list[str]:
    """The runs of which it is measured: none without a model that never knew, on whose scale it is."""
    return study.patched if study.naive_model else []
