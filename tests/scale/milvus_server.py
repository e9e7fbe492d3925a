"""A real Milvus server for tests: the one of the `milvus` wheel, in a process that can be killed and started again.

    python -m tests.scale.milvus_server FOLDER [--mmap]

runs one until it is interrupted, and prints its address and process. With --mmap it maps what it has loaded from files
in the folder, instead of holding it in memory.
"""

import contextlib
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

PORTS = (
    "etcd_port root_coord_port proxy_port proxy_internal_port query_coord_port query_node_port index_coord_port "
    "index_node_port data_coord_port data_node_port webservice_port"
)
STARTING = 120.0  # seconds


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that no connection going out is given meanwhile."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found


def _is_well(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return b"OK" in answer.read()
    except OSError:
        return False


class Server:
    """A server that keeps its data in a folder. Only one can run on a machine: its own store has a fixed port."""

    def __init__(self, folder: Path, mapped: bool = False) -> None:
        import milvus

        self.folder = folder
        self._ports = dict(zip(PORTS.split(), free_ports(len(PORTS.split())), strict=True))
        given = {name: port for name, port in self._ports.items() if name != "webservice_port"}
        configuration = milvus.MilvusServerConfig(data_dir=str(folder), **given)
        configuration.set("common.session.ttl", 5)  # seconds after which a part that was killed counts as gone
        configuration.resolve()  # writes it
        if mapped:  # an option that the wheel's template does not have
            written = folder / "configs" / "milvus.yaml"
            place = f"queryNode:\n  mmapDirPath: {folder / 'mapped'}\n"
            written.write_text(written.read_text().replace("queryNode:\n", place, 1))
            (folder / "mapped").mkdir()
        milvus._initialize_data_files(str(folder))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"milvus://127.0.0.1:{self._ports['proxy_port']}"

    def start(self) -> None:
        # the wheel's own start refuses a port on which connections of the server before still linger
        environment = {
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._ports["webservice_port"]),
            "MILVUS_RUN_DIR": str(self.folder / "run"),
            "LD_LIBRARY_PATH": str(self.folder / "bin"),
        }
        command = [str(self.folder / "bin" / "milvus"), "run", "standalone"]
        with open(self.folder / "logs" / "out.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + STARTING
        while not _is_well(f"http://127.0.0.1:{self._ports['webservice_port']}/healthz"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the Milvus server did not start (is another running?); see {self.folder}/logs")
            time.sleep(0.2)
        time.sleep(1)  # it says so a little too early

    def kill(self) -> None:
        """As when the machine loses its power. Another thread may start it again meanwhile."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(30)


if __name__ == "__main__":
    import sys

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    server = Server(folder, "--mmap" in sys.argv[2:])
    server.start()
    assert server.process is not None
    print(server.address, server.process.pid, flush=True)  # noqa: T201
    try:
        server.process.wait()
    finally:
        server.kill()
