"""What a query costs online, measured on a run's own model, beside the published costs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import Vocabulary
from cfmr.models.base import Floats, Model
from cfmr.models.dense.model import Dense
from cfmr.models.encode import encode_sentences, rank_moments
from cfmr.report.markdown import number, table
from cfmr.report.published import Benchmark

TIMED = 200  # sentences


@dataclass(frozen=True)
class QueryCost:
    """The online cost of one model.

    Attributes:
        flops: mean multiply-adds of encoding a test sentence, by PyTorch's counter; see `TableCost` for CFMR-Dense.
        longest: the same of the longest sentence that the model reads.
        parameters: that the text encoder reads; word vectors and cross-attention that never runs are not among them.
        milliseconds: median time from a sentence to the ranked moments of its video, one thread.
        words: mean number of known words a sentence.
    """

    flops: float
    longest: float
    parameters: int
    milliseconds: float
    words: float


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the storage of every tensor that an operation reads."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, torch.Tensor):
                self.storages.add(value.untyped_storage().data_ptr())
        return func(*args, **(kwargs or {}))


def measure(
    model: Model, rows: Sequence[Annotation], features: FeatureStore, vocabulary: Vocabulary, max_words: int
) -> QueryCost:
    """Measure what queries cost, on the sentences and videos of a test split."""
    lengths = [len(vocabulary.ids(row.sentence, max_words)) for row in rows]
    cost: TableCost | TorchCost = (
        TableCost.of(model, vocabulary) if isinstance(model, Dense) else TorchCost(model, vocabulary.vectors.shape[1])
    )
    flops = {length: cost.flops(length) for length in {*lengths, max_words}}
    return QueryCost(
        flops=float(np.mean([flops[length] for length in lengths])),
        longest=flops[max_words],
        parameters=cost.parameters(),
        milliseconds=_query_time(model, rows[:TIMED], features, vocabulary, max_words),
        words=float(np.mean(lengths)),
    )


@dataclass(frozen=True)
class TorchCost:
    """What a text encoder in PyTorch costs."""

    model: Model
    word_dim: int

    def flops(self, words: int) -> float:
        """Multiply-adds of a sentence."""
        return count_flops(self.model, words, self.word_dim)

    def parameters(self) -> int:
        """That it reads."""
        return count_parameters(self.model, self.word_dim)


@dataclass(frozen=True)
class TableCost:
    """What CFMR-Dense costs: it adds up the rows of its table of words. Features of a sentence are projected first."""

    table: Floats
    projection: int = 0

    @classmethod
    def of(cls, model: Dense, vocabulary: Vocabulary) -> "TableCost":
        projection = 0 if vocabulary.words else sum(fit.word.size for fit in model.fits)
        return cls(model.word_inputs(vocabulary.vectors)[1:], projection)

    def flops(self, words: int) -> float:
        """An addition is counted as a multiply-add."""
        return float(words * (self.table.shape[1] + self.projection))

    def parameters(self) -> int:
        """Of the table, or of the projection."""
        return self.projection or self.table.size


def count_flops(model: Model, words: int, word_dim: int) -> float:
    """Multiply-adds of encoding one sentence. PyTorch counts each as two, the published figures as one."""
    with FlopCounterMode(display=False) as counter:
        model.text_vectors(*_sentence(words, word_dim))
    return float(counter.get_total_flops()) / 2


def count_parameters(model: Model, word_dim: int) -> int:
    """Parameters that encoding a sentence reads."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError("parameters are counted in PyTorch")
    with _Reads() as reads:
        model.text_vectors(*_sentence(4, word_dim))
    return sum(p.numel() for p in model.parameters() if p.untyped_storage().data_ptr() in reads.storages)


def _sentence(words: int, word_dim: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.zeros((1, words, word_dim), np.float32), np.array([words])


def _query_time(
    model: Model, rows: Sequence[Annotation], features: FeatureStore, vocabulary: Vocabulary, max_words: int
) -> float:
    videos = {row.video: model.video_vectors(features.read(row.video), row.duration) for row in rows}
    inputs = model.word_inputs(vocabulary.vectors)
    with one_thread():
        times = []
        for row in [*rows[:10], *rows]:  # the first ten warm up
            began = time.perf_counter()
            vector = encode_sentences(model, [row.sentence], vocabulary, max_words, inputs)[0]
            vectors, spans = videos[row.video]
            rank_moments(model.readout, vectors @ vector, spans, row.duration)
            times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times[10:] or times))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def efficiency_table(benchmark: Benchmark | None, measured: dict[str, QueryCost]) -> str:
    """Online cost of published methods and of the runs that were measured."""
    rows = []
    for cost in benchmark.efficiency if benchmark else ():
        rows.append([cost.method, "published", number(cost.flops), number(cost.parameters), "-"])
    for name, own in measured.items():
        values = [f"{own.flops / 1e8:.3g}", number(own.parameters / 1e6), number(own.milliseconds)]
        rows.append([f"**{name}**", "**measured**", *values])
    header = ["method", "figures", "FLOPs a query, 1e8", "parameters online, 1e6", "query, ms"]
    return table(header, rows, numbers=3)
