"""A command on a pseudo-terminal, and what it leaves to be seen there."""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Callable
from pathlib import Path

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


def on_terminal(
    command: list[str], folder: Path, environment: dict[str, str], react: Callable[[str], str] = lambda said: ""
) -> tuple[int, str]:
    """Exit status of a command and all that it wrote to a terminal of 30 lines of 80 letters.

    `react` gets what was written so far, whenever there is more, and gives the keys that are pressed then.
    """
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.execvpe(command[0], command, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
    said = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # as the last process that has it ends
            break
        if not piece:
            break
        said += piece
        os.write(terminal, react(said.decode(errors="replace")).encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.decode(errors="replace")


def screen(said: str) -> list[str]:
    """The lines that stand on an endless terminal at the end."""
    lines, row, column = [""], 0, 0
    for part in re.split(r"(\x1b\[[?\d;]*[A-Za-z]|\r|\n)", said):
        control = CONTROL.fullmatch(part)
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif control and control[2] == "A":
            row -= int(control[1] or 1)
        elif control and control[2] == "K":
            lines[row] = "" if control[1] == "2" else lines[row][:column]
        elif not control:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]
