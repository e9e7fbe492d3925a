"""CFMR-Dense: a vector for every clip and one for the sentence; their inner products are the relevance curve.

The model is linear up to the length of its vectors and needs nothing but numpy (Method, CFMR-Dense).

Shapes: n clips of a video, D numbers of a feature, k principal components, M fits side by side, d numbers of a
vector of one fit, p of a prior look (0 without a prior), W words of size w, J <= W of them seen in training, K waves of
place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.features import pool_clips
from cfmr.models.base import Features, Floats, PlainRows
from cfmr.models.checkpoint import Checkpoint, Tensors, check_parameters
from cfmr.models.dense.word_prior import NAMES as PRIOR_NAMES
from cfmr.models.dense.word_prior import WordPrior
from cfmr.moments.span_reader import SpanReader, running_mean

SHARPNESS = 10.0  # of the softmax in training: a score is so many times the cosine
NUM_WAVES = 8  # cosines of the place in the video, the first constant

SHARE = "regression_share"  # in a checkpoint
HALF = "regressed"  # in its place in models of before: 1 where a regression has half of a score

Ids = NDArray[np.integer[Any]]


def unit(vectors: Floats) -> Floats:
    """Vectors (..., d) of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-6), np.float32)


def waves(clips: int) -> Floats:
    """Cosines (n, K) of each clip's place in the video."""
    place = (np.arange(clips) + 0.5) / clips
    return np.cos(np.pi * place[:, None] * np.arange(NUM_WAVES)).astype(np.float32)


@dataclass(frozen=True)
class Whitening:
    """Features of unit length to principal components of variance 1: (x / |x| - mean) axes.

    Attributes:
        mean: (D,).
        axes: (D, k).
    """

    mean: Floats
    axes: Floats

    def __call__(self, features: Features) -> Floats:
        return np.asarray((unit(np.asarray(features, np.float32)) - self.mean) @ self.axes, np.float32)


@dataclass
class Projections:
    """What one fit learns.

    Attributes:
        clip: (k, d) of a clip's components, averaged with its neighbours'.
        video: (k, d) of their mean over the video.
        place: (K, d) of the waves.
        word: (w, d) of word vectors.
        own: (J + 1, d) of each word of training, what it looks like beyond what its vector says.
    """

    clip: Floats
    video: Floats
    place: Floats
    word: Floats
    own: Floats

    def arrays(self) -> list[Floats]:
        """All of them, in the order of the fields."""
        return [self.clip, self.video, self.place, self.word, self.own]

    def clips(self, inputs: Floats) -> Floats:
        """Components (n, k), averaged with neighbours, of a video -> unit vectors (n, d) of its clips."""
        video = inputs.mean(axis=0) @ self.video
        return unit(inputs @ self.clip + video + waves(len(inputs)) @ self.place)


