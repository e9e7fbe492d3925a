"""The bodies of jobs, by kind: reading and indexing videos, training on labels, comparing models, downloads."""

from collections.abc import Callable
from typing import Any

from cfmr.server.context import AppState
from cfmr.server.stores.jobs import JobContext
from cfmr.server.work.check import check_all_labels
from cfmr.server.work.curate import import_folder, read_again, rename_video
from cfmr.server.work.fetch import fetch_checkpoint
from cfmr.server.work.index import add_videos, update_and_serve, use_checkpoint
from cfmr.server.work.learn import learn_from_labels

HANDLERS: dict[str, Callable[[AppState, JobContext, dict[str, Any]], dict[str, Any]]] = {
    "add": add_videos,
    "import": import_folder,
    "reread": read_again,
    "rename": rename_video,
    "learn": learn_from_labels,
    "check": check_all_labels,
    "switch": update_and_serve,
    "fetch": fetch_checkpoint,
    "use": use_checkpoint,
}
