"""How coherent the continuations of a run are, as it is and cleared, and how many hold the correct answer."""

FILE, JOB = "coherence.csv", "completions"  # of each run; what the job says of itself stands in {JOB}.job.json


def runs(study) -> list[str]:
    """The runs of which it is measured."""
    return study.completed
