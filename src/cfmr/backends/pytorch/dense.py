"""CFMR-Dense: every clip is compared with the sentence, and moments are read off the curve (Method, CFMR-Dense).

Shapes: V videos of a batch, N their clips one video after the other, B sentences, W words, R rank, d width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cfmr.backends.pytorch.losses import Losses
from cfmr.batches import ClipBatch, ClipSet
from cfmr.config import DenseConfig, DenseLoss, DenseSizes
from cfmr.features import pool_clips

Array = NDArray[np.float32]

NARROWEST_BELL = 0.7  # clips
WHITENING = 0.1  # share of the mean variance added to every direction: rare directions are mostly noise
BETWEEN = 0.3  # the same between videos, of which there are far fewer
SCALES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # tried for the closed-form start
GLOBAL_SHARES = (0.0, 0.25, 0.5, 1.0, 1.5)
NOTHING = -1e9
SILENT = 0.01  # a feature that varies less than this share of the liveliest one is not blown up


class Dense(nn.Module):
    """A vector for every clip, a vector for the sentence; their inner products are the relevance curve.

    A clip's vector has two parts: what sets the clip apart from its own video, smoothed over time, and what sets the
    video apart from others. The first finds the moment, the second the video.
    """

    readout = "curve"
    whitening: Tensor
    centre: Tensor

    def __init__(self, sizes: DenseSizes, max_num_frames: int) -> None:
        super().__init__()
        self.sizes, self.max_num_frames = sizes, max_num_frames
        self.register_buffer("whitening", torch.zeros(sizes.rank, sizes.frames_input_size))
        self.register_buffer("centre", torch.zeros(sizes.rank))
        self.local_fc = nn.Linear(sizes.rank, sizes.hidden_size, bias=False)
        self.video_fc = nn.Linear(sizes.rank, sizes.hidden_size, bias=False)
        self.word_fc = nn.Linear(sizes.words_input_size, sizes.hidden_size)
        self.word_weight = nn.Linear(sizes.words_input_size, 1)
        self.log_scale = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.word_weight.weight)
        nn.init.zeros_(self.word_weight.bias)

    @classmethod
    def from_config(cls, config: DenseConfig) -> "Dense":
        return cls(config.model.config, config.dataset.max_num_frames)

    def encode_clips(self, clips: Tensor, counts: Tensor) -> Tensor:
        """Features (N, frame_dim) of videos with counts (V,) clips each -> vectors (N, d)."""
        return self._encode(clips @ self.whitening.T, counts)

    def _encode(self, white: Tensor, counts: Tensor) -> Tensor:
        """Whitened clips (N, R) -> (N, d)."""
        video = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        mean = white.new_zeros(len(counts), white.shape[1]).index_add(0, video, white) / counts[:, None]
        drop = self.sizes.clip_dropout
        local = self.local_fc(F.dropout(white - mean[video], drop, self.training))
        whole = self.video_fc(F.dropout(mean - self.centre, drop, self.training))
        return smooth(local, video, self.sizes.smoothing) + whole[video]

    def encode_text(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Word vectors (B, W, word_dim) and lengths (B,) -> (B, d): a weighted mean of the words' vectors."""
        kept = torch.arange(words.shape[1], device=words.device) < lengths[:, None]
        if self.training and self.sizes.word_dropout:
            thinned = kept & (torch.rand(kept.shape, device=words.device) > self.sizes.word_dropout)
            kept = torch.where(thinned.any(1, keepdim=True), thinned, kept)
        unit = F.normalize(words, dim=-1)
        weights = self.word_weight(unit)[..., 0].masked_fill(~kept, NOTHING).softmax(-1)
        return (weights[..., None] * self.word_fc(unit)).sum(1) * self.log_scale.exp()

    def forward(self, batch: ClipBatch) -> Tensor:
        """Relevance (B, N) of every clip of the batch to every sentence. The batch's clips are whitened already."""
        clips = self._encode(self.tensor(batch.clips), self.tensor(batch.counts))
        return self.encode_text(self.tensor(batch.words), self.tensor(batch.lengths)) @ clips.T

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """The array on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.log_scale.device)

    @torch.inference_mode()
    def video_vectors(self, features: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
        """What is indexed of a video.

        Args:
            features: (n, frame_dim).

        Returns:
            vectors (m, d) and spans (m, 2) of the clips as fractions; m is n, or `max_num_frames` if that is less.
        """
        if len(features) > self.max_num_frames:
            features = pool_clips(features, self.max_num_frames)
        count = len(features)
        vectors = self.encode_clips(self.tensor(features.astype(np.float32)), self.tensor(np.array([count])))
        edges = (np.arange(count + 1) / count).astype(np.float32)
        return vectors.cpu().numpy(), np.stack([edges[:-1], edges[1:]], axis=1)

    @torch.inference_mode()
    def text_vectors(self, words: Array, lengths: NDArray[np.int64]) -> Array:
        """Word vectors (B, W, word_dim) and numbers of words (B,) -> (B, d)."""
        return self.encode_text(self.tensor(words), self.tensor(lengths)).cpu().numpy()


def smooth(values: Tensor, video: Tensor, std: float) -> Tensor:
    """Gaussian smoothing (N, d) -> (N, d) over time within each video, edges renormalised; video (N,) says which."""
    if std <= 0:
        return values
    reach = int(np.ceil(3 * std))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=values.device) / std) ** 2)
    # videos stand one after the other with gaps as wide as the kernel reaches
    place = torch.arange(len(values), device=values.device) + reach * (video + 1)
    length = len(values) + reach * (int(video[-1]) + 2)
    line = values.new_zeros(length, values.shape[1] + 1)
    line = line.index_copy(0, place, torch.cat([values, torch.ones_like(values[:, :1])], dim=1))
    summed = F.conv1d(line.T[:, None], kernel[None, None], padding=reach)[:, 0].T[place]
    return summed[:, :-1] / summed[:, -1:]


class DenseCriterion:
    """A softmax over clips, with a bell around the glance as target: over those of the video, and of all videos.

    Other sentences' videos are taken to hold nothing of a sentence, except where they are said to hold the same.
    """

    def __init__(self, config: DenseLoss) -> None:
        self.config = config

    def __call__(self, scores: Tensor, batch: ClipBatch) -> Losses:
        """scores (B, N) of a batch."""
        own, said = (torch.from_numpy(mask).to(scores.device) for mask in _masks(batch))
        target = torch.from_numpy(bells(batch, self.config.bell_seconds)).to(scores.device)
        parts = {
            "within": self.config.within * _cross_entropy(scores.masked_fill(~own, NOTHING), target),
            "across": self.config.across * _cross_entropy(scores.masked_fill(said & ~own, NOTHING), target),
        }
        return Losses(total=torch.stack(list(parts.values())).sum(), parts=parts)


def _cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    return -(target * scores.log_softmax(-1)).sum(-1).mean()


def _masks(batch: ClipBatch) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(B, N) twice: clips of the sentence's own video; clips of videos of which the same sentence is said."""
    video = np.repeat(np.arange(len(batch.counts)), batch.counts)
    own = batch.videos[:, None] == video
    said = np.zeros((len(batch.videos), len(batch.counts)), np.bool_)
    same = batch.sentences[:, None] == batch.sentences
    for row, others in enumerate(same):
        said[row, batch.videos[others]] = True
    return own, said[:, video]


