import pickle

from hypothesis import given
from hypothesis import strategies as st

from cfmr.errors import LONGEST, DiskFullError, InputError


@given(st.text() | st.text(alphabet="a\n\x1b\x00", min_size=900, max_size=3000))
def test_a_message_is_one_line_of_bounded_length_whatever_it_quotes(text: str) -> None:
    said = str(InputError(f"f.json: key '{text}' is not known; remove it"))
    assert len(said.splitlines()) == 1
    assert said.isprintable() or not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in said)
    assert said.startswith("f.json: key '")
    assert said.endswith("is not known; remove it")
    assert len(said) <= 6 * LONGEST


def test_it_reaches_another_process_as_it_is() -> None:
    for kind in (InputError, DiskFullError):
        error = pickle.loads(pickle.dumps(kind("f: no such file")))
        assert (type(error), str(error)) == (kind, "f: no such file")
