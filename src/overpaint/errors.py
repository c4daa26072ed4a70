"""An error that the user can mend; its message is one full sentence."""


class UserError(Exception):
    """Bad input: what was wrong, where, what to do, and which values are valid."""

    def __str__(self) -> str:
        """The sentence, which may quote a stranger's text: what is no printable character in it is escaped."""
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in super().__str__())
