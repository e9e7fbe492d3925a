"""Reading much at once without the garbage collector looking through all of it again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """For making very many objects that stay: in between there is nothing to collect, and looking takes a third."""
    if not gc.isenabled():  # another thread has paused it, and lets it go on
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
