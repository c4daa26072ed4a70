"""How soon a run answers again when it is taught other facts of its topics, or benign ones."""

FILE, JOB = "relearning.parquet", "relearning"  # of each run; what the job says of itself stands in {JOB}.job.json


def runs(study) -> list[str]:
    """The runs of which it is measured."""
    return ["base", *study.relearned] if study.relearned else []
