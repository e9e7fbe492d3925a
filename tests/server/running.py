"""A real server on a free port, in a thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from cfmr.server.app import _listen, create_app, open_state
from cfmr.server.security import TimeoutProtocol
from cfmr.server.settings import Settings
from tests.server.sites import WordRetriever


@contextmanager
def running(settings: Settings, retriever: Any = None) -> Iterator[int]:
    """The port of the server."""
    (listening,) = _listen("127.0.0.1", 0)
    app = create_app(open_state(settings, lambda path: retriever or WordRetriever()))
    server = uvicorn.Server(uvicorn.Config(app, http=TimeoutProtocol, ws="none", log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
