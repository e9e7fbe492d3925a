"""Fetching a known checkpoint from the Hugging Face hub, or a mirror of it, into the hub's cache.

`huggingface_hub` speaks to the hub and keeps the cache (`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE`, tokens and proxies
are its own). Two things are done here that it does not do: a transfer that was broken off goes on in the next run, and
what came is compared with its checksum. Only safetensors, JSON and vocabularies are taken, none of which is executed.
"""

import errno
import fcntl
import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self

from cfmr.errors import DiskFullError, InputError
from cfmr.extractors.known_checkpoints import (
    RECORD,
    KnownCheckpoint,
    folder_of,
    is_installed,
    megabytes,
)
from cfmr.files.atomic import cannot_write, make_directory, read_json, replacing_directory, write_json
from cfmr.files.reading import brief
from cfmr.progress import Progress, silent

VOCABULARIES = ("merges.txt", "vocab.txt")
LARGEST_TEXT = 100 << 20  # bytes of a JSON file or a vocabulary
TIMEOUT = 30.0  # seconds for the hub to say what a repository holds
BLOCK = 1 << 20
TRANSPORTS = ("httpx", "httpx2", "httpcore", "httpcore2")  # packages of which huggingface_hub lets errors through


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub declares it.

    Attributes:
        name: in the repository.
        size: bytes.
        digest: SHA-256 of a large file, git's SHA-1 of a small one; the cache calls the file by it.
    """

    name: str
    size: int
    digest: str


def fetch(known: KnownCheckpoint, progress: Progress = silent) -> Path:
    """Bring a checkpoint here, and return its folder. What is here already is not fetched again.

    Args:
        progress: told the bytes that are here.

    Raises:
        InputError: the hub cannot be reached or has no such checkpoint, the disk is full, or what came is not what
            was declared. The name works only once everything is here; a broken transfer goes on in the next call.
    """
    if is_installed(known):
        return folder_of(known)
    if not is_available():
        raise InputError(f"{known.name}: fetching needs huggingface_hub; pip install 'cfmr[zero-shot]'")
    from huggingface_hub.utils import logging as chatter

    chatter.set_verbosity_error()  # type: ignore[no-untyped-call]
    progress(f"asking for {known.name}", 0, None)
    try:
        with _one_line(known):
            files = _declared(known)
    except _NotReachedError as error:
        if cached := _cached(known):
            return _install(known, cached)
        raise InputError(str(error)) from error
    blobs = make_directory(_cache(known) / "blobs")
    _check_room(known, files, blobs)
    done, total = 0, sum(file.size for file in files)
    for file in files:  # the small ones first
        with _one_line(known):
            _bring(known, file, blobs, partial(progress, f"fetching {known.name}"), done, total)
        done += file.size
        if file.name == "config.json":
            _check_kind(known, blobs / file.digest)
    return _install(known, {file.name: _linked(known, file.name, blobs / file.digest) for file in files})


def is_available() -> bool:
    """Whether anything can be fetched: huggingface_hub is an extra."""
    return importlib.util.find_spec("huggingface_hub") is not None


def arrived(known: KnownCheckpoint) -> int:
    """Bytes of a transfer that was broken off, from which the next goes on."""
    if not is_available():
        return 0
    total = 0
    for path in (_cache(known) / "blobs").glob("*.cfmr.incomplete"):
        with suppress(OSError):  # it is finished by now
            total += path.stat().st_size
    return total


# --- what there is to fetch -------------------------------------------------------------------------------------------


def _declared(known: KnownCheckpoint) -> list[HubFile]:
    """The files that are wanted of a repository, the weights last."""
    from huggingface_hub import HfApi

    try:
        info = HfApi(library_name="cfmr").model_info(
            known.repository, revision=known.revision, files_metadata=True, timeout=TIMEOUT
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # no JSON, or another
        raise InputError(
            f"{_source(known)}: {_endpoint()} does not answer as a hub does ({brief(error)}); check HF_ENDPOINT, and "
            "whether a network's sign-in page comes in between"
        ) from error
    if info.sha != known.revision:
        raise InputError(f"{_source(known)}: the hub answers with revision {info.sha}; is HF_ENDPOINT a full mirror?")
    found = []
    for sibling in info.siblings or ():
        name, size = sibling.rfilename, sibling.size
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if not _wanted(known, name):
            continue
        if not isinstance(size, int) or not isinstance(digest, str) or not _is_digest(digest):
            raise InputError(f"{_source(known)}: the hub declares no size and checksum of {name}, so it is not fetched")
        if name != known.weights and size > LARGEST_TEXT:
            raise InputError(f"{_source(known)}: {name} of {megabytes(size)} cannot be a configuration; not fetched")
        found.append(HubFile(name, size, digest))
    found.sort(key=lambda file: (file.name == known.weights, file.name != "config.json", file.name))
    if not found or found[-1].name != known.weights:
        raise InputError(f"{_source(known)}: holds no {known.weights}; only safetensors are fetched")
    if len(found[-1].digest) != 64:
        raise InputError(f"{_source(known)}: the hub declares no SHA-256 of {known.weights}, so it is not fetched")
    if known.sha256 not in (None, found[-1].digest):
        raise InputError(
            f"{_source(known)}: {known.weights} is declared with SHA-256 {found[-1].digest[:12]}..., not "
            f"{str(known.sha256)[:12]}... as published; it is not fetched"
        )
    return found


def _wanted(known: KnownCheckpoint, name: str) -> bool:
    plain = "/" not in name and not name.startswith(".") and name != RECORD
    text = (name.endswith(".json") and not name.endswith(".index.json")) or name in VOCABULARIES
    return name == known.weights or (plain and text)


def _is_digest(text: str) -> bool:
    return len(text) in (40, 64) and set(text) <= set("0123456789abcdef")


def _check_kind(known: KnownCheckpoint, config: Path) -> None:
    said = read_json(config)
    kind = said.get("model_type") if isinstance(said, dict) else None
    if known.kinds and kind not in known.kinds:
        raise InputError(
            f"{_source(known)}: a checkpoint of another kind ({brief(ValueError(str(kind)))}, not "
            f"{' or '.join(known.kinds)}); its weights are not fetched"
        )


def _check_room(known: KnownCheckpoint, files: list[HubFile], blobs: Path) -> None:
    missing = 0
    for file in files:
        places = blobs / file.digest, _partial(blobs, file)
        missing += file.size - min(file.size, max((p.stat().st_size for p in places if p.is_file()), default=0))
    free = shutil.disk_usage(blobs).free
    if missing > free:
        raise DiskFullError(
            f"{known.name}: {megabytes(missing)} are to be fetched and {megabytes(free)} are free in {blobs}; make "
            "room there, or set HF_HOME to another place"
        )


# --- bringing a file --------------------------------------------------------------------------------------------------


def _bring(known: KnownCheckpoint, file: HubFile, blobs: Path, told: Any, done: int, total: int) -> None:
    """Have a file in the cache, with its checksum right. Raises InputError, or what a broken transfer raises."""
    place = blobs / file.digest
    if place.is_file() and _matches(place, file):
        told(done + file.size, total)
        return
    unfinished = _partial(blobs, file)
    with _alone(known, unfinished) as out:
        if not _resumable(file) or out.tell() > file.size:
            out.truncate(0)
        try:
            _transfer(known, file, out, partial(_Bar, told, done, total))
        except OSError as error:
            if type(error) is OSError and error.errno is None:  # all that was sent came, and is longer or shorter
                unfinished.unlink()
                raise InputError(
                    f"{_source(known)}: what came as {file.name} is not as long as is declared, so it is something "
                    "else (a network's sign-in page?); it was thrown away, fetch it again"
                ) from error
            raise
        out.flush()
        os.fsync(out.fileno())
        if not _matches(unfinished, file):
            unfinished.unlink()
            raise InputError(
                f"{_source(known)}: what came as {file.name} has not the checksum that is declared; it was thrown "
                "away, fetch it again"
            )
        unfinished.replace(place)


def _transfer(known: KnownCheckpoint, file: HubFile, out: BinaryIO, bar: Any) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    out.seek(0, os.SEEK_END)
    http_get(
        hf_hub_url(known.repository, file.name, revision=known.revision),
        out,
        resume_size=out.tell(),
        headers=build_hf_headers(library_name="cfmr"),
        expected_size=file.size,
        displayed_filename=file.name,
        tqdm_class=bar,
    )


def _partial(blobs: Path, file: HubFile) -> Path:
    return blobs / f"{file.digest}.cfmr.incomplete"


def _resumable(file: HubFile) -> bool:
    return len(file.digest) == 64  # small files may come compressed


@contextmanager
def _alone(known: KnownCheckpoint, path: Path) -> Iterator[BinaryIO]:
    """An unfinished file, to be continued by one process at a time."""
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{known.name}: another process is fetching it; wait for that one") from None
        yield file


def _matches(path: Path, file: HubFile) -> bool:
    """Whether a file is what its digest says."""
    if path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(f"blob {file.size}\0".encode())
    with open(path, "rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == file.digest


class _Bar:
    """What huggingface_hub takes for tqdm; tells the bytes that are here, of all files."""

    def __init__(self, told: Any, before: int, everything: int, *, initial: int = 0, **_: Any) -> None:
        self._told, self._done, self._total = told, before + initial, everything
        told(self._done, everything)

    def update(self, count: int) -> None:
        self._done += count
        self._told(self._done, self._total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


# --- the cache, and the folder of a checkpoint ------------------------------------------------------------------------


def _cache(known: KnownCheckpoint) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{known.repository.replace('/', '--')}"


def _linked(known: KnownCheckpoint, name: str, blob: Path) -> Path:
    """A file in the cache's snapshot of the revision, where other programs look for it."""
    place = make_directory(_cache(known) / "snapshots" / known.revision) / name
    if not place.exists():
        try:
            place.unlink(missing_ok=True)  # a link that leads nowhere
            place.symlink_to(os.path.relpath(blob, place.parent))
        except OSError as error:
            raise cannot_write(place, error) from error
    return blob


