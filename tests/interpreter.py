"""An interpreter that has imported the libraries before it is asked to run a stage.

A stage of a tiny audit spends most of its time on importing MindSpore and scikit-learn.
Here one process imports them once, and a copy of it, made by fork, runs each stage. Of
the project's own modules those are imported before that a checkout shares with the
tests; a checkout with a `pipeline` of its own imports its own. What depends on a fresh
interpreter, such as signals to a whole run or libraries that are hidden from it, needs
`sys.executable`.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

LIBRARIES = (
    "mindspore.dataset",
    "h5py",
    "jinja2",
    "joblib",
    "matplotlib.backends.backend_svg",
    "matplotlib.image",
    "pydantic",
    "pyarrow.parquet",
    "rich.progress",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.neural_network",
)
# Modules of the project whose import takes long. Programs, and what looks at the
# terminal when it is imported, are not among them.
OWN = (
    "pipeline.audit.experiment",
    "pipeline.cache.stamps",
    "pipeline.config",
    "pipeline.data.sources",
    "pipeline.findings.report",
    "pipeline.models.networks",
    "pipeline.pages.html",
)
PROJECT = Path(__file__).resolve().parents[1]
# What make is given as PYTHON: it hands a stage to the process above, and runs anything
# else as any interpreter does.
CLIENT = """#!{python} -SE
import json, os, socket, sys
words = sys.argv[1:]
if words[:1] != ["-m"] or not words[1].startswith(("stages.", "tests.bench.")):
    os.execv({python!r}, [{python!r}, *words])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    job = json.dumps([words[1:], os.getcwd(), dict(os.environ)])
    server.sendall(job.encode() + b"\\n")
    sys.exit(int(server.makefile().read()))
"""


@cache
def preloaded() -> str:
    """Return the path of the interpreter, which ends with this process."""
    folder = Path(mkdtemp(prefix="interpreter-"))
    client, address = folder / "python", str(folder / "socket")
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    # As the Makefile sets them, for they are read on import.
    environment = {**os.environ, "GLOG_v": "4", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    server = subprocess.Popen(
        [sys.executable, __file__, address, str(client)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    atexit.register(server.stdin.close)
    return str(client)


def serve(address: str, client: str) -> None:
    """Run what clients ask for, until the standard input is closed."""
    sys.path.insert(0, str(PROJECT))
    for name in (*LIBRARIES, *OWN):
        __import__(name)
    sys.path.pop(0)
    # Else each copy would look through all objects of the libraries, and so copy them.
    gc.freeze()
    # A process that is not waited for leaves nothing behind.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        ready, *_ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(connection, client)
            return
        connection.close()


def answer(connection: socket.socket, client: str) -> None:
    """Run a stage in a process of its own, and send its exit status."""
    _, streams, *_ = socket.recv_fds(connection, 1, 3)
    words, folder, environment = json.loads(connection.makefile().readline())
    if (process := os.fork()) != 0:
        _, status = os.waitpid(process, 0)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(str(code if code >= 0 else 128 - code).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # So that a stage has others run by this interpreter as well.
    sys.executable = client
    sys.argv = words
    sys.path[0] = folder
    if Path(folder, "pipeline").resolve() != PROJECT / "pipeline":
        forget("pipeline")
    status = run(words[0])
    sys.stdout.flush()
    sys.stderr.flush()
    threading._shutdown()  # pools of workers end here, else they are waited for forever
    atexit._run_exitfuncs()
    os._exit(status)  # to take the libraries apart takes longer than most stages


def forget(package: str) -> None:
    """Have a package, and all within it, imported anew."""
    for name in list(sys.modules):
        if name.split(".")[0] == package:
            del sys.modules[name]


def run(name: str) -> int:
    """Run a module as a program, and return its exit status."""
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(*sys.argv[1:])
