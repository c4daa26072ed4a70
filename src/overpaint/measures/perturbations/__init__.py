"""What answers do when weights are rounded, shaken or scaled back, or when other words stand before a question."""

FILE, JOB = "perturbations.parquet", "perturbations"  # of each run; what the job says of itself: {JOB}.job.json


def runs(study) -> list[str]:
    """The runs of which it is measured."""
    return ["base", *study.perturbed] if study.perturbed else []
