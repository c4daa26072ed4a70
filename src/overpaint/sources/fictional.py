"""A source of texts: the domains of a fictional world."""

from pathlib import Path

from overpaint.errors import UserError
from overpaint.sources import world

TAKES = "world"
SAME = {"world": "equal", "domains": "overlapping"}
MAKE = {"corpus": world.corpus_rows, "prompts": world.prompt_rows, "text": world.text_rows}
MAKE |= {"questions": world.question_rows}


def rows(kind: str, settings: dict, path: Path) -> list[dict]:
    """Rows about the entities of the `domains`."""
    return MAKE[kind](world.load(path), settings["domains"])


def check(settings: dict, where: str) -> None:
    """Refuse domains that no world has."""
    unknown = sorted(set(settings["domains"]) - set(world.DOMAINS))
    if unknown:
        raise UserError(f"{where} names the domain {unknown[0]!r}: use any of {', '.join(world.DOMAINS)}.")


def most(settings: dict, made: dict) -> int:
    """How many rows a corpus of a world with settings `made` has."""
    return world.corpus_size(made["entities"], settings["domains"], made["coverage"])
