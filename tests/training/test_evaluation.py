from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cfmr.models.encode import Encoded, rank_moments
from cfmr.moments.span_reader import Readout, SpanReader
from cfmr.training import evaluation
from cfmr.training.evaluation import CORPUS_ANSWERS, search_collection

VIDEOS, CLIPS, DIM = 30, 40, 8


def made(seed: int) -> tuple[Encoded, list[str], dict[str, float]]:
    """Videos of unlike peaks, with smooth curves."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 0.2, (VIDEOS, CLIPS, DIM)), axis=1).astype(np.float32)
    edges = np.linspace(0, 1, CLIPS + 1, dtype=np.float32)
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    names = [f"v{i}" for i in range(VIDEOS)]
    encoded = Encoded({name: (walk[i], spans) for i, name in enumerate(names)}, rng.normal(size=(1, DIM)).astype("f"))
    return encoded, names, {name: 20.0 + i for i, name in enumerate(names)}


def all_moments(
    readout: Readout, encoded: Encoded, names: list[str], durations: dict[str, float]
) -> list[tuple[float, str, float, float]]:
    """Every answer of every video, best first."""
    found = []
    for name in names:
        vectors, spans = encoded.videos[name]
        answers, scores = rank_moments(readout, vectors @ encoded.sentences[0], spans, durations[name])
        for (start, end), score in zip(answers * durations[name], scores, strict=True):
            found.append((float(score), name, float(start), float(end)))
    return sorted(found, key=lambda answer: -answer[0])


@pytest.mark.parametrize("readout", ["anchors", SpanReader(), SpanReader(overlap=0.5, curve_weight=2.0)])
@pytest.mark.parametrize("seed", range(3))
def test_a_collection_is_answered_as_if_all_its_moments_were_sorted(readout: Readout, seed: int) -> None:
    encoded, names, durations = made(seed)
    model: Any = SimpleNamespace(readout=readout)
    order, found = search_collection(model, encoded, names, durations, encoded.sentences[0])
    expected = all_moments(readout, encoded, names, durations)[:CORPUS_ANSWERS]
    peaks = [(encoded.videos[name][0] @ encoded.sentences[0]).max() for name in names]
    assert order.tolist() == np.argsort(-np.array(peaks), kind="stable").tolist()
    assert [answer[1] for answer in found] == [answer[1] for answer in expected]
    for part in (0, 2, 3):
        assert [answer[part] for answer in found] == pytest.approx([answer[part] for answer in expected], rel=1e-5)


def test_videos_that_can_add_nothing_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, names, durations = made(0)
    read = []
    iterate = evaluation.iterate_answers

    def counting(*args: Any) -> Any:
        read.append(args)
        return iterate(*args)

    monkeypatch.setattr(evaluation, "iterate_answers", counting)
    model: Any = SimpleNamespace(readout="anchors")
    search_collection(model, encoded, names, durations, encoded.sentences[0])
    assert 0 < len(read) < VIDEOS
