"""A process that keeps loaded the libraries that scripts import, and forks for each script that it is handed.

Loading torch and transformers takes 4 CPU-seconds, which two of three jobs of a fictional study would spend before they
begin. Only other people's modules are kept: each job loads those of this package anew.
"""

import ast
import atexit
import gc
import marshal
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# What the libraries of numbers read as they are loaded: the default of every rule. Jobs with more threads run alone.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PACKAGE = "overpaint"


def start(python: str, environment: Mapping[str, str]) -> str:
    """Start the process, which ends with this one; the command that stands for `python` and hands it what follows.

    environment: variables that all scripts have, since libraries read some of them as they are loaded.
    """
    if sys.platform != "linux":  # elsewhere libraries do not bear a fork
        return shlex.quote(python)
    server = subprocess.Popen(
        [python, "-m", "overpaint.jobs.warm"],
        env=os.environ | environment | THREADS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(_stop, server)
    address = server.stdout.readline().decode().rstrip("\n")
    return shlex.join([python, "-S", "-E", str(Path(__file__).with_name("hand.py")), python, address])


def _stop(server: subprocess.Popen) -> None:
    server.stdin.close()
    server.wait()


def serve() -> None:
    """Fork for each script until standard input ends; a fork returns when its script has ended."""
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to this process as well
    forks: set[int] = set()
    signal.signal(signal.SIGCHLD, lambda *_: _reap(forks))
    folder, door = tempfile.mkdtemp(prefix="overpaint-"), socket.socket(socket.AF_UNIX)
    door.bind(f"{folder}/door")
    door.listen(64)
    print(f"{folder}/door", flush=True)
    os.dup2(2, 1)  # nobody reads on what libraries might print
    while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
        line, _ = door.accept()
        with suppress(OSError, EOFError, ValueError):  # who asked may be gone
            asked, streams = _received(line)
            script, place, variables = marshal.loads(asked)
            load(Path(script).read_bytes())
            if fork := os.fork():
                forks.add(fork)
            else:
                door.close()
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # it waits until the script begins
                signal.signal(signal.SIGINT, interrupted)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _become(script, place, variables, streams)
                line.send(b"\1")
                if line.recv(1) == b"\1":  # interrupted before; two that wait are one
                    os.kill(os.getpid(), signal.SIGINT)
                return run(script, line)
            for stream in streams:
                os.close(stream)
        line.close()
    shutil.rmtree(folder)


def _reap(forks: set[int]) -> None:
    """Let go of the forks that have ended; what they cost counts as this process's own."""
    for fork in list(forks):
        with suppress(ChildProcessError):  # a signal in the middle of this has let go of it
            if os.waitpid(fork, os.WNOHANG)[0]:
                forks.discard(fork)


def _received(line: socket.socket) -> tuple[bytes, list[int]]:
    """What `hand` sent: a message, and three streams."""
    size, streams, _, _ = socket.recv_fds(line, 8, 3)
    asked, wanted = b"", int.from_bytes(size, "big")
    while len(asked) < wanted:
        piece = line.recv(wanted - len(asked))
        if not piece:
            raise EOFError
        asked += piece
    return asked, list(streams)


def load(source: bytes) -> None:
    """Import what a script imports, and forget the modules of this package again."""
    with suppress(SyntaxError):  # the script itself will say what is wrong
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                with suppress(Exception):
                    exec(compile(ast.Module([node], []), "<imports>", "exec"), {})
    _forget()
    gc.freeze()  # or the first collection of every fork would copy all that is loaded


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def _become(script: str, place: str, variables: dict[str, str], streams: list[int]) -> None:
    """Give this process the arguments, folder, environment and streams of the one that was to run the script."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv, sys.path[0] = [script], str(Path(script).parent)


def run(script: str, line: socket.socket) -> None:
    """Run a script as the main one of this process; it ends when nobody waits for it any more."""
    threading.Thread(target=_end_with, args=[line], daemon=True).start()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if status and status is not error.code:
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    line.send(bytes([status & 255]))
    line.detach()  # closed as the process ends


def _end_with(line: socket.socket) -> None:
    """Kill this process when `hand` has been killed."""
    if not line.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve()
