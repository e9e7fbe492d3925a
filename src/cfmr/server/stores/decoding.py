"""Decoding for requests in processes of their own: what a file does to its decoder, it does not do to the server."""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cfmr.server.problems import Problem

_GRACE = 3.0  # seconds after which a process that should have ended itself is ended


class Decoders:
    """Processes that decode one file at a time each; started when needed, replaced when they die.

    Args:
        count: how many at most.
        niceness: how far they stand back behind everything else that wants a processor.
    """

    def __init__(self, count: int, niceness: int = 0) -> None:
        self._free = threading.Semaphore(count)
        self._niceness = niceness
        self._idle: list[_Decoder] = []
        self._busy: set[_Decoder] = set()
        self._lock = threading.Lock()

    def ask(self, do: str, path: Path, seconds: float, **arguments: Any) -> Any:
        """Have a task of `decode_worker` done within so many seconds.

        Raises:
            Problem: the file cannot be decoded, or not within the limits on memory and time; or the disk is full.
        """
        with self._free:
            with self._lock:
                decoder = self._idle.pop() if self._idle else _Decoder(self._niceness)
                self._busy.add(decoder)
            answer = decoder.ask({"do": do, "path": str(path), "seconds": seconds, **arguments}, seconds + _GRACE)
            with self._lock:
                self._busy.remove(decoder)
            if answer is None or answer.get("leaving"):
                decoder.close()
            else:
                with self._lock:
                    self._idle.append(decoder)
        if answer is None:
            raise Problem(422, f"{path.name}: it cannot be decoded, or not within {seconds:.0f} s")
        if answer.get("full"):
            raise Problem(507, "the disk is full")
        if "refused" in answer:
            raise Problem(422, str(answer["refused"]).replace(str(path), path.name))
        return answer["value"]

    def close(self) -> None:
        """End all processes that do nothing."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def break_off(self) -> None:
        """End also those that do something: whoever waits for them is refused."""
        with self._lock:
            for decoder in self._busy:
                decoder.kill()
        self.close()


class _Decoder:
    def __init__(self, niceness: int) -> None:
        argv = [sys.executable, "-m", "cfmr.server.stores.decode_worker", str(niceness)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def ask(self, task: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """The answer; None if the process died or took too long."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return None
        line = self._line(time.monotonic() + seconds)
        answer: dict[str, Any] | None = None if line is None else json.loads(line)
        return answer

    def _line(self, stop: float) -> bytes | None:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(stop - time.monotonic(), 0))
            piece = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not piece:
                return None
            line += piece
        return line

    def kill(self) -> None:
        """End the process, whatever it does; `close` is still to be called."""
        self._process.kill()

    def close(self) -> None:
        """End the process and forget it."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # of what could not be written to it
                stream.close()
        self._process.wait()