def bells(batch: ClipBatch, seconds: float) -> Array:
    """Targets (B, N): a bell of so many seconds around each glance over the clips of its video, summing to 1."""
    count = batch.counts[batch.videos]
    position = np.concatenate([np.arange(n) + 0.5 for n in batch.counts])
    std = np.maximum(seconds * count / batch.durations, NARROWEST_BELL)
    squared = ((position - (batch.glances * count)[:, None]) / std[:, None]) ** 2 / 2
    squared = np.where(_masks(batch)[0], squared, np.inf)
    weight = np.exp(-(squared - squared.min(1, keepdims=True)))
    return np.asarray(weight / weight.sum(1, keepdims=True), np.float32)


# --- the start, in closed form ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistics:
    """How features vary within and between the training videos, in R whitened directions."""

    whitening: NDArray[np.float64]  # R, frame_dim
    centre: NDArray[np.float64]  # R, mean of the videos' means
    within: NDArray[np.float64]  # R, R, inverse covariance of clips about their video's mean
    between: NDArray[np.float64]  # R, R, inverse covariance of the videos' means


def measure(clips: list[Array], rank: int) -> Statistics:
    """Statistics of videos' features, each (n, frame_dim). Directions of little variance within videos are left out."""
    means = np.stack([video.mean(0, dtype=np.float64) for video in clips])
    width, total = means.shape[1], sum(len(video) for video in clips)
    scatter = np.zeros((width, width))
    for video, mean in zip(clips, means, strict=True):
        apart = video - mean.astype(np.float32)
        scatter += apart.T @ apart
    covariance = scatter / total
    # halves of a feature may have different units: directions are those of the correlation, not of the covariance
    deviation = np.sqrt(covariance.diagonal())
    unit = 1 / (deviation + SILENT * deviation.max())
    values, directions = np.linalg.eigh(unit[:, None] * covariance * unit)
    kept, spread = directions[:, -rank:], values[-rank:] + WHITENING * values.mean()
    whitening = (kept / np.sqrt(spread)).T * unit
    whitening /= np.sqrt((values[-rank:] / spread).mean() + np.square((means - means.mean(0)) @ whitening.T).mean())
    white = means @ whitening.T
    centre = white.mean(0)
    return Statistics(
        whitening=whitening,
        centre=centre,
        within=_inverse(whitening @ covariance @ whitening.T, WHITENING),
        between=_inverse((white - centre).T @ (white - centre) / len(white), BETWEEN),
    )


