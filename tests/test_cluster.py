import sys

import pytest

from cfmr.cluster import connected
from cfmr.errors import InputError


def test_without_ray_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--ray: needs Ray; pip install 'cfmr\[ray\]'"), connected("local"):
        pass


@pytest.mark.parametrize("address", ["", "nonsense", "127.0.0.1:6379", "http://head:10001"])
def test_an_address_that_is_none_is_refused_before_ray_is_looked_for(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="not an address; give local, auto or ray://host:port"), connected(address):
        pass
