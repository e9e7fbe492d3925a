"""A checkpoint: a directory of safetensors and JSON, the same for every backend. Nothing in it is executed."""

import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cfmr.config import Config, parse_config
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from cfmr.files.atomic import present_directory, read_json, replacing_directory
from cfmr.files.reading import reading, require_regular

FORMAT = "cfmr-checkpoint-1"
WORDS, VECTORS = "vocabulary.json", "vocabulary.safetensors"
MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
CHECKED = (WORDS, VECTORS, MODEL, OPTIMIZER)  # with checksums; config.json may be edited, its paths for one
PIECE = 1 << 22  # bytes that are read at a time
Tensors = dict[str, NDArray[Any]]


@dataclass
class Checkpoint:
    """A model with all that is needed to use it or to train it further.

    Attributes:
        parameters: by the names of the original's checkpoints.
        vocabulary: the words the model knows, with their vectors.
        state: JSON: the epoch, the seed, how the epoch was chosen, figures.
        optimizer: moments of the optimiser by parameter; empty in a model that is only used.
    """

    config: Config
    vocabulary: Vocabulary
    parameters: Tensors
    state: dict[str, Any] = field(default_factory=dict)
    optimizer: Tensors = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write beside and rename. Raises InputError if that is not possible; the old checkpoint then stays."""
        with replacing_directory(path) as folder:
            _write_json(folder / "config.json", self.config.model_dump())
            _write_json(folder / WORDS, {"words": self.vocabulary.words})
            _write_tensors(folder / VECTORS, {"vectors": self.vocabulary.vectors})
            _write_tensors(folder / MODEL, self.parameters)
            if self.optimizer:
                _write_tensors(folder / OPTIMIZER, self.optimizer)
            checksums = {name: _crc32(folder / name) for name in CHECKED if (folder / name).exists()}
            _write_json(folder / "state.json", {"format": FORMAT, "crc32": checksums} | self.state)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Checkpoint":
        """Read a checkpoint.

        Raises:
            InputError: naming the file that is missing, foreign, or not as it was written.
        """
        folder = present_directory(path)
        if not folder.is_dir():
            kind = "is a file" if folder.exists() else "does not exist"
            raise InputError(f"{path}: {kind}; a checkpoint is a directory (`cfmr convert` makes one of .pt or .ckpt)")
        state = _object(folder / "state.json")
        if state.pop("format", None) != FORMAT:
            raise InputError(f"{folder / 'state.json'}: not a checkpoint of this version ({FORMAT})")
        _verify(folder, state.pop("crc32", {}))
        config = parse_config(read_json(folder / "config.json"), str(folder / "config.json"))
        words = _object(folder / WORDS).get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"{folder / WORDS}: key 'words' is not a list of words")
        vectors = _read_tensors(folder / VECTORS).get("vectors")
        if vectors is None or vectors.shape != (len(words) + 1, config.dataset.word_dim):
            raise InputError(f"{folder / VECTORS}: does not fit {WORDS} and config.json")
        return cls(
            config=config,
            vocabulary=Vocabulary(words, np.ascontiguousarray(vectors, np.float32)),
            parameters=_read_tensors(folder / MODEL),
            state=state,
            optimizer=_read_tensors(folder / OPTIMIZER) if (folder / OPTIMIZER).exists() else {},
        )


def _crc32(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            crc = zlib.crc32(piece, crc)
    return crc


def _verify(folder: Path, checksums: Any) -> None:
    """Compare what must not change in a checkpoint with its checksums; one written before there were any has none."""
    if not isinstance(checksums, dict):
        raise InputError(f"{folder / 'state.json'}: key 'crc32' is not an object of checksums")
    for name in CHECKED:
        with reading(folder / name, "part of a complete checkpoint"):
            if name in checksums and _crc32(folder / name) != checksums[name]:
                raise ValueError("its content does not fit its checksum")


def check_parameters(found: Tensors, expected: dict[str, tuple[int, ...]], source: str | os.PathLike[str]) -> None:
    """Raise InputError, naming the first parameter that is missing, unknown or of another shape."""
    for name, shape in expected.items():
        if name not in found:
            raise InputError(f"{source}: parameter '{name}' is missing; is it a checkpoint of this model?")
        if tuple(found[name].shape) != shape:
            raise InputError(
                f"{source}: parameter '{name}' is {tuple(found[name].shape)}, the configuration asks for {shape}"
            )
    if unknown := sorted(set(found) - set(expected)):
        raise InputError(f"{source}: parameter '{unknown[0]}' is not known; is it a checkpoint of this model?")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_tensors(path: Path, tensors: Tensors) -> None:
    try:
        save_file({name: np.asarray(value, order="C") for name, value in tensors.items()}, path)
    except SafetensorError as error:  # a full disk comes as this
        raise OSError(0, str(error), str(path)) from error


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is expected")
    return value


def _read_tensors(path: Path) -> Tensors:
    with reading(path, "a complete safetensors file"):
        require_regular(path)
        return load_file(path)


def find_checkpoint(path: Path) -> Path:
    """A checkpoint, or the chosen one of a run's directory."""
    return path / "checkpoint" if present_directory(path / "checkpoint").is_dir() else path
