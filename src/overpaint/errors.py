"""An error that the user can mend; its message is one full sentence."""

import sys
from collections.abc import Callable
from functools import wraps


class UserError(Exception):
    """Bad input: what was wrong, where, what to do, and which values are valid."""

    def __str__(self) -> str:
        """The sentence, which may quote a stranger's text: what is no printable character in it is escaped."""
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in super().__str__())


def program(main: Callable[..., None]) -> Callable[..., int]:
    """`main` as a program: its exit status, and a UserError as its sentence on standard error."""

    @wraps(main)
    def run(*arguments: str) -> int:
        try:
            main(*arguments)
        except UserError as error:
            print(error, file=sys.stderr)
            return 1
        return 0

    return run
