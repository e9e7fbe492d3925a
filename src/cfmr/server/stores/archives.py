"""Zip archives that are sent while they are made."""

import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

import anyio

from cfmr.server.problems import Problem

_PIECE = 1 << 20
PROBLEMS = "problems.txt"

Make = Callable[[], Awaitable[Path]]


class _Pipe(io.RawIOBase):
    """What is written and not yet sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: object) -> int:
        data = bytes(piece)  # type: ignore[call-overload]
        self._pieces.append(data)
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


async def stream_zip(files: Iterable[tuple[str, Make]]) -> AsyncIterator[bytes]:
    """An archive of files by name, each made when its turn comes; those that cannot be are told in problems.txt."""
    pipe, problems = _Pipe(), []
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for name, make in files:
            try:
                place = await make()
            except Problem as problem:
                problems.append(f"{name}: {problem.detail}")
                continue
            async with await anyio.open_file(place, "rb") as file:
                with archive.open(zipfile.ZipInfo(name), "w") as target:
                    while piece := await file.read(_PIECE):
                        target.write(piece)
                        yield pipe.take()
            yield pipe.take()
        if problems:
            archive.writestr(PROBLEMS, "\n".join(problems) + "\n")
    yield pipe.take()
