"""Every word that has a prior look by the default word vectors, and how clips are compared with looks.

Working that out (`models.prior`) takes seconds, so it is kept in the user's cache folder.
"""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.extractors.efficientnet_lite0 import CHANNELS, weights_file
from cfmr.files.atomic import cache_folder, map_npy, read_json, replacing_directory
from cfmr.models.prior import DIM, KNOWLEDGE, VERSION, ClassPrior, Floats, clip_vectors

_ARRAYS = {"looks": (np.float16, DIM), "basis": (np.float64, DIM), "statistics": (np.float64, CHANNELS)}


@dataclass(frozen=True)
class KnownWords:
    """The words, the most frequent first.

    Attributes:
        words: n of them.
        looks: (n, DIM) float16.
        mean, deviation, basis: see `ClassPrior`.
    """

    words: list[str]
    looks: NDArray[np.float16]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    basis: NDArray[np.float64]

    def clips(self, features: NDArray[np.floating[Any]]) -> Floats:
        """See `ClassPrior.clips`."""
        return clip_vectors(features, self.mean, self.deviation, self.basis)


@cache
def known_words() -> KnownWords:
    """The table of the installed weights and word vectors. Raises InputError if they are missing or others."""
    weights = weights_file().stat()
    key = f"{VERSION} {weights.st_size} {weights.st_mtime_ns} {len(load_word_vectors())} ".encode()
    digest = hashlib.blake2b(key + KNOWLEDGE.read_bytes(), digest_size=8).hexdigest()
    folder = cache_folder() / f"known-words-{digest}"
    found = _cached(folder)
    if found is None:
        found = _made()
        with contextlib.suppress(InputError):  # a read-only home only costs the time to make it again
            _save(folder, found)
    return found


def _made() -> KnownWords:
    prior, vectors = ClassPrior.load(), load_word_vectors()
    words, looks = prior.table(vectors)
    rows = vectors.rows(words)
    order = np.argsort(np.where(rows < 0, len(vectors), rows), kind="stable")
    return KnownWords(
        [words[row] for row in order], looks[order].astype(np.float16), prior.mean, prior.deviation, prior.basis
    )


def _cached(folder: Path) -> KnownWords | None:
    """The table in the cache, or None if it is not there or not whole."""
    try:
        words = read_json(folder / "words.json")
        arrays = {name: np.array(map_npy(folder / f"{name}.npy")) for name in _ARRAYS}
    except (InputError, OSError, ValueError, EOFError):
        return None
    lengths = {"looks": len(words) if isinstance(words, list) else -1, "basis": CHANNELS, "statistics": 2}
    for name, (kind, width) in _ARRAYS.items():
        if arrays[name].shape != (lengths[name], width) or arrays[name].dtype != kind:
            return None
    mean, deviation = arrays["statistics"]
    return KnownWords(words, arrays["looks"], mean, deviation, arrays["basis"])


def _save(folder: Path, found: KnownWords) -> None:
    with replacing_directory(folder) as temporary:
        (temporary / "words.json").write_text(json.dumps(found.words), encoding="utf-8")
        np.save(temporary / "looks.npy", found.looks)
        np.save(temporary / "basis.npy", found.basis)
        np.save(temporary / "statistics.npy", np.stack([found.mean, found.deviation]))
