"""What a vision-language checkpoint knows of words, for features that it made (Method, CFMR-Dense, What is known).

A word looks like its text vector less the mean of those of common words, and a clip like its feature less the mean of
the collection, each scaled to length 1: vectors of the two towers lie around two different points, and only how they
differ from their kind tells anything. So a sentence is a sum of words here as well, and the checkpoint is needed for
training alone.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import FUNCTION_WORDS, Vocabulary
from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.extractors.clip import Clip
from cfmr.files.atomic import cache_folder, map_npy, replacing_directory
from cfmr.models.base import Features, Floats
from cfmr.models.dense.word_prior import WordPrior, extended

PROMPT = "a photo of {}"
COMMON_WORDS = 5000  # of the word vectors, whose looks are known beside those of the training's words
VERSION = 1  # raised whenever the same checkpoint would give other looks


def find_tower_prior(weights: str, features: FeatureStore, vocabulary: Vocabulary) -> tuple[WordPrior, Vocabulary]:
    """The prior of the checkpoint that made some features, and the vocabulary with common words behind its own.

    Args:
        weights: folder of the checkpoint, or its name.

    Raises:
        InputError: it is none, or the features were made with something else.
    """
    clip = _checkpoint_of(weights, features)
    common = [word for word in load_word_vectors().words if word.isalpha() and word not in FUNCTION_WORDS]
    common = common[:COMMON_WORDS]
    vectors = _common_vectors(clip, common)
    whole = extended(vocabulary, [word for word in common if word not in vocabulary])
    row_of = {word: row for row, word in enumerate(common)}
    telling = np.array([0, *(word not in FUNCTION_WORDS for word in whole.words)], np.float32)
    others = [word for word in whole.words if word not in row_of and word not in FUNCTION_WORDS]
    known = dict(zip(others, _vectors(clip, others), strict=True)) | {
        word: vectors[row] for word, row in row_of.items()
    }
    looks = np.zeros((len(whole.words) + 1, clip.dim), np.float32)
    mean = vectors.mean(axis=0)
    for number, word in enumerate(whole.words, 1):
        if word in known:
            look = known[word] - mean
            looks[number] = look / max(float(np.linalg.norm(look)), 1e-9)
    return WordPrior(np.zeros(clip.dim, np.float32), np.eye(clip.dim, dtype=np.float32), looks, telling), whole


def centred(prior: WordPrior, videos: Iterable[Features]) -> WordPrior:
    """The prior for a collection: what all of its clips have in common tells nothing.

    Args:
        videos: features (n, D) of each of some videos.
    """
    sums, clips = np.zeros(len(prior.mean)), 0
    for shown in videos:
        sums, clips = sums + np.asarray(shown, np.float64).sum(axis=0), clips + len(shown)
    return replace(prior, mean=(sums / clips).astype(np.float32)) if clips else prior


def _checkpoint_of(weights: str, features: FeatureStore) -> Clip:
    said = features.attributes
    name = str(said.get("extractor", "an unknown extractor"))
    family, _, backbone = name.partition("/")
    if family not in ("clip", "clip-2s") or "pca" in said:
        made = f"{name}, reduced" if "pca" in said else name
        raise InputError(
            f"train.prior_checkpoint: {features.path} has features of {made}, not of a checkpoint's images"
        )
    clip = Clip(weights, backbone or None)
    if said.get("weights") != clip.attributes()["weights"] or features.dim != clip.dim:
        raise InputError(f"train.prior_checkpoint: {features.path} was made with another checkpoint than {weights}")
    return clip


def _common_vectors(clip: Clip, words: Sequence[str]) -> Floats:
    """Text vectors (n, dim) of common words, kept in the user's cache folder: they take a minute."""
    key = "\n".join([str(VERSION), PROMPT, str(clip.attributes()["weights"]), *words])
    folder: Path = cache_folder() / f"tower-words-{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}"
    try:
        found = np.array(map_npy(folder / "vectors.npy"), np.float32)
        if found.shape == (len(words), clip.dim):
            return found
    except (InputError, OSError, ValueError, EOFError):
        pass
    made = _vectors(clip, words)
    try:
        with replacing_directory(folder) as temporary:
            np.save(temporary / "vectors.npy", made)
    except InputError:  # a read-only home only costs the time to make it again
        pass
    return made


def _vectors(clip: Clip, words: Sequence[str]) -> Floats:
    return clip.text([PROMPT.format(word) for word in words]) if words else np.zeros((0, clip.dim), np.float32)
