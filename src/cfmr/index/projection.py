"""The directions in which approximate search compares: the strongest of many, the same for FAISS and Milvus.

There is no centring, so inner products survive; the true scores of what is found come from the rows.
"""

import numpy as np

from cfmr.index.codec import Floats

PROJECTION = "projection.npy"  # the file that keeps them
PROJECTED = 256  # numbers a vector keeps


def projection(sample: Floats) -> Floats | None:
    """The PROJECTED principal directions, without centring, of vectors (n, dim); (PROJECTED, dim).

    None where vectors are that short already.
    """
    if sample.shape[1] <= PROJECTED:
        return None
    _, directions = np.linalg.eigh(sample.T @ sample)  # ascending
    return np.ascontiguousarray(directions[:, ::-1][:, :PROJECTED].T.astype(np.float32))


def project(vectors: Floats, directions: Floats | None) -> Floats:
    """Vectors (n, dim), or one (dim,), onto directions (p, dim); as they are where there are none."""
    return vectors if directions is None else np.ascontiguousarray(vectors @ directions.T)
