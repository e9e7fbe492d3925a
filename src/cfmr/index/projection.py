"""The directions in which approximate search compares: the strongest of many, the same for FAISS and Milvus.

There is no centring, so inner products survive; the true scores of what is found come from the rows.
"""

import numpy as np

from cfmr.index.codec import Floats

PROJECTION = "projection.npy"  # the file that keeps them
PROJECTED = 256  # numbers a vector keeps at the most
STEP = 32  # numbers are kept in multiples of this
KEPT = 0.999  # of the vectors' squared lengths; fewer numbers take less memory and are compared sooner


def projection(sample: Floats) -> Floats | None:
    """The principal directions (p, dim), without centring, of vectors (n, dim): the fewest that keep KEPT of them.

    None where vectors have no more than PROJECTED numbers.
    """
    if sample.shape[1] <= PROJECTED:
        return None
    strengths, directions = np.linalg.eigh(sample.T @ sample)  # ascending
    kept = np.cumsum(strengths[::-1], dtype=np.float64)
    enough = int(np.searchsorted(kept, KEPT * kept[-1])) + 1
    width = min(-(-enough // STEP) * STEP, PROJECTED)
    return np.ascontiguousarray(directions[:, ::-1][:, :width].T.astype(np.float32))


def project(vectors: Floats, directions: Floats | None) -> Floats:
    """Vectors (n, dim), or one (dim,), onto directions (p, dim); as they are where there are none."""
    return vectors if directions is None else np.ascontiguousarray(vectors @ directions.T)
