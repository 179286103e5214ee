"""Processes that start with the package imported: `python` in all but the import, which costs 10 s of CPU time.

One server per test session imports the package and then waits. For each request it forks a child, which becomes what
`python WORDS` would be. Only the server's imports have happened in it: no test, no fixture and no thread.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.02
IMPORTED = ("speechxfer.adaptation.run", "speechxfer.cli", "transformers.models.whisper.modeling_whisper")


class ForkedProcess:
    """A started process. output, errors: what it has written so far. wait(): its exit status, as Popen's returncode."""

    def __init__(self, link: socket.socket, folder: Path) -> None:
        # unbuffered: what select() says of the socket then holds for the next line
        self._answers, self._folder = link.makefile("rb", buffering=0), folder
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    @property
    def output(self) -> str:
        return (self._folder / "output").read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        return (self._folder / "errors").read_text(encoding="utf-8")

    def wait(self, seconds: float = 300) -> int:
        """Raises: AssertionError, with what it wrote, if it has not ended after `seconds`."""
        if self.returncode is None:
            ready, _, _ = select.select([self._answers], [], [], seconds)
            if not ready:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"not ended after {seconds} s\n{self.output[-3000:]}\n{self.errors[-3000:]}")
            self.returncode = int(self._answers.readline())
            self._answers.close()
        return self.returncode

    def wait_for(self, text: str, seconds: float = 100) -> None:
        """Wait until `text` is in its output. Raises: AssertionError if it ends before, or after `seconds`."""
        end = time.monotonic() + seconds
        while text not in self.output:
            if select.select([self._answers], [], [], POLL_SECONDS)[0] or time.monotonic() > end:
                self.wait(0)
                assert text in self.output, f"{self.output[-3000:]}\n{self.errors[-3000:]}"


class ForkServer:
    """The client's end. start(): as subprocess.Popen([sys.executable, *words])."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # the path of a Unix socket has at most 107 bytes, and pytest's folders are deep
        self._short = tempfile.TemporaryDirectory(prefix="fork")
        self._address = f"{self._short.name}/s"
        command = [sys.executable, __file__, self._address, str(os.getpid())]
        self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._server.stdout is not None and self._server.stdout.readline() == b"ready\n"

    def start(self, *words: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> ForkedProcess:
        """words: as after `python`: -c CODE, -m MODULE or a file, and arguments. env: in addition to os.environ."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        for name in ("output", "errors"):
            (folder / name).touch()
        link = socket.socket(socket.AF_UNIX)
        link.connect(self._address)
        request = {
            "words": [str(word) for word in words],
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ) | (env or {}),
            "folder": str(folder),
        }
        link.sendall(json.dumps(request).encode() + b"\n")
        with link:
            return ForkedProcess(link, folder)

    def run(self, *words: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> ForkedProcess:
        """As start(), until it has ended."""
        process = self.start(*words, cwd=cwd, env=env)
        process.wait()
        return process

    def start_ranks(self, count: int, *words: object, env: dict[str, str] | None = None) -> list[ForkedProcess]:
        """As many processes of one command, with the environment that torchrun gives them on one machine."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} | (env or {})
        shared |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(count))
        return [self.start(*words, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)]

    def close(self) -> None:
        self._server.terminate()
        self._server.communicate()
        self._short.cleanup()


def serve(address: str, client: int) -> dict[str, Any]:
    """Fork a child per request and tell how it ended, as long as `client`, the parent process, lives.

    Returns in children only: the request.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    running: dict[int, socket.socket] = {}
    while os.getppid() == client:
        if select.select([listener], [], [], POLL_SECONDS if running else 1.0)[0]:
            link, _ = listener.accept()
            request = json.loads(link.makefile("r").readline())
            pid = os.fork()
            if pid == 0:
                for other in (listener, link, *running.values()):
                    other.close()
                return request
            running[pid] = link
            link.sendall(f"{pid}\n".encode())
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            with running.pop(pid) as link, suppress(BrokenPipeError):  # nobody waits for it any more
                link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    sys.exit()


def become(request: dict[str, Any]) -> None:
    """Be what `python WORDS` is in this folder, with this environment."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    # a shell's background jobs are started with SIGINT ignored, and so are their children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for descriptor, name in ((1, "output"), (2, "errors")):
        file = os.open(f"{request['folder']}/{name}", os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    first, *rest = request["words"]
    if first == "-m":
        sys.argv = rest
        sys.path[0] = request["cwd"]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path[0] = ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # no child looks through what was imported
    become(serve(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
