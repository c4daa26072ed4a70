"""The one exception that a user can cause: its text is a whole sentence for the terminal."""


class UserError(Exception):
    """Bad input: what was wrong, where, what to do, and which values are valid."""
