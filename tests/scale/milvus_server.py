"""A real Milvus server for tests: the one of the `milvus` wheel, in a process that can be killed and started again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PORTS = (
    "etcd_port root_coord_port proxy_port proxy_internal_port query_coord_port query_node_port index_coord_port "
    "index_node_port data_coord_port data_node_port"
)
RUN = """
import sys
from milvus import MilvusServer
server = MilvusServer(wait_for_started=False)
server.config.configs.update(data_dir=sys.argv[1], **{k: int(v) for k, v in (a.split("=") for a in sys.argv[2:])})
server.webservice_port = server.config.configs.pop("webservice_port")
server.start()
print(server.server_proc.pid, server.webservice_port, flush=True)
server.server_proc.wait()
"""
STARTING = 120.0  # seconds


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _is_well(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return b"OK" in answer.read()
    except OSError:
        return False


class Server:
    """A server that keeps its data in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = [*PORTS.split(), "webservice_port"]
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._starter: subprocess.Popen[str] | None = None
        self._process = 0

    @property
    def address(self) -> str:
        return f"milvus://127.0.0.1:{self._ports['proxy_port']}"

    def start(self) -> None:
        ports = [f"{name}={port}" for name, port in self._ports.items()]
        command = [sys.executable, "-c", RUN, str(self.folder), *ports]
        # its Go runtime takes every core that there is
        environment = {**os.environ, "GOMAXPROCS": "2"}
        self._starter = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
        assert self._starter.stdout is not None
        self._process, health = map(int, self._starter.stdout.readline().split())
        deadline = time.monotonic() + STARTING
        while not _is_well(f"http://127.0.0.1:{health}/healthz"):
            if self._starter.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the Milvus server did not start (is another running?); see {self.folder}/logs")
            time.sleep(0.2)
        time.sleep(1)  # it says so a little too early

    def kill(self) -> None:
        """As when the machine loses its power."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._starter is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, how)
        try:
            self._starter.wait(20)
        except subprocess.TimeoutExpired:
            os.kill(self._process, signal.SIGKILL)
            self._starter.wait(20)
        if self._starter.stdout is not None:
            self._starter.stdout.close()
        self._starter = None
        time.sleep(0.2)
