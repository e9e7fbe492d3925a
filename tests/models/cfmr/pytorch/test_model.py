"""What computing less must not change, beyond the numbers of the original (test_parity)."""

import numpy as np
import pytest
import torch

from cfmr.models.cfmr.pytorch import reference as plain
from cfmr.models.cfmr.pytorch.model import CFMR, Attention, Packing
from tests.index.test_text_export import SIZES

FRAMES = 80


@pytest.fixture(scope="module")
def model() -> CFMR:
    torch.manual_seed(1)
    model = CFMR(SIZES, 20, FRAMES).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def test_videos_encoded_together_are_those_encoded_alone_and_on_the_plain_path(model: CFMR) -> None:
    frames = torch.randn(3, FRAMES, SIZES.frames_input_size)
    together = model.encode_video(frames[:, model.kept_clips])
    for video, found in zip(frames, together, strict=True):
        torch.testing.assert_close(model.encode_video(video[None, model.kept_clips])[0], found, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, plain.encode_video_offline(model, frames), atol=1e-5, rtol=1e-5)


def test_windows_that_are_kept_from_inference_serve_gradients_too(model: CFMR) -> None:
    clips = torch.randn(1, model.positions + 1, SIZES.frames_input_size)
    with torch.inference_mode():
        model.encode_video(clips)
    asked = clips.clone().requires_grad_()
    model.encode_video(asked).sum().backward()
    assert asked.grad is not None
    assert asked.grad.abs().sum() > 0


@pytest.mark.parametrize("count", [1, 5])
def test_one_query_reads_what_attention_mixes(count: int) -> None:
    torch.manual_seed(0)
    attention = Attention(12, 3)
    torch.nn.init.normal_(attention.in_proj_bias)
    x, bias = torch.randn(2, count, 12), torch.randn(2, count)
    q, k, v = attention.project(x, "qkv").chunk(3, dim=-1)
    expected = attention(q[:, -1:], k, v, bias[:, None, None])[:, 0]
    torch.testing.assert_close(attention.read(x[:, -1], x, bias), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", [[4], [3, 3], [3, 5, 4]])
def test_sentences_of_one_length_are_packed_as_others_are(lengths: list[int]) -> None:
    packing = Packing(np.array(lengths), torch.device("cpu"))
    words = torch.arange(1.0, len(lengths) * 4 * 2 + 1).reshape(len(lengths), 4, 2)
    first, last = torch.tensor([-1.0, -1.0]), torch.tensor([-2.0, -2.0])
    packed = packing.enclosed(first, words, last)
    expected = [torch.cat([first[None], x[: n - 2], last[None]]) for x, n in zip(words, lengths, strict=True)]
    torch.testing.assert_close(packed, torch.cat(expected))
    torch.testing.assert_close(packing.pack(packing.pad(packed)), packed)
    torch.testing.assert_close(packing.last_of(packed), last.expand(len(lengths), -1))
