"""A checkpoint of the original release, of PyTorch or MindSpore, turned into ours. Nothing in it is executed."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.config import CFMRSizes, Config, parse_config
from cfmr.data.vocabulary import Vocabulary
from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.files.atomic import read_json
from cfmr.files.mindspore_ckpt import checkpoint_name, read_ckpt
from cfmr.files.safe_pickle import read_torch
from cfmr.models.checkpoint import Checkpoint, Tensors, check_parameters

# Of a checkpoint that carries no full configuration. Only training on would read what is under train and loss.
_DATASET = {"dataset": "converted", "feature_path": "", "max_num_words": 20, "max_num_frames": 200}
_DATASET |= {"train_data": "", "test_data": "", "vocab_path": ""}
_TRAINING = {
    "optimizer": {"lr": 4e-4, "warmup_updates": 400, "warmup_init_lr": 1e-7},
    "batch_size": 32,
    "max_num_epochs": 30,
    "model_saved_path": "checkpoints/converted",
}
_LOSS = {
    "margin_1": 0.1,
    "margin_2": 0.15,
    "margin_3": 0.3,
    "margin_4": 0.25,
    "use_ref_words_rec": False,
    "use_ref_words_sam": False,
    "alpha_1": 2.0,
    "alpha_2": 1.0,
}


def convert(
    path: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    vocabulary: str | os.PathLike[str] | None = None,
) -> tuple[Checkpoint, list[str]]:
    """Read a checkpoint of the original release.

    Args:
        path: the .pt file of the PyTorch release, or a .ckpt file of MindSpore's, which has no configuration in it.
        config: its configuration, for what the checkpoint does not say itself (it may carry the model's part only).
        vocabulary: the `glove.pkl` that it was trained with; by default the one that the configuration names. A
            checkpoint has no words in it.

    Returns:
        the checkpoint, and what had to be assumed, a sentence each.

    Raises:
        InputError: the file is damaged, asks to run something, or its parameters do not fit its configuration.
    """
    path = Path(path)
    parameters, theirs, updates = _content(path)
    given = {} if config is None else read_json(config)
    if not isinstance(given, dict):
        raise InputError(f"{config}: a configuration is a JSON object with dataset, train, model and loss")
    complete, notes = _configuration(path, {**theirs, **given}, theirs, parameters)
    source = vocabulary or _existing(complete.dataset.vocab_path)
    size = _rows(path, parameters, "fc_comp.weight") - 1
    words = _placeholders(size, complete.dataset.word_dim) if source is None else _vocabulary(source, size, complete)
    if source is None:
        notes.append("no words: give the glove.pkl it was trained with as --vocab, or it cannot read sentences")
    _check_shapes(path, parameters, complete, size)
    return Checkpoint(complete, words, parameters, {"converted_from": path.name, "num_updates": updates}), notes


def _check_shapes(path: Path, parameters: Tensors, config: Config, words: int) -> None:
    if find_spec("torch") is None:  # they are checked when the model is loaded
        return
    from cfmr.models.pytorch import build_model

    expected = build_model(config, words).state_dict()
    check_parameters(parameters, {name: tuple(value.shape) for name, value in expected.items()}, path)


def _content(path: Path) -> tuple[Tensors, dict[str, Any], int]:
    """Parameters, configuration and number of updates in a file of the original release."""
    if path.suffix == ".ckpt":
        return _mindspore_parameters(read_ckpt(path)), {}, 0
    content = read_torch(path)
    found = content.get("model_parameters") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: no checkpoint of the original release (it has no 'model_parameters')")
    parameters = {}
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise InputError(f"{path}: 'model_parameters' holds something else than tensors")
        parameters[name.removeprefix("module.")] = value.astype(np.float32)  # as saved from several devices
    theirs = content.get("config")
    updates = content.get("num_updates", 0)
    return parameters, theirs if isinstance(theirs, dict) else {}, updates if isinstance(updates, int) else 0


def _mindspore_parameters(tensors: Tensors) -> Tensors:
    """The model's own among the tensors of a .ckpt file, which may hold an optimiser's too, by our names."""
    parameters = {}
    for name, value in tensors.items():
        if value.ndim and not name.startswith(("moment1.", "moment2.", "adam_m.", "adam_v.")):
            for wrapper in ("network.", "_backbone.", "module."):
                name = name.removeprefix(wrapper)
            parameters[checkpoint_name(name)] = value.astype(np.float32)
    return parameters


def _configuration(
    path: Path, sections: dict[str, Any], theirs: dict[str, Any], parameters: Tensors
) -> tuple[Config, list[str]]:
    """The configuration, completed; the model's part is the checkpoint's own where it has one."""
    notes = []
    model = _model(path, theirs.get("model") or sections.get("model"))
    width, words = (_rows(path, parameters, name, 1) for name in ("frame_fc.weight", "word_fc.weight"))
    dataset = sections.get("dataset")
    if not isinstance(dataset, dict):
        dataset = {**_DATASET, "vocab_size": _rows(path, parameters, "fc_comp.weight") - 1}
        dataset |= {"word_dim": words, "frame_dim": width}
        notes.append(f"{dataset['max_num_frames']} clips a video assumed; give the configuration as --config if not")
    complete = {"dataset": dataset, "train": sections.get("train", _TRAINING), "model": model}
    return parse_config({**complete, "loss": sections.get("loss", _LOSS)}, str(path)), notes


def _model(path: Path, model: Any) -> dict[str, Any]:
    if not isinstance(model, dict) or not isinstance(model.get("config"), dict):
        raise InputError(f"{path}: does not say the model's sizes; give its configuration as --config")
    # The original adds what it learns from the data (vocab_size, max_epoch) to the model's part.
    sizes = {key: value for key, value in model["config"].items() if key in CFMRSizes.model_fields}
    return {"name": model.get("name", "CFMR"), "config": sizes}


def _rows(path: Path, parameters: Tensors, name: str, axis: int = 0) -> int:
    if name not in parameters or parameters[name].ndim != 2:
        raise InputError(f"{path}: parameter '{name}' is missing; is it a checkpoint of CFMR?")
    return int(parameters[name].shape[axis])


def _existing(path: str) -> str | None:
    return path if path and Path(path).is_file() else None


def _vocabulary(source: str | os.PathLike[str], size: int, config: Config) -> Vocabulary:
    vectors = load_word_vectors(source)
    if vectors.dim != config.dataset.word_dim:
        raise InputError(f"{source}: word vectors are {vectors.dim} wide, the checkpoint's {config.dataset.word_dim}")
    vocabulary = Vocabulary.original(vectors, size)
    if len(vocabulary) != size:
        raise InputError(f"{source}: has {len(vocabulary)} words, the checkpoint knows {size}; it is another one's")
    return vocabulary


def _placeholders(size: int, dim: int) -> Vocabulary:
    """Words that no sentence has, so that the checkpoint is whole."""
    return Vocabulary([f"<{number}>" for number in range(1, size + 1)], np.zeros((size + 1, dim), np.float32))
