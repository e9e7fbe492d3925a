"""A sentence to ranked moments, one thread: encoding, searching and both, in one video and in the whole index.

    OMP_NUM_THREADS=1 python benchmarks/query_latency.py --index INDEX --annotations test.json [--checkpoint RUN]
                      [--words 8] [--rounds 2000]

Sentences are those of the annotations with --words known words. With --checkpoint, the text encoder as PyTorch runs it
is timed on the same sentences, and rankings within the video are compared with the model's.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.data.annotations import Annotation, load_annotations
from cfmr.errors import InputError
from cfmr.search.retriever import MomentRetriever, SearchResult


def percentiles(name: str, times: Sequence[float]) -> None:
    print(f"| {name} | {np.percentile(times, 50):.3f} | {np.percentile(times, 95):.3f} |")


def sentences(retriever: MomentRetriever, path: Path, words: int) -> list[Annotation]:
    videos = {video.id for video in retriever.videos()}

    def fits(row: Annotation) -> bool:
        try:
            query = retriever.encode(row.sentence)
        except InputError:
            return False
        return not query.unknown and len(query.words) == words

    return [row for row in load_annotations(path) if row.video in videos and fits(row)]


def searched(name: str, search: Callable[[Annotation], SearchResult], rows: Sequence[Annotation], rounds: int) -> None:
    results, total = [], []
    for i in range(rounds):
        began = time.perf_counter()
        results.append(search(rows[i % len(rows)]))
        total.append((time.perf_counter() - began) * 1000)
    percentiles(f"{name}: encode", [r.encode_seconds * 1000 for r in results])
    percentiles(f"{name}: search", [r.search_seconds * 1000 for r in results])
    percentiles(f"{name}: total", total)


def beside_the_model(retriever: MomentRetriever, checkpoint: Path, rows: Sequence[Annotation], rounds: int) -> None:
    import torch

    from cfmr.models.base import load_model
    from cfmr.models.checkpoint import Checkpoint, find_checkpoint
    from cfmr.models.encode import encode_sentences

    torch.set_num_threads(1)
    loaded = Checkpoint.load(find_checkpoint(checkpoint))
    model: Any = load_model(loaded)
    longest = loaded.config.dataset.max_num_words
    times, same = [], []
    for i in range(min(rounds, 300)):
        row = rows[i % len(rows)]
        began = time.perf_counter()
        vector = encode_sentences(model, [row.sentence], loaded.vocabulary, longest)[0]
        times.append((time.perf_counter() - began) * 1000)
        scores = retriever.index.curve(vector, row.video)[1]
        found = retriever.index.curve(retriever.encode(row.sentence).vector, row.video)[1]
        same.append(np.array_equal(np.argsort(-scores, kind="stable"), np.argsort(-found, kind="stable")))
    percentiles("the text encoder in PyTorch", times)
    print(f"\nthe same ranking of all rows as with PyTorch's query: {100 * statistics.mean(same):.1f} % of {len(same)}")


def precision(text: Mapping[str, Any]) -> str:
    """How many of the text encoder's matrices have 8 bits; an index of before does not say."""
    few, of = text.get("quantised_layers", [int(text["quantised"])] * 2)
    return "float" if not text["quantised"] else "8 bits" if few == of else f"8 bits in {few} of {of} matrices"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--words", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2000)
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        print("set OMP_NUM_THREADS=1 to measure one thread\n")
    retriever = MomentRetriever.load(arguments.index)
    rows = sentences(retriever, arguments.annotations, arguments.words)
    card = retriever.index.card
    print(
        f"{card['name']}, {len(retriever.index):,} moments of {len(retriever.videos()):,} videos, engine "
        f"{retriever.index.engine}, text encoder {precision(card['text'])}; "
        f"{len(rows)} sentences of {arguments.words} words\n"
    )
    print("| | p50, ms | p95, ms |\n|---|--:|--:|")
    searched("one video", lambda r: retriever.search(r.sentence, 5, [r.video]), rows, arguments.rounds)
    searched("all videos", lambda r: retriever.search(r.sentence, 5), rows, arguments.rounds)
    if arguments.checkpoint:
        beside_the_model(retriever, arguments.checkpoint, rows, arguments.rounds)


if __name__ == "__main__":
    main()
