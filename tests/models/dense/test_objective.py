from dataclasses import replace

import numpy as np
import pytest

from cfmr.models.dense.model import NUM_WAVES, Projections, waves
from cfmr.models.dense.objective import ACROSS, NAMING, Batch, loss_and_gradient, loss_of_scores


def make_batch(seed: int = 0) -> Batch:
    """Three videos of 4, 1 and 6 clips; five sentences, two of one video."""
    rng = np.random.default_rng(seed)
    counts = np.array([4, 1, 6])
    asked = np.array([0, 0, 1, 2, 2])
    target = np.zeros((5, 11))
    begins = np.cumsum(counts) - counts
    for line, video in zip(target, asked, strict=True):
        line[begins[video] : begins[video] + counts[video]] = rng.random(counts[video])
    return Batch(
        clips=rng.standard_normal((11, 3)),
        videos=rng.standard_normal((3, 3)),
        waves=np.concatenate([waves(count) for count in counts.tolist()]).astype(np.float64),
        video_of_clip=np.repeat(np.arange(3), counts),
        words=rng.standard_normal((5, 4)),
        own=rng.random((5, 6)),
        video_of_sentence=asked,
        target=target / target.sum(1, keepdims=True),
        negative=np.zeros(5, bool),
    )


def with_negatives(batch: Batch, rows: list[int]) -> Batch:
    """Some of its sentences do not happen at their glances."""
    negative = np.isin(np.arange(5), rows)
    target = np.where(negative[:, None], batch.target / batch.target.max(1, keepdims=True), batch.target)
    return replace(batch, target=target, negative=negative)


def make_maps(seed: int = 1) -> Projections:
    rng = np.random.default_rng(seed)
    return Projections(*(rng.standard_normal(shape) for shape in ((3, 7), (3, 7), (NUM_WAVES, 7), (4, 7), (6, 7))))


@pytest.mark.parametrize("negative", [[], [1, 4], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("name", list(Projections.__annotations__))
def test_the_gradient_is_that_of_finite_differences(name: str, negative: list[int]) -> None:
    batch, maps, step = with_negatives(make_batch(), negative), make_maps(), 1e-6
    gradient = getattr(loss_and_gradient(maps, batch)[1], name)
    found = np.zeros_like(gradient)
    for place in np.ndindex(*gradient.shape):
        moved = getattr(maps, name).copy()
        moved[place] += step
        above = loss_and_gradient(replace(maps, **{name: moved}), batch)[0]
        moved = moved.copy()
        moved[place] -= 2 * step
        below = loss_and_gradient(replace(maps, **{name: moved}), batch)[0]
        found[place] = (above - below) / (2 * step)
    np.testing.assert_allclose(gradient, found, atol=1e-5 * max(1, np.abs(found).max()))


def test_the_gradient_is_that_of_autograd() -> None:
    torch = pytest.importorskip("torch")
    from torch.nn import functional as F

    batch, maps = make_batch(2), make_maps(3)
    tensors = [torch.tensor(array, requires_grad=True) for array in maps.arrays()]
    clip, video, place, word, own = tensors
    of_clip, of_sentence = torch.tensor(batch.video_of_clip), torch.tensor(batch.video_of_sentence)
    shown = torch.tensor(batch.clips) @ clip + (torch.tensor(batch.videos) @ video)[of_clip]
    shown = F.normalize(shown + torch.tensor(batch.waves) @ place, dim=1)
    asked = F.normalize(torch.tensor(batch.words) @ word + torch.tensor(batch.own) @ own, dim=1)
    scores, target = 10 * asked @ shown.T, torch.tensor(batch.target)
    within = scores.masked_fill(of_sentence[:, None] != of_clip, -1e9).log_softmax(1)
    named = target @ scores.T
    named = named.masked_fill((of_sentence[:, None] == of_sentence) & ~torch.eye(5, dtype=torch.bool), -1e9)
    loss = -(target * within).sum() - ACROSS * (target * scores.log_softmax(1)).sum()
    loss = (loss - NAMING * named.log_softmax(1).diagonal().sum()) / 5
    loss.backward()
    ours, gradient = loss_and_gradient(maps, batch)
    assert ours == pytest.approx(loss.item(), rel=1e-5)
    for array, tensor in zip(gradient.arrays(), tensors, strict=True):
        np.testing.assert_allclose(array, tensor.grad.numpy(), rtol=1e-3, atol=1e-5)


def test_a_step_along_a_negative_label_s_gradient_lowers_the_score_at_its_glance() -> None:
    batch, maps = with_negatives(make_batch(), [0, 1, 2, 3, 4]), make_maps()
    before, gradient = loss_and_gradient(maps, batch)
    steps = zip(maps.arrays(), gradient.arrays(), strict=True)
    after, _ = loss_and_gradient(Projections(*(values - 0.01 * slope for values, slope in steps)), batch)
    assert after < before


def test_a_negative_label_of_what_the_scores_deny_already_teaches_next_to_nothing() -> None:
    batch = replace(with_negatives(make_batch(), [0]), target=np.eye(5, 11))
    scores = np.zeros((5, 11))
    scores[0, 0] = -30.0
    _, slope = loss_of_scores(scores, batch)
    assert np.abs(slope[0]).max() < 1e-9 < np.abs(slope[1]).max()


def test_a_negative_label_of_what_the_scores_are_sure_of_is_still_heard() -> None:
    batch = replace(with_negatives(make_batch(), [0]), target=np.eye(5, 11))
    scores = np.zeros((5, 11))
    scores[0, 0] = 6.0
    step = 1e-6
    _, slope = loss_of_scores(scores, batch)
    above, below = (
        loss_of_scores(scores + sign * step * np.eye(5, 11, dtype=float)[[0]] * (np.arange(5) == 0)[:, None], batch)[0]
        for sign in (1, -1)
    )
    assert slope[0, 0] == pytest.approx((above - below) / (2 * step), rel=1e-4)
    assert slope[0, 0] > 0
