"""Zip archives (.npz, .pt) of strangers: what they say of their sizes is checked before anything is unpacked."""

import os
import zipfile

from cfmr.files.reading import limit_unpacked

MAX_MEMBERS = 100_000


def check_archive(path: str | os.PathLike[str], archive: zipfile.ZipFile) -> None:
    """Refuse an archive whose members share bytes, or unpack to far more than is stored of them.

    Members that overlap let a small file be read as a thousand large ones; reading bounds each by its declared size,
    which is checked here.

    Raises:
        InputError: a member unpacks to far more than it takes.
        ValueError: the members overlap, or are too many.
    """
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"it has {len(members):,} members")
    stored = sum(member.compress_size for member in members)
    if stored > os.path.getsize(path):
        raise ValueError(f"its members overlap: they would take {stored:,} bytes")
    for member in members:
        limit_unpacked(path, member.file_size, member.compress_size, member.filename)
