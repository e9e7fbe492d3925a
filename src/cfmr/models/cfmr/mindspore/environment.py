"""The published model on MindSpore. File by file and name by name the same as `../pytorch`."""

import os
from importlib.util import find_spec

import numpy as np

from cfmr.errors import InputError

if find_spec("mindspore") and int(np.__version__.split(".")[0]) >= 2:
    raise InputError(
        f"MindSpore 2.10 needs numpy below 2, here is {np.__version__}; "
        "install cfmr[mindspore] into an environment of its own"
    )
os.environ.setdefault("GLOG_v", "3")  # errors only: MindSpore's warnings are many and not for who trains
