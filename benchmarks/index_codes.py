"""FAISS's codes under the exact re-rank on the same moments: bytes, recall and latency of each.

    python benchmarks/index_codes.py --work DIR --size 1000000

DIR is that of `index_scale.py`: its rows, queries and exact answers. Every code has as many lists and the same
queries, one thread; what it finds is scored again from the exact rows, in memory here. A code's lines are kept in
DIR/codes-SIZE.jsonl, and codes that are there are not measured again, so a broken off run goes on.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from index_scale import TOP, Collection

from cfmr.index.codec import Codec
from cfmr.index.embedded.ivf import POINTS_PER_LIST
from cfmr.index.projection import project
from cfmr.index.tuning import num_lists

EFFORTS = ((32, 32), (64, 64), (128, 256))  # lists looked at, finds scored again
WIDTH = 256  # directions that are worked out, of which a code takes the first


def codes(lists: int) -> dict[str, tuple[int, bool, Callable[[Any, int], Any]]]:
    """Directions, whether they are rotated at random, and an index of the code over a quantizer."""
    scalar, product = faiss.ScalarQuantizer, faiss.METRIC_INNER_PRODUCT

    def by(kind: int) -> Callable[[Any, int], Any]:
        return lambda quantizer, width: faiss.IndexIVFScalarQuantizer(quantizer, width, lists, kind, product)

    return {
        "8 bits": (128, False, by(scalar.QT_8bit)),
        "8 bits, 96 directions": (96, False, by(scalar.QT_8bit)),
        "6 bits": (128, False, by(scalar.QT_6bit)),
        "4 bits": (128, False, by(scalar.QT_4bit)),
        "4 bits, rotated": (128, True, by(scalar.QT_4bit)),
        "4 bits, 256 directions, rotated": (256, True, by(scalar.QT_4bit)),
        "RaBitQ, 4 bits": (128, True, lambda q, width: faiss.IndexIVFRaBitQ(q, width, lists, product, True, 4)),
        "RaBitQ, 1 bit, fast scan": (
            128,
            True,
            lambda q, width: faiss.IndexIVFRaBitQFastScan(q, width, lists, product),
        ),
        "PQ 64 x 4 bits, fast scan": (
            128,
            False,
            lambda q, width: faiss.IndexIVFPQFastScan(q, width, lists, 64, 4, product),
        ),
    }


class Moments:
    """All moments: rows, their norms and projections."""

    def __init__(self, work: Path, size: int) -> None:
        data = Collection(work, size)
        self.codec, self.queries, self.edges = data.codec, data.queries(), data.truth()
        self.rows = np.concatenate(list(data.rows()))
        scales = self.codec.scales(self.rows)
        assert scales is not None
        self.scales = scales
        some = slice(None, None, max(size // 16384, 1))
        sample = self.codec.expand(self.rows[some], scales[some])
        strongest = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :WIDTH]
        directions = np.ascontiguousarray(strongest.T.astype(np.float32))
        onto = self.codec.row_projection(directions)
        self.projected = np.empty((size, WIDTH), np.float32)
        for low in range(0, size, 8192):
            part = slice(low, low + 8192)
            self.projected[part] = onto(self.rows[part], scales[part])
        self.asked = project(self.queries, directions)
        self.prepared = [self.codec.prepare(query) for query in self.queries]

    def cut(self, width: int, rotated: bool) -> tuple[np.ndarray, np.ndarray]:
        """Moments and queries in the first so many directions."""
        vectors, asked = self.projected[:, :width], self.asked[:, :width]
        if rotated:
            rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((width, width)))[0].astype(np.float32)
            vectors, asked = vectors @ rotation, asked @ rotation
        return np.ascontiguousarray(vectors), np.ascontiguousarray(asked)


def measure(moments: Moments, name: str, lists: int) -> list[dict[str, Any]]:
    width, rotated, make = codes(lists)[name]
    vectors, asked = moments.cut(width, rotated)
    index = make(faiss.IndexFlatIP(width), width)
    index.cp.spherical, index.cp.niter, index.cp.min_points_per_centroid = True, 6, 1
    index.cp.max_points_per_centroid = POINTS_PER_LIST
    began = time.process_time()
    index.train(vectors[:: max(len(vectors) // (POINTS_PER_LIST * lists), 1)])
    index.add(vectors)
    built = time.process_time() - began
    del vectors
    lines = []
    for nprobe, rerank in EFFORTS:
        index.nprobe = nprobe
        times, kept = [], 0
        for query, prepared, edge in zip(asked, moments.prepared, moments.edges, strict=True):
            start = time.perf_counter()
            found = index.search(query[None], rerank)[1][0]
            found = found[found >= 0]
            scores = Codec.score(moments.rows[found], moments.scales[found], prepared)
            times.append(1000 * (time.perf_counter() - start))
            kept += min(int((scores >= edge - 1e-4).sum()), TOP)
        recall = kept / TOP / len(asked)
        found_in = {"p50": float(np.median(times)), "recall": recall, "bytes": index.code_size + 8, "built": built}
        lines.append({"codes": name, "nprobe": nprobe, "rerank": rerank} | found_in)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=1_000_000)
    given = parser.parse_args()
    faiss.omp_set_num_threads(1)
    path = given.work / f"codes-{given.size}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    lists = num_lists(given.size)
    missing = codes(lists).keys() - {line["codes"] for line in lines}
    moments = Moments(given.work, given.size) if missing else None
    for name in codes(lists):
        if name in missing and moments is not None:
            with open(path, "a") as file:
                for line in measure(moments, name, lists):
                    file.write(json.dumps(line) + "\n")
                    lines.append(line)
            print(f"{name}: done", flush=True)
    print("\n| codes; lists, re-ranked | bytes | built, processor s | recall@10 | p50, ms |\n|---|--:|--:|--:|--:|")
    for line in lines:
        print(
            f"| {line['codes']}; {line['nprobe']}, {line['rerank']} | {line['bytes']} | {line['built']:.0f} | "
            f"{line['recall']:.4f} | {line['p50']:.3f} |"
        )


if __name__ == "__main__":
    main()