def _cached(known: KnownCheckpoint) -> dict[str, Path]:
    """What another program has put into the cache, if that is a whole checkpoint; the weights are compared."""
    snapshot = _cache(known) / "snapshots" / known.revision
    if not (snapshot / known.weights).is_file():
        return {}
    found = {path.name: path.resolve() for path in snapshot.iterdir() if path.is_file() and _wanted(known, path.name)}
    config = found.get("config.json" if known.kinds else "open_clip_config.json")
    weights = found[known.weights]
    digest = known.sha256 or (weights.name if _is_digest(weights.name) else "")
    if config is None or not _matches(weights, HubFile(known.weights, weights.stat().st_size, digest)):
        return {}
    _check_kind(known, config)
    return found


def _install(known: KnownCheckpoint, files: dict[str, Path]) -> Path:
    """Make the name work: a folder of links, there at once or not at all."""
    folder = folder_of(known)
    with replacing_directory(folder) as temporary:
        for name, place in files.items():
            (temporary / name).symlink_to(place.absolute())
        sizes = {name: place.stat().st_size for name, place in files.items()}
        write_json(temporary / RECORD, {"repository": known.repository, "revision": known.revision, "files": sizes})
    return folder


# --- errors -----------------------------------------------------------------------------------------------------------


class _NotReachedError(InputError):
    """The hub could not be asked; the cache may have what is wanted."""


