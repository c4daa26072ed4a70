"""Says how far something is that takes long (standard library only)."""

import sys
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

EVERY_S = 5.0
ERASE = "\r\x1b[K"

Item = TypeVar("Item")


class Telling:
    """A line every EVERY_S seconds, "{what}: {done} of {total} {unit}"; a terminal shows the last one only."""

    def __init__(self, what: str, unit: str = "") -> None:
        self.what, self.unit, self.last = what, unit, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Say so, where it is time to."""
        now = time.monotonic()
        if now - self.last >= EVERY_S:
            self.last = now
            line = f"{self.what}: {done:,} of {total:,} {self.unit}".rstrip()
            _write(f"{ERASE}{line}" if sys.stderr.isatty() else f"{line}\n")

    def end(self) -> None:
        """Take the line off a terminal."""
        if sys.stderr.isatty():
            _write(ERASE)


def counted(items: Collection[Item], what: str) -> Iterator[Item]:
    """The items one by one, and now and then how many of them are done."""
    telling = Telling(what)
    try:
        for done, item in enumerate(items):
            telling(done, len(items))
            yield item
    finally:
        telling.end()


def _write(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
