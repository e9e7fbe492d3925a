"""Models of a checkpoint on PyTorch."""

import numpy as np
import torch
from torch import nn

from cfmr.config import CFMRConfig, Config
from cfmr.errors import GPU_IS_FULL, InputError, is_full_gpu
from cfmr.models.cfmr.pytorch.model import CFMR
from cfmr.models.checkpoint import Checkpoint, Tensors, check_parameters


def build_model(config: Config, words: int) -> CFMR:
    """A new model for a vocabulary of so many words, with random parameters."""
    assert isinstance(config, CFMRConfig), "CFMR-Dense needs no framework"
    return CFMR.from_config(config, words)


def restore(checkpoint: Checkpoint, device: str = "cpu") -> CFMR:
    """The model of a checkpoint, in evaluation mode. Raises InputError if its parameters do not fit."""
    with torch.device("meta"):  # a damaged configuration may ask for more than there is: shapes are compared first
        expected = build_model(checkpoint.config, len(checkpoint.vocabulary)).state_dict()
    check_parameters(checkpoint.parameters, {name: tuple(v.shape) for name, v in expected.items()}, "model.safetensors")
    model = build_model(checkpoint.config, len(checkpoint.vocabulary))
    load_parameters(model, checkpoint.parameters)
    return model.to(find_device(device)).eval()


def load_parameters(model: nn.Module, parameters: Tensors) -> None:
    """Raises InputError naming the first parameter that does not fit."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    check_parameters(parameters, expected, "model.safetensors")
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in parameters.items()})


def find_device(name: str) -> torch.device:
    """Raises InputError if there is no such device, or its memory is full."""
    try:
        device = torch.device(name.lower().replace("gpu", "cuda"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        if is_full_gpu(error):
            raise InputError(f"--device {name}: {GPU_IS_FULL}") from error
        raise InputError(f"--device {name}: not found on this machine; try --device cpu") from error
    return device
