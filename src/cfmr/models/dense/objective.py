"""What CFMR-Dense minimises, and its gradient (Method, CFMR-Dense, Losses).

For a sentence and the clips of a batch of videos, with s the scores:

    - WITHIN sum_t w_t log softmax_t(s over the clips of its video)      which clip of the video
    - ACROSS sum_t w_t log softmax_t(s over the clips of all videos)     which clip of the batch
    - NAMING log softmax(w s over the sentences of the batch)            which sentence is meant at the glance

w is a bell around the glance. Other sentences of the same video are no wrong answers in the third.

A negative label says that the sentence does not happen at its glance. With w a bell of height 1 there:

    - NEGATIVE log(1 - sum_t w_t softmax_t(s over the clips of its video))         not at this clip of the video
    - NEGATIVE ACROSS log(1 - sum_t w_t softmax_t(s over the clips of all videos)) nor of the batch

so that one which the scores deny already teaches nothing.

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
NEGATIVE = 0.3  # weight of a negative label, beside one of what happens: most denials are of what is not there anyway
MOST_DENIED = 0.9  # of the mass: beyond, the loss grows in a straight line, or one label would outweigh the rest


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
        target: (R, C); rows sum to 1, nothing outside the sentence's video. Of negative labels, its greatest is 1.
        negative: (R,) of negative labels.
    """

    clips: Floats
    videos: Floats
    waves: Floats
    video_of_clip: Indices
    words: Floats
    own: Floats
    video_of_sentence: Indices
    target: Floats
    negative: NDArray[np.bool_]


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
    if not batch.negative.any():
        loss, slope = _of_positives(scores, batch.target, batch.video_of_sentence, batch.video_of_clip)
    else:
        said, denied = ~batch.negative, batch.negative
        slope = np.zeros_like(scores)
        loss, slope[said] = _of_positives(
            scores[said], batch.target[said], batch.video_of_sentence[said], batch.video_of_clip
        )
        own = batch.video_of_sentence[denied, None] == batch.video_of_clip
        more, slope[denied] = _of_negatives(scores[denied], batch.target[denied], own)
        loss += more
    rows = len(scores)
    return loss / rows, slope / np.asarray(rows, slope.dtype)


def _of_positives(
    scores: NDArray[Any], target: NDArray[Any], video_of_sentence: Indices, video_of_clip: Indices
) -> tuple[float, NDArray[Any]]:
    """Of sentences that happen: sum of the losses, and the slope."""
    rows = len(scores)
    if not rows:
        return 0.0, scores
    own = video_of_sentence[:, None] == video_of_clip
    within, log_within = _softmax(np.where(own, scores, -np.inf))
    across, log_across = _softmax(scores)
    loss = -WITHIN * (target * np.where(own, log_within, 0)).sum() - ACROSS * (target * log_across).sum()
    slope = WITHIN * (within - target) + ACROSS * (across - target)
    # which sentence is meant: score of each sentence at each one's glance
    named = target @ scores.T
    alike = video_of_sentence[:, None] == video_of_sentence
    named[alike & ~np.eye(rows, dtype=bool)] = -np.inf
    chosen, log_chosen = _softmax(named)
    loss -= NAMING * np.trace(log_chosen)
    slope += NAMING * (chosen - np.eye(rows, dtype=chosen.dtype)).T @ target
    return float(loss), slope


def _of_negatives(scores: NDArray[Any], bell: NDArray[Any], own: NDArray[np.bool_]) -> tuple[float, NDArray[Any]]:
    """Of sentences that do not happen at their glances: sum of the losses, and the slope."""
    loss, slope = 0.0, np.zeros_like(scores)
    for weight, among in ((NEGATIVE, np.where(own, scores, -np.inf)), (NEGATIVE * ACROSS, scores)):
        shares, _ = _softmax(among)
        mass = (bell * shares).sum(axis=1, keepdims=True)
        left = np.maximum(1 - mass, 1 - MOST_DENIED)
        loss += weight * float((np.maximum(mass - MOST_DENIED, 0) / left - np.log(left)).sum())
        slope += weight * shares * (bell - mass) / left
    return loss, slope


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
