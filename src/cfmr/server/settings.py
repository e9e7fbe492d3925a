"""What a server needs to know before it starts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory
from cfmr.index.location import is_address
from cfmr.server.security import is_loopback, token_weakness

MAX_UPLOAD = 4 << 30


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things lie and who may come.

    Attributes:
        index: the index to serve.
        videos: the folder of the videos; nothing outside it is ever sent, uploads go into it.
        workspace: labels, jobs, learned models and thumbnails go here.
        host, port: where to listen.
        token: needed beyond this machine.
        database: SQLAlchemy URL of the labels.
        features: the feature file of the indexed videos, which adding and learning need; None where there is none.
        checkpoint: the model of the index; None where there is none.
        annotations: files of which known moments are shown.
        folders: videos may be taken in from these folders and what is below them.
        max_upload: bytes of one uploaded video.
        workers: processes that answer.
    """

    index: Path
    videos: Path
    workspace: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    database: str = ""
    features: Path | None = None
    checkpoint: Path | None = None
    annotations: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    max_upload: int = MAX_UPLOAD
    workers: int = 1

    @property
    def database_url(self) -> str | URL:
        """The database given, or a SQLite file in the workspace."""
        if self.database:
            return self.database
        # not written by hand: a question mark in the path would begin the options of the address
        return URL.create("sqlite", database=str(self.workspace / "labels.sqlite"))


def resolve_settings(
    index: Path,
    videos: Path,
    *,
    workspace: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    database: str | None = None,
    features: Path | None = None,
    checkpoint: Path | None = None,
    annotations: Sequence[Path] = (),
    folders: Sequence[Path] = (),
    max_upload: int = MAX_UPLOAD,
    workers: int = 1,
) -> Settings:
    """Settings with everything that was not given looked for beside the index, where `cfmr demo` puts it.

    Raises:
        InputError: a folder or file that was named is missing, or others could reach the server without a token.
    """
    _check_reach(host, token)
    if not videos.is_dir():
        raise InputError(f"{videos}: no such folder; --videos names the folder with the video files")
    for given in [*filter(None, (features, checkpoint)), *annotations, *folders]:
        if not given.exists():
            raise InputError(f"{given}: no such file or folder")
    index = index if is_address(index) else index.resolve()
    beside = Path.cwd() if is_address(index) else index.parent
    local = token is None and "HOME" in os.environ
    return Settings(
        index=index,
        videos=videos.resolve(),
        workspace=make_directory((workspace or beside / "page").resolve()),
        host=host,
        port=port,
        token=token,
        database=database or "",
        features=_found(features or beside / "features.hdf5"),
        checkpoint=_found(checkpoint or beside / "checkpoint"),
        annotations=tuple(annotations) or tuple(sorted((beside / "annotations").glob("*.json"))),
        folders=tuple(f.resolve() for f in folders) or ((Path.home().resolve(),) if local else ()),
        max_upload=max_upload,
        workers=workers,
    )


def _found(path: Path) -> Path | None:
    return path.resolve() if path.exists() else None


def _check_reach(host: str, token: str | None) -> None:
    if token is not None and (weak := token_weakness(token)):
        raise InputError(f"--token: {weak}")
    if token is None and not is_loopback(host):
        raise InputError(
            f"--host {host}: others could reach this server, so it needs a token; set the environment variable "
            "CFMR_TOKEN (or --token) to 16 characters or more, or leave --host at 127.0.0.1"
        )