def _inverse(covariance: NDArray[np.float64], added: float) -> NDArray[np.float64]:
    return np.linalg.inv(covariance + added * covariance.diagonal().mean() * np.eye(len(covariance)))


def whiten(model: Dense, data: ClipSet) -> None:
    """Replace features by their whitened directions once, rather than in every batch."""
    whitening = model.state_dict()["whitening"].cpu().numpy()
    data.clips = [np.asarray(video @ whitening.T) for video in data.clips]


def start_from(model: Dense, data: ClipSet, loss: DenseLoss) -> None:
    """Set a model's parameters to what ridge regression says of the glances.

    The regression goes from a sentence's mean word vector to what stands out in the whitened clips at its glance.
    The prediction is compared with a clip as linear discriminant analysis would, under the covariance within videos,
    and with a video under the covariance between them. `data` holds whitened clips afterwards.
    """
    statistics = measure(data.clips, model.sizes.rank)
    with torch.no_grad():
        model.whitening.copy_(torch.from_numpy(statistics.whitening))
    whiten(model, data)
    features, looks = _observations(data, loss.bell_seconds)
    mean = features.mean(0)
    centred = features - mean
    penalty = loss.ridge * centred.var(0).mean() * np.eye(centred.shape[1])
    weight = np.linalg.solve(centred.T @ centred + penalty, centred.T @ looks)  # word_dim, R
    predicted = centred @ weight
    factor = np.linalg.cholesky(statistics.within)
    width = min(model.sizes.hidden_size, len(factor))
    _, directions = np.linalg.eigh(factor.T @ (predicted.T @ predicted / len(predicted)) @ factor)
    down: NDArray[np.float64] = np.zeros((model.sizes.hidden_size, len(factor)))
    down[:width] = directions[:, -width:].T @ factor.T  # d, R: clip and prediction are both mapped by it
    up = np.zeros_like(down)
    up[:width] = directions[:, -width:].T @ np.linalg.inv(factor)
    with torch.no_grad():
        for parameter, value in (
            (model.centre, statistics.centre),
            (model.local_fc.weight, down),
            (model.video_fc.weight, up @ statistics.between),
            (model.word_fc.weight, down @ weight.T),
            (model.word_fc.bias, -down @ (mean @ weight)),
        ):
            parameter.copy_(torch.from_numpy(np.asarray(value, np.float32)))


def _observations(data: ClipSet, seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each row the mean of its unit word vectors (rows, word_dim), and what stands out at its glance (rows, R)."""
    features, looks = [], []
    for row in range(len(data)):
        words = data.vectors[data.word_ids[row]].astype(np.float64)
        features.append((words / np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-6)).mean(0))
        weight = bells(data.batch(np.array([row])), seconds)[0]
        clips = data.clips[data.videos[row]]
        looks.append((weight - 1 / len(clips)) @ clips)
    return np.stack(features), np.stack(looks).astype(np.float64)


@torch.no_grad()
def choose_scales(model: Dense, criterion: DenseCriterion, batch: ClipBatch) -> None:
    """Scale of the scores, and share of the video's part in them, with the smallest loss on one batch."""
    model.eval()
    whole = model.video_fc.weight.clone()
    spread = float(model(batch).std())
    model.word_fc.weight.div_(spread)
    model.word_fc.bias.div_(spread)
    tried = []
    for share in GLOBAL_SHARES:
        model.video_fc.weight.copy_(share * whole)
        model.log_scale.zero_()
        scores = model(batch)
        tried += [(float(criterion(scale * scores, batch).total), scale, share) for scale in SCALES]
    _, scale, share = min(tried)
    model.video_fc.weight.copy_(share * whole)
    model.log_scale.fill_(float(np.log(scale)))