class Dense(PlainRows):
    """A fitted model.

    Args:
        fits: side by side in every vector: what they have in common is less noisy than one alone.
        regression: in closed form, behind them, if it has a share.
        regression_share: of a score; the fits share the rest.
        reader: how moments are read off the curve; also says over how many clips features are averaged.
        max_num_frames: clips of a video, or of a window of a long one, above which they are pooled.
        prior: what is known of words before any click, if anything is.
    """

    def __init__(
        self,
        whitening: Whitening,
        fits: Sequence[Projections],
        reader: SpanReader,
        max_num_frames: int,
        prior: WordPrior | None = None,
        regression: Projections | None = None,
        regression_share: float = 0.0,
    ) -> None:
        self.whitening, self.descended, self.readout = whitening, list(fits), reader
        self.fits = [*self.descended, *([] if regression is None else [regression])]
        self.regression_share = regression_share
        self.max_num_frames, self.prior = max_num_frames, prior

    @property
    def shares(self) -> list[float]:
        """Shares of a score (M,) that fits and regression have."""
        return shares_of(len(self.descended), self.regression_share)

    @property
    def learned_size(self) -> int:
        """Numbers of a vector that are learned, M d."""
        return sum(fit.clip.shape[1] for fit in self.fits)

    @property
    def size(self) -> int:
        """Numbers of a vector, M d + p."""
        return self.learned_size + (0 if self.prior is None else self.prior.size)

    def video_vectors(self, features: Features, duration: float) -> tuple[Floats, Floats]:
        """Clips of a video, or of a window of a long one.

        Args:
            features: (n, D).
            duration: of what they show, seconds.

        Returns:
            vectors (m, M d + p) and spans (m, 2) as fractions; m is n, or `max_num_frames` if that is less.
        """
        if len(features) > self.max_num_frames:
            features = pool_clips(np.asarray(features, np.float32), self.max_num_frames)
        count = len(features)
        window = self.readout.window_in(count, duration)
        inputs = running_mean(self.whitening(features), window)
        parts = [
            fit.clips(inputs) * np.float32(SHARPNESS * share) for fit, share in zip(self.fits, self.shares, strict=True)
        ]
        if self.prior is not None:
            parts.append(self.prior.clips(features) * np.float32(SHARPNESS))
        vectors = np.concatenate(parts, axis=1)
        edges = (np.arange(count + 1) / count).astype(np.float32)
        return running_mean(vectors, window), np.stack([edges[:-1], edges[1:]], axis=1)

    def word_inputs(self, vectors: Floats) -> Floats:
        """Vectors (W + 1, w) of the vocabulary's words -> what a sentence sums up of each, (W + 1, M d + s).

        s is p + 2 with a prior, see `WordPrior.words`, and 0 without.
        """
        seen = len(self.fits[0].own)  # the features of a sentence, in place of words, have no own look
        learned = np.concatenate([vectors @ fit.word for fit in self.fits], axis=1)
        learned[:seen] += np.concatenate([fit.own for fit in self.fits], axis=1)
        if self.prior is None:
            return learned.astype(np.float32)
        learned[seen:] = 0  # of words that training has not seen, nothing is learned
        return np.column_stack([learned, self.prior.words(seen - 1)]).astype(np.float32)

    def text_vectors(self, words: Floats, lengths: NDArray[np.int64]) -> Floats:
        """`word_inputs` of the words of B sentences (B, n, M d + s), zero behind a sentence's end -> (B, M d + p)."""
        summed = words.sum(axis=1)
        learned = unit(summed[:, : self.learned_size].reshape(len(words), len(self.fits), -1)).reshape(len(words), -1)
        if self.prior is None:
            return learned
        looks, share = self.prior.sentences(summed[:, self.learned_size :])
        return np.concatenate([learned * share, looks], axis=1)

    # --- in a checkpoint ----------------------------------------------------------------------------------------------

    def parameters(self) -> Tensors:
        """By name, for a checkpoint."""
        stacked = {name: np.stack([getattr(fit, name) for fit in self.fits]) for name in Projections.__annotations__}
        prior = {} if self.prior is None else self.prior.parameters()
        share = np.array([self.regression_share], np.float32)
        return {"mean": self.whitening.mean, "axes": self.whitening.axes, SHARE: share, **stacked, **prior}

    @classmethod
    def restore(cls, checkpoint: Checkpoint) -> "Dense":
        """The model of a checkpoint.

        Raises:
            InputError: parameters do not fit the configuration or each other, or it is not said how to read curves.
        """
        found, sizes = checkpoint.parameters, checkpoint.config.dataset
        components = found["axes"].shape[-1] if "axes" in found else 0
        fits, size = found["clip"].shape[:: max(found["clip"].ndim - 1, 1)] if "clip" in found else (0, 0)
        expected = {
            "mean": (sizes.frame_dim,),
            "axes": (sizes.frame_dim, components),
            "clip": (fits, components, size),
            "video": (fits, components, size),
            "place": (fits, NUM_WAVES, size),
            "word": (fits, sizes.word_dim, size),
            "own": (fits, len(checkpoint.vocabulary) + 1, size),
        }
        expected |= {name: (1,) for name in (SHARE, HALF) if name in found}  # models of before have one or none
        if any(name in found for name in PRIOR_NAMES):  # then words may be known that training has not seen
            expected |= _prior_shapes(found, sizes.frame_dim, len(checkpoint.vocabulary))
            seen = found["own"].shape[1] if found.get("own", np.zeros(0)).ndim == 3 else 0
            expected["own"] = (fits, min(max(seen, 1), len(checkpoint.vocabulary) + 1), size)
        check_parameters(found, expected, "model.safetensors")
        projections = [
            Projections(*(np.asarray(found[name][fit], np.float32) for name in Projections.__annotations__))
            for fit in range(fits)
        ]
        reader = SpanReader.from_json(checkpoint.state.get("reader"), "state.json: key 'reader'")
        whitening, prior = Whitening(found["mean"], found["axes"]), WordPrior.restore(found)
        share = regression_share(found)
        regression = projections.pop() if share else None
        return cls(whitening, projections, reader, sizes.max_num_frames, prior, regression, share)


def shares_of(fits: int, regression_share: float) -> list[float]:
    """Shares of a score that fits have, and behind them a regression, if it has one."""
    return [(1 - regression_share) / fits] * fits + [regression_share] * (regression_share > 0)


def regression_share(found: Tensors) -> float:
    """The share of the last of a checkpoint's projections, if they are a regression; else 0."""
    share = found[SHARE] if SHARE in found else 0.5 * np.asarray(found.get(HALF, np.zeros(1)))
    return min(max(float(share[0]), 0.0), 1.0) if len(found["clip"]) > 1 else 0.0


def _prior_shapes(found: Tensors, frame_dim: int, words: int) -> dict[str, tuple[int, ...]]:
    """Shapes that the parameters of a prior have to have."""
    channels, size = (*found["prior_axes"].shape, 0, 0)[:2] if "prior_axes" in found else (0, 0)
    channels = min(channels, frame_dim)
    return dict(zip(PRIOR_NAMES, [(channels,), (channels, size), (words + 1, size), (words + 1,), (1,)], strict=True))
