import sys
from typing import Any

import pytest

from cfmr.errors import InputError
from cfmr.models import base
from cfmr.training.backends import find_training


@pytest.mark.parametrize(
    ("backend", "framework", "extra"), [("pytorch", "torch", "train"), ("mindspore", "mindspore", "mindspore")]
)
def test_a_framework_that_is_missing_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, backend: str, framework: str, extra: str
) -> None:
    for name in [name for name in sys.modules if name.startswith(f"cfmr.training.{backend}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(InputError, match=rf"needs {framework}, which is not installed; install cfmr\[{extra}\]"):
        find_training(backend)


def test_another_module_that_is_missing_is_not_taken_for_the_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'rich'", name="rich")

    monkeypatch.setattr(base, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="rich"):
        find_training("mindspore")


def test_a_backend_that_there_is_not_is_named() -> None:
    with pytest.raises(InputError, match="--backend jax: known are pytorch, mindspore"):
        base.check_backend("jax")
