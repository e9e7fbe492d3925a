"""Fewer numbers a feature: principal components, fitted once to a feature file and kept beside it."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cfmr.data.features import Features, FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors.windows import digest
from cfmr.files.atomic import replacing
from cfmr.files.reading import natural, reading

_WRITTEN_HERE = ("dim", "format")


@dataclass(frozen=True, slots=True)
class Components:
    """Principal components.

    Attributes:
        mean: (dim,) float32.
        directions: (size, dim) float32, orthonormal, by falling variance; the largest entry of each is positive.
        share: of the variance that they keep.
    """

    mean: npt.NDArray[np.float32]
    directions: npt.NDArray[np.float32]
    share: float

    def __call__(self, features: Features) -> Features:
        """(n, dim) -> (n, size)."""
        return np.asarray((features - self.mean) @ self.directions.T, dtype=np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file beside and rename."""
        from safetensors.numpy import save

        arrays = {"mean": self.mean, "directions": self.directions, "share": np.array([self.share])}
        with replacing(path) as temporary:
            temporary.write_bytes(save(arrays))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Components":
        """Raises InputError if the file is missing, truncated or of another kind."""
        from safetensors.numpy import load_file

        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; `cfmr extract --pca NUMBER` writes one")
        with reading(path, "a file of principal components", "fit them again"):
            arrays = load_file(path)
            mean, directions = arrays["mean"], arrays["directions"]
            if directions.ndim != 2 or mean.shape != directions.shape[1:] or directions.dtype.kind != "f":
                raise ValueError(f"mean {mean.shape} and directions {directions.shape} do not belong together")
            return cls(mean, directions, float(arrays["share"][0]))


def check_wanted(wanted: str) -> None:
    """Raises InputError for a `--pca` that is neither a number nor a file of components, before anything is done."""
    size = natural(wanted)
    if size is not None:
        if size == 0:
            raise InputError("--pca 0: ask for at least one component")
    else:
        Components.load(wanted)


def fit(store: FeatureStore, size: int) -> Components:
    """Fit to all clips of a feature file, read one video at a time.

    Raises:
        InputError: the file has fewer clips, or narrower features, than components are wanted.
    """
    dim = store.dim
    clips = sum(store.clips(video) for video in store.videos)
    if not 0 < size <= min(dim, clips - 1):
        raise InputError(f"--pca {size}: {store.path} has {clips} clips of {dim} numbers, which gives fewer components")
    total: npt.NDArray[np.float64] = np.zeros(dim)
    for video in store.videos:
        total += store.read(video).sum(axis=0, dtype=np.float64)
    mean = total / clips
    scatter: npt.NDArray[np.float64] = np.zeros((dim, dim))
    for video in store.videos:
        apart = store.read(video) - mean
        scatter += apart.T @ apart
    variances, vectors = np.linalg.eigh(scatter)
    directions = vectors[:, ::-1][:, :size].T
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    share = variances[::-1][:size].sum() / max(variances.sum(), np.finfo(float).tiny)
    return Components(mean.astype(np.float32), (directions * np.sign(largest)).astype(np.float32), float(share))


def reduce_features(raw: Path, out: Path, wanted: str) -> Components:
    """Write the features of `raw` reduced to `out`; videos that are there already are kept.

    Args:
        wanted: how many components, which are fitted to `raw` and kept as `OUT.pca.safetensors`, and found there the
            next time, so that videos which come later are reduced alike; or a file of such components.

    Raises:
        InputError: no number and no file; components of another width; `out` holds other features.
    """
    with FeatureStore(raw) as store:
        asked = natural(wanted)
        kept = Path(wanted) if asked is None else Path(f"{out}.pca.safetensors")
        if asked is not None and not kept.exists():
            fit(store, asked).save(kept)
        components = Components.load(kept)
        size, dim = components.directions.shape
        if dim != store.dim or asked not in (None, size):
            raise InputError(
                f"{kept}: reduces {dim} numbers to {size}, not {store.dim} to {wanted}; delete it to fit anew"
            )
        attributes = {key: value for key, value in store.attributes.items() if key not in _WRITTEN_HERE}
        with FeatureWriter(out, {**attributes, "dim": size, "pca": digest(kept)}) as writer:
            for video in store.videos:
                own = store.attributes_of(video)
                if video not in writer or writer.attributes_of(video).get("fingerprint") != own.get("fingerprint"):
                    writer.add(video, components(store.read(video)), **own)
    return components
