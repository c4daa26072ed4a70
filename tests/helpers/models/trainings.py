"""Trainings on the topics of a fictional world."""

from overpaint.unlearning.methods import Task

TOPICS = ("gloomcraft", "riftlore")


def task(tokenizer, texts: dict[str, list[str]], settings: dict, **more) -> Task:
    return Task(settings, tokenizer, {topic: texts[topic] for topic in TOPICS}, texts["retain"], **more)


class Killed(BaseException):
    """Stands for the end of the process."""
