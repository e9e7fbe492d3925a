"""How a stored row stands for the vector that is searched.

A moment of the published model is K concept vectors, each divided by its own norm: K d numbers. Before that division
they are a linear image of d numbers, c_k = W_k h + b_k, so h and the K norms hold the moment exactly in a seventh of
the space, and

    sum_k <c_k, t_k> / |c_k|  =  sum_k (<h, W_k^T t_k> + <b_k, t_k>) / |c_k|

scores it without ever writing c_k out: W_k^T t_k is worked out once per query. Models whose rows are searched as they
are need no codec parameters: K = 1, W = I, no norms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK = 4096  # rows scored or expanded at a time


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query made ready for scoring rows.

    Attributes:
        vector: its own, (dim,).
        weights: (K, d).
        offsets: (K,).
        used: only so many numbers of a row count. Where a prior has no say in a sentence, as in most, that is half.
    """

    vector: Floats
    weights: Floats
    offsets: Floats
    used: int


@dataclass(frozen=True, slots=True)
class Codec:
    """Rows of `width` numbers that stand for vectors of `dim` numbers.

    Args:
        width: numbers a stored row has, d.
        weight: (K, d_concept, d), or None where a row is the vector itself.
        bias: (K, d_concept), or None.
    """

    width: int
    weight: Floats | None = None
    bias: Floats | None = None

    @property
    def dim(self) -> int:
        """Length of the searched vectors, K * d_concept."""
        return self.width if self.weight is None else self.weight.shape[0] * self.weight.shape[1]

    def _concepts(self, rows: Floats) -> Floats:
        """(n, d) -> (n, K, d_concept), before normalisation."""
        assert self.weight is not None
        assert self.bias is not None
        concepts, size, width = self.weight.shape
        flat: Floats = rows @ self.weight.reshape(concepts * size, width).T  # n, K * d_concept
        return flat.reshape(len(rows), concepts, size) + self.bias

    def scales(self, rows: Floats) -> Floats | None:
        """1 / |c_k| for every row, (n, K); None where rows are vectors themselves."""
        if self.weight is None:
            return None
        norms = [np.linalg.norm(self._concepts(rows[i : i + BLOCK]), axis=2) for i in range(0, len(rows), BLOCK)]
        scales: Floats = (1 / np.maximum(np.concatenate(norms), 1e-12)).astype(np.float32)
        return scales

    def expand(self, rows: Floats, scales: Floats | None) -> Floats:
        """The vectors that rows stand for, (n, d) -> (n, dim)."""
        if scales is None:
            return rows
        vectors: Floats = (self._concepts(rows) * scales[:, :, None]).reshape(len(rows), -1)
        return vectors

    def row_projection(self, projection: Floats | None) -> "RowProjection":
        """A map from rows straight to the projections of their vectors; `projection` is (p, dim), None for none."""
        if self.weight is None or projection is None:
            return RowProjection(self, projection)
        assert self.bias is not None
        # the projection of a concept W_k h + b_k is (P_k W_k) h + P_k b_k: both products are made once
        parts = projection.reshape(len(projection), *self.bias.shape).swapaxes(0, 1)  # K, p, d_concept
        return RowProjection(self, projection, parts @ self.weight, np.einsum("kpi,ki->kp", parts, self.bias))

    def prepare(self, vector: Floats) -> PreparedQuery:
        """Prepare a query vector (dim,) for `score`."""
        if self.weight is None:
            counting = np.flatnonzero(vector)
            used = int(counting[-1]) + 1 if len(counting) else 1
            return PreparedQuery(vector, vector[None], np.zeros(1, np.float32), used)
        assert self.bias is not None
        # <W_k h + b_k, t_k> = <h, W_k^T t_k> + <b_k, t_k>
        parts = vector.reshape(self.weight.shape[0], 1, -1)  # K, 1, d_concept
        weights = np.matmul(parts, self.weight)[:, 0]
        return PreparedQuery(vector, weights, np.einsum("ki,kzi->k", self.bias, parts), weights.shape[1])

    @staticmethod
    def score(rows: Floats, scales: Floats | None, query: PreparedQuery) -> Floats:
        """Inner products (n,) of a query with what rows stand for; of these only what counts need be there."""
        products: Floats = rows[:, : query.used] @ query.weights[:, : query.used].T  # n, K
        if scales is None:
            return products[:, 0]
        products += query.offsets
        result: Floats = np.einsum("nk,nk->n", products, scales)
        return result

    @staticmethod
    def score_all(rows: Floats, scales: Floats | None, queries: Sequence[PreparedQuery]) -> Floats:
        """The same of several queries, (queries, n)."""
        weights = np.stack([query.weights for query in queries], axis=1)  # K, queries, d
        if scales is None:
            plain: Floats = weights[0] @ rows.T
            return plain
        total = np.zeros((len(queries), len(rows)), np.float32)
        for concept, (weight, scale) in enumerate(zip(weights, scales.T, strict=True)):
            offsets = np.array([query.offsets[concept] for query in queries], np.float32)
            total += (weight @ rows.T + offsets[:, None]) * scale
        return total

    def array(self) -> Floats | None:
        """The parameters as one array (K, d_concept, d + 1), the bias last."""
        if self.weight is None or self.bias is None:
            return None
        return np.concatenate([self.weight, self.bias[:, :, None]], axis=2)

    @classmethod
    def from_array(cls, width: int, array: Floats | None) -> "Codec":
        """Undo `array`. Raises ValueError if it has numbers that are not finite."""
        if array is None:
            return cls(width)
        if not np.isfinite(array).all():
            raise ValueError("not all of its numbers are finite")
        return cls(width, np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1]))


@dataclass(frozen=True, slots=True)
class RowProjection:
    """Rows to projected vectors; for concepts without writing the vectors out, which halves the work."""

    codec: Codec
    projection: Floats | None
    weight: Floats | None = None
    bias: Floats | None = None

    def __call__(self, rows: Floats, scales: Floats | None) -> Floats:
        """(n, d) and scales (n, K) -> (n, p)."""
        if self.weight is None or self.bias is None or scales is None:
            vectors = self.codec.expand(rows, scales)
            return vectors if self.projection is None else vectors @ self.projection.T
        concepts, size, width = self.weight.shape
        parts = (rows @ self.weight.reshape(concepts * size, width).T).reshape(len(rows), concepts, size) + self.bias
        result: Floats = np.matmul(scales[:, None], parts)[:, 0]
        return result
