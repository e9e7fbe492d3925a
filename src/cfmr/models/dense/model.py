"""CFMR-Dense: every clip is compared with the sentence, and moments are read off the curve (Method, CFMR-Dense).

Shapes: n clips of a video, B sentences, W words, N rows of training, d directions that a sentence is compared in, S
words that are looked for one by one, D = d + S.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cfmr.config import DenseConfig, DenseSizes
from cfmr.data.features import pool_clips
from cfmr.models.dense.constants import OWN_SHARE, SHARPNESS
from cfmr.moments.curve import curve_readout

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
LEAST = 1e-3  # variance below which a direction is not stretched further
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
    def encode_rows(self, features: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
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
    def finish_rows(self, rows: Array, features: NDArray[np.floating[Any]]) -> Array:
        """What is indexed of a video.

        Args:
            rows: (n, D), those of all its windows.
            features: of the whole video, (m, frame_dim).

        Returns:
            (n, D + 1).
        """
        whole = self.encode_whole(self.tensor(features.mean(0, dtype=np.float64).astype(np.float32)))
        return self.on_one_scale(self.tensor(rows) + whole).cpu().numpy()

    def row_map(self) -> None:
        """Rows are vectors, see `RowModel.row_map`."""
        return

    def video_vectors(self, features: NDArray[np.floating[Any]]) -> tuple[Array, Array]:
        """Features (n, frame_dim) of a video -> vectors (m, D + 1) and spans (m, 2), as `encode_rows`."""
        vectors, spans = self.encode_rows(features)
        return self.finish_rows(vectors, features), spans

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
