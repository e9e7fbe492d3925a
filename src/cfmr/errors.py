"""The one error that a user can cause."""

import contextlib
import errno
import re
from collections.abc import Iterator

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of an OSError: nothing more can be written
LONGEST = 1000  # characters of a message; what stands between its beginning and its end is left out
GPU_IS_FULL = "the GPU has too little free memory; end what else uses it, or compute with --device cpu"
_NO_MEMORY = re.compile(r"out of memory|failed to allocate memory", re.IGNORECASE)  # torch, CUDA; ONNX Runtime
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line: it names the file, row or key and says what to do. The command line prints it and exits
    with 2. What it quotes of a file may be anything, so control characters are written out and the length is bounded.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


class DiskFullError(InputError):
    """There was no room to write. Nothing half-written remains; the same works again where there is room."""


def is_full_gpu(error: BaseException) -> bool:
    """Whether an error of torch or ONNX Runtime means that a GPU's memory was not enough; neither has one name for it.

    In the memory of the machine the same is a MemoryError.
    """
    return not isinstance(error, MemoryError | InputError) and _NO_MEMORY.search(str(error)) is not None


@contextlib.contextmanager
def needing_gpu_memory(device: str) -> Iterator[None]:
    """Turn what a library raises where a GPU's memory is not enough into an InputError."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's derive from nothing else
        if device == "cpu" or not is_full_gpu(error):
            raise
        raise InputError(f"--device {device}: {GPU_IS_FULL}") from error


def _one_line(message: str) -> str:
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], message)