def _source(known: KnownCheckpoint) -> str:
    return f"{known.name} ({known.repository})"


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@contextmanager
def _one_line(known: KnownCheckpoint) -> Iterator[None]:
    """Turn what huggingface_hub and the network raise into an InputError that says what to do."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise _from_os(known, error) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in TRANSPORTS:
            raise
        raise _unreached(known, error) from error


def _from_os(known: KnownCheckpoint, error: OSError) -> InputError:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return _NotReachedError(
            f"{known.name}: HF_HUB_OFFLINE is set, and the cache holds no whole {known.repository}; unset it to fetch"
        )
    if isinstance(error, HfHubHTTPError):
        code = error.response.status_code
        if isinstance(error, GatedRepoError) or code in (401, 403):
            return InputError(f"{_source(known)}: {_endpoint()} does not give it to everyone; sign in: hf auth login")
        if code == 404:
            return InputError(
                f"{_source(known)}: {_endpoint()} has no such repository, revision or file; "
                "if HF_ENDPOINT names a mirror, try another"
            )
        return _NotReachedError(f"{_source(known)}: {_endpoint()} answers with status {code}; try again later")
    if error.errno in (
        None,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
    ):
        return _unreached(known, error)
    return cannot_write(Path(error.filename or _cache(known)), error)


def _unreached(known: KnownCheckpoint, error: Exception) -> InputError:
    return _NotReachedError(
        f"{_source(known)}: {_endpoint()} cannot be reached, or broke off ({brief(error)}); the next attempt "
        "resumes; HF_ENDPOINT names a mirror"
    )
