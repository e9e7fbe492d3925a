"""What a server needs to know before it starts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory
from cfmr.index.location import is_address
from cfmr.index.workspace import BESIDE, NAME, Workspace, make_workspace, open_workspace, write_workspace
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
    def place(self) -> Workspace:
        """The workspace, with what it is of."""
        features = self.features or self.workspace / "features.hdf5"
        return Workspace(self.workspace, self.videos, self.index, features, self.checkpoint)

    @property
    def database_url(self) -> str | URL:
        """The database given, or a SQLite file in the workspace."""
        if self.database:
            return self.database
        # not written by hand: a question mark in the path would begin the options of the address
        return URL.create("sqlite", database=str(self.workspace / "labels.sqlite"))


def resolve_settings(
    index: Path | None,
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
    """Settings: of a folder of videos alone, or of an index.

    Without an index everything lies in the folder's workspace. With one, what was not given is looked for beside it,
    where `cfmr demo` puts it.

    Raises:
        InputError: a folder or file that was named is missing, or others could reach the server without a token; the
            workspace cannot be made, or is of something else.
    """
    _check_reach(host, token)
    if index is not None and not videos.is_dir():
        raise InputError(f"{videos}: no such folder; --videos names the folder with the video files")
    for given in [*filter(None, (features, checkpoint)), *annotations, *folders]:
        if not given.exists():
            raise InputError(f"{given}: no such file or folder")
    if index is None:
        place = make_workspace(videos, workspace)
        index, workspace, beside = place.index, place.root, place.root
    else:
        index = index if is_address(index) else index.resolve()
        beside = Path.cwd() if is_address(index) else index.parent
        workspace = make_directory((workspace or beside / BESIDE).resolve())
    local = token is None and "HOME" in os.environ
    settings = Settings(
        index=index,
        videos=videos.resolve(),
        workspace=workspace,
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
    _write_down(settings.place)
    return settings


def _write_down(place: Workspace) -> None:
    if not place.own and (place.root / NAME).exists() and (found := open_workspace(place.root)).own:
        raise InputError(f"{place.root}: the workspace of {found.videos}; choose another place with --workspace")
    write_workspace(place)


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
