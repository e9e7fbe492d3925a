"""CFMR-Dense: every clip is compared with the sentence, and moments are read off the curve (Method, CFMR-Dense).

Shapes: n clips of a video, B sentences, W words, N rows of training, d directions that a sentence is compared in, S
words that are looked for one by one, D = d + S.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cfmr.batches import ClipSet
from cfmr.config import OWN_SHARE, SHARPNESS, DenseConfig, DenseFit, DenseSizes
from cfmr.curves import curve_readout, stretch_around
from cfmr.features import pool_clips

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]

ROWS = 256  # sentences described at a time
USUAL_SHARE = 0.05  # of the square of the usual spread of scores, in that of a video's own
SPREAD_POWER = 3  # deviations are raised to it: where a few sentences stand out far, the spread is larger
SEEN_SHARE = 0.5  # of the spread of scores by directions, in that of scores by words that are seen
SPARSITY = 0.03  # of a word's full look that it costs to say that a word is seen
CEILING = 0.15  # of a word's full look: it is seen, and what is above says no more
ROUNDS = 15  # of the search for the words that are seen
CALIBRATED = 128  # training videos on which both kinds of scores are measured
BANK = 512  # training sentences that say what a video scores by chance
VIDEO_SHARE = 2.0  # of what the video shows on the whole, beside what its clips show
BETWEEN = 0.5  # share of the mean variance added to every direction between videos, of which there are few
LEAST = 1e-3  # variance below which a direction is not stretched further
SILENT = 0.01  # a feature that varies less than this share of the liveliest one is not blown up
NARROWEST_BELL = 0.7  # clips
TRUSTED = 0.5  # share of the model's own reading in the target of a second pass
NEAR = 0.03  # of a video: a peak so near the glance is the glance's


class Dense(nn.Module):
    """A vector for every clip, a vector for the sentence; their inner products are the relevance curve.

    A clip's vector has two parts: what sets the clip apart from its own video, smoothed over time, and what sets the
    video apart from others. The first finds the moment, the second the video. Either is given in d directions, and once
    more as the words that are seen. A video's vectors are then scaled and shifted, by one number each, so that
    sentences taken at random reach 0 on average with a spread of 1.
    """

    centre: Tensor
    words: Tensor
    looks: Tensor
    steepness: Tensor
    seen_scale: Tensor
    named_scale: Tensor
    bank: Tensor
    spread: Tensor

    def __init__(self, sizes: DenseSizes, max_num_frames: int) -> None:
        super().__init__()
        self.sizes, self.max_num_frames = sizes, max_num_frames
        self.readout = curve_readout(sizes.floor)
        width = sizes.hidden_size - 1  # one number of a vector is the video's shift
        self.register_buffer("centre", torch.zeros(sizes.frames_input_size))
        self.register_buffer("words", torch.zeros(sizes.own_words, sizes.words_input_size))
        # of clips apart from their video, and of videos
        self.register_buffer("looks", torch.zeros(2, sizes.seen_words, width))
        self.register_buffer("steepness", torch.zeros(2))
        self.register_buffer("seen_scale", torch.zeros(2))
        self.register_buffer("named_scale", torch.ones(()))
        self.register_buffer("bank", torch.zeros(BANK, width + sizes.seen_words))
        self.register_buffer("spread", torch.zeros(()))
        self.local_fc = nn.Linear(sizes.frames_input_size, width, bias=False)
        self.video_fc = nn.Linear(sizes.frames_input_size, width, bias=False)
        self.whole_fc = nn.Linear(sizes.frames_input_size, width, bias=False)
        self.word_fc = nn.Linear(sizes.words_input_size, width)
        self.own_fc = nn.Linear(sizes.own_words, width, bias=False)

    @classmethod
    def from_config(cls, config: DenseConfig) -> "Dense":
        return cls(config.model.config, config.dataset.max_num_frames)

    def encode_clips(self, features: Tensor) -> Tensor:
        """Features (n, frame_dim) of a video, or of a window of it -> what sets its clips apart (n, D)."""
        apart = smooth(self.local_fc(features - features.mean(0)), self.sizes.smoothing)
        words = smooth(seen(apart, self.looks[0], self.steepness[0]), self.sizes.smoothing)
        return torch.cat([apart, self.seen_scale[0] * words], dim=1)

    def encode_whole(self, mean: Tensor) -> Tensor:
        """Mean (frame_dim,) of a video's features -> what sets the video apart (D,)."""
        apart = mean - self.centre
        words = seen(self.whole_fc(apart)[None], self.looks[1], self.steepness[1])[0]
        return torch.cat([self.video_fc(apart), self.seen_scale[1] * words])

    def reached(self, clips: Tensor) -> Tensor:
        """Clips' vectors (n, D) -> what each of the bank's sentences reaches among them (BANK,)."""
        return (clips @ self.bank.T).amax(0)

    def on_one_scale(self, clips: Tensor) -> Tensor:
        """All vectors (n, D) of one video -> (n, D + 1), to be compared with those of other videos.

        A video in which no sentence stands out is not blown up to the full: its spread is mixed with the usual one.
        """
        best = self.reached(clips)
        spread = (spread_of(best) ** 2 + USUAL_SHARE * self.spread**2).sqrt()
        spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        shift = (-best.mean() / spread).expand(len(clips), 1)
        return torch.cat([clips / spread, shift], dim=1)

    def describe(self, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the regression sees of sentences: unit word vectors and kernels with the known words, both summed.

        Args:
            words: (B, W, word_dim).
            lengths: (B,).

        Returns:
            (B, word_dim) and (B, own_words), over the root of the number of words: the noise of a sum grows so.
        """
        kept = (torch.arange(words.shape[1], device=words.device) < lengths[:, None])[..., None]
        unit = F.normalize(words, dim=-1)
        own = OWN_SHARE * torch.exp(SHARPNESS * (unit @ self.words.T - 1))
        root = lengths[:, None].sqrt()
        return (kept * unit).sum(1) / root, (kept * own).sum(1) / root

    def encode_described(self, unit: Tensor, own: Tensor) -> Tensor:
        """What `describe` gives of sentences -> (B, D)."""
        named = self.named_scale * own[:, : self.sizes.seen_words]
        return torch.cat([self.word_fc(unit) + self.own_fc(own), named], dim=1)

    def encode_text(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Word vectors (B, W, word_dim) and lengths (B,) -> (B, D)."""
        return self.encode_described(*self.describe(words, lengths))

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """The array on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.centre.device)

    @torch.inference_mode()
    def clip_vectors(self, features: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
        """Of a whole video, or of a window of a long one, what sets its clips apart.

        Args:
            features: (n, frame_dim).

        Returns:
            vectors (m, D) and spans (m, 2) of the clips as fractions; m is n, or `max_num_frames` if that is less.
        """
        if len(features) > self.max_num_frames:
            features = pool_clips(features, self.max_num_frames)
        count = len(features)
        vectors = self.encode_clips(self.tensor(features.astype(np.float32)))
        edges = (np.arange(count + 1) / count).astype(np.float32)
        return vectors.cpu().numpy(), np.stack([edges[:-1], edges[1:]], axis=1)

    @torch.inference_mode()
    def joined(self, vectors: Array, features: NDArray[np.floating[Any]]) -> Array:
        """What is indexed of a video.

        Args:
            vectors: (n, D), those of all its windows.
            features: of the whole video, (m, frame_dim).

        Returns:
            (n, D + 1).
        """
        whole = self.encode_whole(self.tensor(features.mean(0, dtype=np.float64).astype(np.float32)))
        return self.on_one_scale(self.tensor(vectors) + whole).cpu().numpy()

    def video_vectors(self, features: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
        """Features (n, frame_dim) of a video -> vectors (m, D + 1) and spans (m, 2), as `clip_vectors`."""
        vectors, spans = self.clip_vectors(features)
        return self.joined(vectors, features), spans

    @torch.inference_mode()
    def text_vectors(self, words: Array, lengths: NDArray[np.int64]) -> Array:
        """Word vectors (B, W, word_dim) and numbers of words (B,) -> (B, D + 1); the last number is 1."""
        vectors = self.encode_text(self.tensor(words), self.tensor(lengths))
        return F.pad(vectors, (0, 1), value=1.0).cpu().numpy()


def spread_of(values: Tensor) -> Tensor:
    """How far values (n,) lie from their mean, as the cube root of the mean cube of the distances."""
    return (values - values.mean()).abs().pow(SPREAD_POWER).mean().pow(1 / SPREAD_POWER)


def seen(shown: Tensor, looks: Tensor, steepness: Tensor) -> Tensor:
    """How plainly each word is seen, by the few words that together explain what is shown.

    Non-negative sparse coding: the weights a >= 0 that make |x - a L|^2 / 2 + penalty sum(a) least, found by FISTA
    (Beck and Teboulle 2009). A word that is seen more plainly than another says no more than that it is there, so
    weights count up to a ceiling.

    Args:
        shown: (n, d), x.
        looks: (S, d), L: what each word looks like, in the same directions; rows of zeros are no words.
        steepness: the largest eigenvalue of L^T L, which bounds the steps that lead downhill; 0 where nothing is known.

    Returns:
        (n, S), 0 to `CEILING`.
    """
    if not steepness > 0:
        return shown.new_zeros(len(shown), len(looks))
    lengths = looks.square().sum(1)
    pull = shown @ looks.T - SPARSITY * lengths[lengths > 0].mean()
    step = 1 / steepness
    held = ahead = torch.zeros_like(pull)
    pace = 1.0
    for _ in range(ROUNDS):
        moved = F.relu(ahead + step * (pull - (ahead @ looks) @ looks.T))
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        ahead = moved + (pace - 1) / faster * (moved - held)
        held, pace = moved, faster
    return held.clamp(max=CEILING)


def smooth(values: Tensor, std: float) -> Tensor:
    """Gaussian smoothing (n, d) -> (n, d) over time, edges renormalised."""
    if std <= 0:
        return values
    reach = int(np.ceil(3 * std))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=values.device) / std) ** 2)
    line = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)
    summed = F.conv1d(line.T[:, None], kernel[None, None], padding=reach)[:, 0].T
    return summed[:, :-1] / summed[:, -1:]


def bell(count: int, glance: float, duration: float, seconds: float) -> Matrix:
    """Weights (count,) of a bell of so many seconds around a glance, a fraction of the video; they sum to 1."""
    std = max(seconds * count / duration, NARROWEST_BELL)
    squared = ((np.arange(count) + 0.5 - glance * count) / std) ** 2 / 2
    weight = np.exp(-(squared - squared.min()))
    return np.asarray(weight / weight.sum())


# --- fitting, in closed form ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistics:
    """How features vary within and between the training videos. Covariances are of features divided by `scale`."""

    means: Matrix  # V, D, of each video
    centre: Matrix  # D, mean of the videos' means
    scale: Matrix  # D, standard deviation of clips about their video's mean
    within: Matrix  # D, D, covariance of clips about their video's mean
    between: Matrix  # D, D, covariance of the videos' means


def measure(clips: list[Array], noise: float) -> Statistics:
    """Statistics of videos' features, each (n, D).

    Args:
        noise: share of the mean variance that is added within videos to every direction.
    """
    means = np.stack([video.mean(0, dtype=np.float64) for video in clips])
    width = means.shape[1]
    scatter = np.zeros((width, width))
    for video, mean in zip(clips, means, strict=True):
        apart = video - mean.astype(np.float32)
        scatter += apart.T @ apart
    covariance = scatter / sum(len(video) for video in clips)
    deviation = np.sqrt(covariance.diagonal())
    # parts of a feature may have different units; a dead one has none
    scale = deviation + SILENT * max(deviation.max(), LEAST)
    centre = means.mean(0)
    apart_means = (means - centre) / scale
    return Statistics(
        means=means,
        centre=centre,
        scale=scale,
        within=_shrunk(covariance / scale / scale[:, None], noise),
        between=_shrunk(apart_means.T @ apart_means / len(means), BETWEEN),
    )


def _shrunk(covariance: Matrix, share: float) -> Matrix:
    added = share * covariance.diagonal().mean() + LEAST
    return np.asarray(covariance + added * np.eye(len(covariance)))


def commonest(data: ClipSet, count: int) -> Array:
    """Unit vectors (count, word_dim) of the commonest words of the training sentences, zeros where there are fewer."""
    ids, times = np.unique(np.concatenate(data.word_ids), return_counts=True)
    chosen = np.sort(ids[np.argsort(-times, kind="stable")][:count])
    found = np.zeros((count, data.vectors.shape[1]), np.float32)
    found[: len(chosen)] = data.vectors[chosen]
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)


class Fit:
    """One training set's regressions.

    Args:
        model: is given its parameters by `run`.
        data: training rows.
        how: settings.
        seed: draws the bank.
    """

    def __init__(self, model: Dense, data: ClipSet, how: DenseFit, seed: int) -> None:
        self.model, self.data, self.how = model, data, how
        self.statistics = measure(data.clips, how.noise)
        with torch.no_grad():
            model.centre.copy_(torch.from_numpy(self.statistics.centre))
            model.words.copy_(torch.from_numpy(commonest(data, model.sizes.own_words)))
        self.described = self._describe().astype(np.float64)  # N, inputs
        self.unit_width = model.sizes.words_input_size
        self.bank = np.random.default_rng([seed, 0]).permutation(np.resize(np.arange(len(data)), max(len(data), BANK)))

    @torch.inference_mode()
    def _describe(self) -> Array:
        model, parts = self.model, []
        for first in range(0, len(self.data), ROWS):
            words, lengths = self.data.words(first, first + ROWS)
            parts.append(torch.cat(model.describe(model.tensor(words), model.tensor(lengths)), dim=1).cpu().numpy())
        return np.concatenate(parts)

    def _parts(self, described: Matrix) -> tuple[Tensor, Tensor]:
        """Described sentences (n, inputs) as the two parts that `describe` gives."""
        both = self.model.tensor(described.astype(np.float32))
        return both[:, : self.unit_width], both[:, self.unit_width :]

    def run(self, targets: list[Matrix]) -> float:
        """Fit the model to weights over the clips of each row's video, and say what share of the looks is explained.

        The regression goes from what is said to what stands out where the weights are. The prediction is compared with
        a clip as linear discriminant analysis would, under the covariance within videos, and with a video under the
        covariance between them.
        """
        looks = self._looks(targets)
        mean = self.described.mean(0)
        centred = self.described - mean
        spread = max(float(centred[:, : self.unit_width].var(0).mean()), LEAST)
        penalty = self.how.ridge * len(looks) * spread * np.eye(centred.shape[1])
        weight = np.linalg.solve(centred.T @ centred + penalty, centred.T @ looks)
        predicted = centred @ weight  # N, D
        self._set(weight, mean, predicted)
        return float(1 - np.square(looks - predicted).sum() / max(np.square(looks).sum(), LEAST))

    def _looks(self, targets: list[Matrix]) -> Matrix:
        """For each row what stands out where its weights are, and a share of what the video shows throughout."""
        means, centre = self.statistics.means, self.statistics.centre
        looks = np.empty((len(targets), means.shape[1]))
        for row, (video, weight) in enumerate(zip(self.data.videos, targets, strict=True)):
            throughout = self.how.mean_share * (means[video] - centre)
            looks[row] = weight @ self.data.clips[video] - means[video] + throughout
        return np.asarray(looks / self.statistics.scale)

    def _set(self, weight: Matrix, mean: Matrix, predicted: Matrix) -> None:
        """Parameters from a regression's weights (inputs, D)."""
        model, statistics = self.model, self.statistics
        factor, chosen = self._directions(predicted, statistics.within)
        down = chosen @ factor.T  # d, D: clip and prediction are both mapped by it
        across = VIDEO_SHARE * np.linalg.solve(statistics.between, np.linalg.solve(factor.T, chosen.T)).T
        whole = np.zeros_like(down)
        if model.sizes.seen_words:  # nothing else is compared in these directions, and they take as long as the others
            between, apart = self._directions(predicted, statistics.between)
            whole = apart @ between.T
        said = weight @ down.T  # inputs, d
        words = self._alone() @ weight  # S, D
        looks = np.stack([words @ down.T, words @ whole.T])
        values = {
            model.local_fc.weight: down / statistics.scale,
            model.video_fc.weight: across / statistics.scale,
            model.whole_fc.weight: whole / statistics.scale,
            model.word_fc.weight: said[: self.unit_width].T,
            model.word_fc.bias: -mean @ said,
            model.own_fc.weight: said[self.unit_width :].T,
            model.looks: looks,
            model.steepness: np.linalg.norm(looks, 2, axis=(1, 2)) ** 2 if looks.size else np.zeros(2),
        }
        with torch.no_grad():
            for parameter, value in values.items():
                parameter.copy_(torch.from_numpy(np.asarray(value, np.float32)))
            some = [model.tensor(clips.astype(np.float32)) for clips in self.data.clips[:BANK]]
            self._calibrate(some[:CALIBRATED])
            length = self._bank().square().sum(1).mean().sqrt().clamp(min=LEAST)
            for parameter in (model.word_fc.weight, model.word_fc.bias, model.own_fc.weight, model.named_scale):
                parameter /= length  # sentences are about as long as 1, whatever features are measured in
            model.bank.copy_(self._bank())
            reached = [model.reached(model.encode_clips(clips) + model.encode_whole(clips.mean(0))) for clips in some]
            model.spread.copy_(torch.stack([spread_of(best) for best in reached]).mean())

    def _bank(self) -> Tensor:
        """The bank's sentences as vectors (BANK, D)."""
        return self.model.encode_described(*self._parts(self.described[self.bank[:BANK]]))

    def _directions(self, predicted: Matrix, covariance: Matrix) -> tuple[Matrix, Matrix]:
        """A map (D, D) that makes a covariance the identity, and the d directions (d, D) after it in which sentences
        differ most."""
        factor = np.linalg.cholesky(np.linalg.inv(covariance))
        stretched = predicted @ factor
        _, directions = np.linalg.eigh(stretched.T @ stretched)
        width = self.model.sizes.hidden_size - 1
        chosen = np.zeros((width, len(factor)))
        count = min(width, len(factor))
        chosen[:count] = directions[:, ::-1][:, :count].T
        return factor, chosen

    @torch.inference_mode()
    def _alone(self) -> Matrix:
        """What the regression sees of sentences of one word, for the words that are looked for (S, inputs)."""
        model = self.model
        words = model.words[: model.sizes.seen_words]
        described = torch.cat(model.describe(words[:, None], words.new_ones(len(words))), dim=1)
        return np.asarray(described.cpu().numpy() * words.any(1).cpu().numpy()[:, None], np.float64)

    def _calibrate(self, videos: list[Tensor]) -> None:
        """Give what is seen its share in the scores of sentences, of clips and of whole videos.

        A score is a product, so that its two sides may be scaled at will. What is seen gets the same weight in both,
        beside the directions: an index that keeps the strongest directions of the one side then keeps the other's, too.
        """
        model = self.model
        model.seen_scale.fill_(1)
        model.named_scale.fill_(1)
        bank = self._halves(self._bank())
        clips = self._halves(torch.cat([model.encode_clips(clips) for clips in videos]))
        whole = self._halves(torch.stack([model.encode_whole(clips.mean(0)) for clips in videos]))
        for place, shown in enumerate((clips, whole)):
            by_directions, by_words = (
                (part @ said.T).std(correction=0) for part, said in zip(shown, bank, strict=True)
            )
            model.seen_scale[place] = SEEN_SHARE * by_directions / by_words if by_words > 0 else 0.0
        ratio = model.seen_scale[0] * clips[1].norm() / clips[0].norm() * bank[0].norm() / bank[1].norm()
        if ratio.isfinite() and ratio > 0:
            model.named_scale.copy_(ratio.sqrt())
            model.seen_scale /= model.named_scale

    def _halves(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (n, D) as directions (n, d) and words (n, S)."""
        width = self.model.sizes.hidden_size - 1
        return vectors[:, :width], vectors[:, width:]

    def bells(self) -> list[Matrix]:
        """The first pass's weights: bells around the glances."""
        data = self.data
        return [
            bell(len(data.clips[video]), float(glance), float(duration), self.how.bell_seconds)
            for video, glance, duration in zip(data.videos, data.glances, data.durations, strict=True)
        ]

    @torch.inference_mode()
    def readings(self) -> list[Matrix]:
        """A later pass's weights: in part the stretch that the model itself reads off around the glance."""
        model, data = self.model, self.data
        said = model.encode_described(*self._parts(self.described))
        encoded = [model.encode_clips(model.tensor(video.astype(np.float32))) for video in data.clips]
        weights = []
        for row, weight in enumerate(self.bells()):
            curve = (encoded[data.videos[row]] @ said[row]).cpu().numpy().astype(np.float64)
            first, last = stretch_around(curve, float(data.glances[row]), NEAR, model.sizes.floor)
            own = np.zeros(len(curve))
            own[first : last + 1] = 1 / (last + 1 - first)
            weights.append(TRUSTED * own + (1 - TRUSTED) * weight)
        return weights
