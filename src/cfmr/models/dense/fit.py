"""Fitting CFMR-Dense in closed form (Method, CFMR-Dense)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cfmr.config import DenseFit
from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.model import (
    BANK,
    CALIBRATED,
    LEAST,
    NEAR,
    ROWS,
    SEEN_SHARE,
    TRUSTED,
    VIDEO_SHARE,
    Array,
    Dense,
    Matrix,
    spread_of,
)
from cfmr.moments.curve import stretch_around

BETWEEN = 0.5  # share of the mean variance added to every direction between videos, of which there are few
SILENT = 0.01  # a feature that varies less than this share of the liveliest one is not blown up
NARROWEST_BELL = 0.7  # clips


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
