import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.errors import GPU_IS_FULL, LONGEST, DiskFullError, InputError, needing_gpu_memory


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


FULL = (
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 7.79 GiB total capacity)"),
    Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 99"),
    Exception("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0"),
)


@pytest.mark.parametrize("error", FULL, ids=["torch", "ONNX Runtime", "CUDA"])
def test_a_gpu_without_memory_is_said_in_a_line(error: Exception) -> None:
    with pytest.raises(InputError, match=f"^--device cuda: {GPU_IS_FULL}$"), needing_gpu_memory("cuda"):
        raise error


@pytest.mark.parametrize(
    ("device", "error"),
    [("cpu", FULL[0]), ("cuda", RuntimeError("shapes do not fit")), ("cuda", MemoryError("out of memory"))],
)
def test_what_is_no_full_gpu_stays_what_it_is(device: str, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, needing_gpu_memory(device):
        raise error
    assert caught.value is error
