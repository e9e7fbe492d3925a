"""Models of a checkpoint on MindSpore."""

import mindspore as ms
import numpy as np
from mindspore import Tensor

from cfmr.config import CFMRConfig, Config
from cfmr.errors import InputError
from cfmr.files.reading import natural
from cfmr.models.cfmr.mindspore.model import CFMR
from cfmr.models.checkpoint import Checkpoint, Tensors, check_parameters

DEVICES = {"cpu": "CPU", "gpu": "GPU", "cuda": "GPU", "ascend": "Ascend"}


def build_model(config: Config, words: int) -> CFMR:
    """A new model for a vocabulary of so many words, with random parameters."""
    return CFMR.from_config(require_cfmr(config), words)


def require_cfmr(config: Config) -> CFMRConfig:
    """Raises InputError if it is the configuration of another model."""
    if not isinstance(config, CFMRConfig):
        raise InputError(f"model {config.model.name} runs on PyTorch only; use --backend pytorch")
    return config


def restore(checkpoint: Checkpoint, device: str = "cpu") -> CFMR:
    """The model of a checkpoint, in evaluation mode. Raises InputError if its parameters do not fit."""
    use_device(device)
    model = build_model(checkpoint.config, len(checkpoint.vocabulary))
    load_parameters(model, checkpoint.parameters)
    return model.set_train(False)


def load_parameters(model: CFMR, parameters: Tensors) -> None:
    """Raises InputError naming the first parameter that does not fit."""
    own = model.checkpoint_parameters()
    check_parameters(parameters, {name: tuple(value.shape) for name, value in own.items()}, "model.safetensors")
    for name, parameter in own.items():
        parameter.set_data(Tensor(np.array(parameters[name], np.float32)))


def use_device(name: str) -> None:
    """Everything from now on happens there. Raises InputError if there is no such device."""
    kind, _, number = name.partition(":")
    target = DEVICES.get(kind.lower())
    there = target is not None and getattr(ms.device_context, target.lower()).is_available()
    place = natural(number or "0")
    if not there or place is None:
        raise InputError(f"--device {name}: not found on this machine; try --device CPU")
    try:
        ms.set_device(target, place)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"--device {name}: MindSpore cannot use it ({str(error).splitlines()[0]})") from error
    if target == "CPU":  # its queues wait for each other by spinning, which costs five times the work itself
        ms.runtime.launch_blocking()
