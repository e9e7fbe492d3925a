"""What MindSpore needs before it is imported: an older numpy, and to be told to say less."""

import os
from importlib.util import find_spec

import numpy as np

from cfmr.errors import InputError


def prepare() -> None:
    """Raises InputError where MindSpore is installed beside a numpy that it crashes on."""
    if find_spec("mindspore") and int(np.__version__.split(".")[0]) >= 2:
        raise InputError(
            f"MindSpore 2.10 needs numpy below 2, here is {np.__version__}; "
            "install cfmr[mindspore] into an environment of its own"
        )
    os.environ.setdefault("GLOG_v", "3")  # errors only: MindSpore's warnings are many and not for who trains
