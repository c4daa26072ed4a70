"""`python -m overpaint.commands`, where the command itself is not installed."""

from overpaint.commands.app import command

command()
