"""Hand a script to the process of `overpaint.jobs.warm`; run it here where that one cannot.

`python -S -E hand.py PYTHON ADDRESS SCRIPT` takes 15 ms: it imports none of this package, and little of the standard
library.
"""

import marshal
import os
import signal
import socket
import sys

KILLED = bytes([128 + signal.SIGKILL])  # the status of a process that could not tell its own


def hand(python: str, address: str, *command: str) -> int:
    """The exit status of a script, whose streams, folder and environment are those of this process.

    What is no script, or has other threads than the libraries were loaded for, runs here.
    """
    line = socket.socket(socket.AF_UNIX)
    taken, stopped = b"", []
    # The terminal interrupts the script as well, which cleans up; unless it has not begun yet.
    before = signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    if command[0].endswith(".py") and os.environ.get("OMP_NUM_THREADS") == "1":
        try:
            line.connect(address)
            asked = marshal.dumps((command[0], os.getcwd(), dict(os.environ)))
            socket.send_fds(line, [len(asked).to_bytes(8, "big")], [0, 1, 2])
            line.sendall(asked)
            taken = line.recv(1)
        except OSError:
            pass
    if not taken:
        signal.signal(signal.SIGINT, before)
        os.execv(python, [python, *command])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line.send(bytes([bool(stopped)]))
    status = line.recv(1)
    line.recv(1)  # nothing, when the process has ended
    return (status or KILLED)[0]


if __name__ == "__main__":
    os._exit(hand(*sys.argv[1:]))
