"""The job that downloads a known checkpoint."""

from typing import Any

from cfmr.server.context import AppState
from cfmr.server.stores.jobs import JobContext


def fetch_checkpoint(_: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: download a checkpoint; one that was broken off goes on where it was."""
    name = str(arguments["name"])
    job.say("Downloading")
    job.run("models", "fetch", name, stage="Downloading")
    job.say("Downloaded", 1.0)
    return {"name": name}
