"""What CFMR-Dense minimises, and its gradient (Method, CFMR-Dense, Losses).

For a sentence and the clips of a batch of videos, with s the scores:

    - WITHIN sum_t w_t log softmax_t(s over the clips of its video)      which clip of the video
    - ACROSS sum_t w_t log softmax_t(s over the clips of all videos)     which clip of the batch
    - NAMING log softmax(w s over the sentences of the batch)            which sentence is meant at the glance

w is a bell around the glance. Other sentences of the same video are no wrong answers in the third.

Shapes: V videos, C clips of all of them, k components, K waves, R sentences, w numbers of a word vector, J words.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.model import SHARPNESS, Projections

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

WITHIN = 1.0  # weight of the loss within the video
ACROSS = 2.0  # weight of the loss over the clips of all videos
NAMING = 0.5  # weight of the loss over sentences


@dataclass(frozen=True)
class Batch:
    """Inputs of one step.

    Attributes:
        clips: (C, k); clips of one video follow each other.
        videos: (V, k) means of the videos' clips.
        waves: (C, K).
        video_of_clip: (C,).
        words: (R, w) means of the sentences' word vectors.
        own: (R, J) share of each word in the sentence.
        video_of_sentence: (R,).
        target: (R, C); rows sum to 1, nothing outside the sentence's video.
    """

    clips: Floats
    videos: Floats
    waves: Floats
    video_of_clip: Indices
    words: Floats
    own: Floats
    video_of_sentence: Indices
    target: Floats


def loss_and_gradient(maps: Projections, batch: Batch) -> tuple[float, Projections]:
    """Mean loss of the batch's sentences, and its gradient with respect to the projections."""
    shown = batch.clips @ maps.clip + (batch.videos @ maps.video)[batch.video_of_clip] + batch.waves @ maps.place
    asked = batch.words @ maps.word + batch.own @ maps.own
    clips, clip_lengths = _normalised(shown)
    sentences, sentence_lengths = _normalised(asked)
    loss, slope = loss_of_scores(SHARPNESS * sentences @ clips.T, batch)
    slope *= SHARPNESS
    # back through the division by the lengths
    d_shown = _through_length(slope.T @ sentences, clips, clip_lengths)
    d_asked = _through_length(slope @ clips, sentences, sentence_lengths)
    firsts = np.searchsorted(batch.video_of_clip, np.arange(len(batch.videos)))
    return loss, Projections(
        clip=batch.clips.T @ d_shown,
        video=batch.videos.T @ np.add.reduceat(d_shown, firsts, axis=0),
        place=batch.waves.T @ d_shown,
        word=batch.words.T @ d_asked,
        own=batch.own.T @ d_asked,
    )


def loss_of_scores(scores: NDArray[Any], batch: Batch) -> tuple[float, NDArray[Any]]:
    """The loss of scores (R, C), and its slope (R, C)."""
    target, rows = batch.target, len(scores)
    own = batch.video_of_sentence[:, None] == batch.video_of_clip
    within, log_within = _softmax(np.where(own, scores, -np.inf))
    across, log_across = _softmax(scores)
    loss = -WITHIN * (target * np.where(own, log_within, 0)).sum() - ACROSS * (target * log_across).sum()
    slope = WITHIN * (within - target) + ACROSS * (across - target)
    # which sentence is meant: score of each sentence at each one's glance
    named = target @ scores.T
    alike = batch.video_of_sentence[:, None] == batch.video_of_sentence
    named[alike & ~np.eye(rows, dtype=bool)] = -np.inf
    chosen, log_chosen = _softmax(named)
    loss -= NAMING * np.trace(log_chosen)
    slope += NAMING * (chosen - np.eye(rows, dtype=chosen.dtype)).T @ target
    return float(loss) / rows, slope / np.asarray(rows, slope.dtype)


def _normalised(vectors: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    return vectors / lengths, lengths


def _through_length(slope: NDArray[Any], units: NDArray[Any], lengths: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((slope - units * (slope * units).sum(1, keepdims=True)) / lengths)


def _softmax(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Softmax of each row, and its logarithm."""
    logs = values - values.max(axis=1, keepdims=True)
    exps = np.exp(logs)
    total = exps.sum(axis=1, keepdims=True)
    return exps / total, logs - np.log(total)
