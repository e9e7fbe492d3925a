"""What runs on the cluster in tests. Importable there: the tests' folder is on the path of its processes."""

import os
import time
from typing import Any

from cfmr.cluster.extract import ExtractingWorker
from cfmr.cluster.pool import Row


class Unlucky(ExtractingWorker):
    """Takes its time, dies over the video "deadly", and fails over "sometimes" until a file lies beside it."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__(name, options)

    def __call__(self, task: Row) -> Row:
        time.sleep(0.2)
        if task["name"] == "deadly":
            os._exit(1)
        mark = f"{task['where']}.tried"
        if task["name"] == "sometimes" and not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(1)
        return super().__call__(task)
