"""Running the ONNX graph of an index within limits: it may come from anywhere, and ask for any amount of work.

`graph_check` has let pass what takes time by the size of its tensors alone. But one operator can make a tensor of any
size, and many can multiply large ones. So the tensors of all graphs share an arena of bounded size, and a run that
takes too long is ended between two operators. Nothing is computed when a graph is opened, where neither limit holds.
"""

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.files.reading import reading
from cfmr.index.graph_check import check_graph

MEMORY = 128 << 20  # bytes of all tensors that are computed; weights are not counted, a file holds them
SECONDS = 2.0  # of one run; a sentence takes about a millisecond
NOT_OPTIMISED = ["ConstantFolding", "SkipLayerNormFusion"]  # one computes before it is asked, one makes norms slow
_LOOK = 0.25  # seconds between two looks at what runs


def open_graph(path: Path) -> Any:
    """An ONNX Runtime session on one thread: a sentence is too little work to share.

    Raises:
        InputError: the graph is damaged, or is none that this project writes; see `check_graph`.
    """
    import onnxruntime

    check_graph(path)
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, and said in one line
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    with reading(path, "an ONNX graph that runs", "build the index again"):
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=NOT_OPTIMISED
        )


def run_graph(session: Any, path: Path, **inputs: NDArray[Any]) -> NDArray[np.float32]:
    """The vector (dim,) that a graph makes of its input. Raises InputError if it makes anything else, or too slowly."""
    with reading(path, "an ONNX graph that runs", "build the index again"):
        vector = np.asarray(_watch.run(session, inputs))
        if vector.ndim != 1 or vector.dtype != np.float32 or not math.isfinite(vector.dot(vector)):
            raise ValueError(f"it gives {vector.dtype} {vector.shape} where a vector is expected")
        return vector


@cache
def _bound_memory() -> None:
    """Make the arena of this process that sessions share if they ask for it."""
    import onnxruntime as ort

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, ort.OrtArenaCfg({"max_mem": MEMORY}))


class _Watch:
    """Ends runs that take too long. A thread of its own for each would cost a tenth of a search."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[float, Any]] = {}  # when they are to end, and how
        self._numbers = itertools.count()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._process = 0  # whose thread it is; a fork has none
        self._new_options: Callable[[], Any]

    def run(self, session: Any, inputs: Mapping[str, NDArray[Any]]) -> Any:
        """The first output of a graph."""
        if self._process != os.getpid():
            self._start()
        options = self._new_options()
        number = next(self._numbers)
        self._running[number] = time.monotonic() + SECONDS, options
        if not self._wake.is_set():  # setting it wakes the thread, which costs as much as a search in one video
            self._wake.set()
        try:
            return session.run(None, inputs, options)[0]
        finally:
            del self._running[number]

    def _start(self) -> None:
        with self._lock:
            if self._process != os.getpid():
                import onnxruntime

                self._new_options = onnxruntime.RunOptions
                self._process = os.getpid()
                threading.Thread(target=self._look, name="graphs", daemon=True).start()

    def _look(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_LOOK)
            self._wake.clear()  # what begins from here on sets it again; what began before is looked at now
            for stop, options in list(self._running.values()):
                if time.monotonic() > stop:
                    options.terminate = True
            if self._running:
                self._wake.set()


_watch = _Watch()
