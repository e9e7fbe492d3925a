"""What an index is built from: the model of a checkpoint."""

import hashlib

import numpy as np

from cfmr.models.checkpoint import Checkpoint


def model_fingerprint(checkpoint: Checkpoint) -> str:
    """Equal for equal parameters and words, and the same way to read moments."""
    digest = hashlib.blake2b(digest_size=12)
    for name in sorted(checkpoint.parameters):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(checkpoint.parameters[name]).data)
    digest.update(repr(checkpoint.state.get("reader")).encode())
    digest.update("\n".join(checkpoint.vocabulary.words).encode())
    digest.update(np.ascontiguousarray(checkpoint.vocabulary.vectors).data)
    return digest.hexdigest()
