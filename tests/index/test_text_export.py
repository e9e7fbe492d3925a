from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.config import CFMRSizes
from cfmr.index import text_export
from cfmr.index.graph_run import open_graph
from cfmr.index.graph_weights import Precision, input_reaches, quantize, weight_layers
from cfmr.index.text_export import WHOLE, choose_precision, top1_agreement
from cfmr.models.cfmr.pytorch.model import CFMR
from cfmr.models.cfmr.text_onnx import cfmr_text, cfmr_words
from cfmr.models.onnx_graph import ONE_ROW

SIZES = CFMRSizes.model_validate(
    {
        "frames_input_size": 6,
        "words_input_size": 10,
        "hidden_size": 32,
        "sigma": 9,
        "gamma": 0.5,
        "dropout": 0.1,
        "Transformers": {
            "d_model": 32,
            "num_heads": 4,
            "num_decoder_layers1": 3,
            "num_decoder_layers2": 3,
            "dropout": 0.1,
        },
        "num_concept": 5,
        "guass_width_num_training": 3,
        "width_thresh_training": 0.5,
        "guass_center_num": 4,
        "guass_width_num": 2,
        "width_thresh": 0.5,
    }
)


@pytest.fixture(scope="module")
def model() -> CFMR:
    torch.manual_seed(3)
    model = CFMR(SIZES, 20, 40).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def graph(model: CFMR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "text.onnx"
    onnx.save(cfmr_text({k: v.numpy() for k, v in model.state_dict().items()}, SIZES), path)
    return path


def parameters(model: CFMR) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def encoded(model: CFMR, graph: Path, *sentences: np.ndarray) -> np.ndarray:
    """What a graph makes of the word vectors (1, n, 10) of sentences."""
    session, given = open_graph(graph), parameters(model)
    return np.stack([session.run(None, {"words": cfmr_words(given, words)})[0] for words in sentences])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 25))
def test_the_graph_is_the_model(model: CFMR, graph: Path, seed: int, count: int) -> None:
    words = np.random.default_rng(seed).standard_normal((1, count, 10)).astype(np.float32)
    expected = model.text_vectors(words, np.array([count]))[0]
    np.testing.assert_allclose(encoded(model, graph, words)[0], expected, atol=1e-5)


def test_padding_never_mattered(model: CFMR, graph: Path) -> None:
    words = np.random.default_rng(0).standard_normal((1, 4, 10)).astype(np.float32)
    padded = np.concatenate([words, np.zeros((1, 5, 10), np.float32)], axis=1)
    long = np.random.default_rng(1).standard_normal((1, 9, 10)).astype(np.float32)
    batch = model.text_vectors(np.concatenate([padded, long]), np.array([4, 9]))
    np.testing.assert_allclose(encoded(model, graph, words), batch[:1], atol=1e-5)


def test_the_last_layer_computes_one_position_and_the_first_projects_no_word(graph: Path) -> None:
    session = open_graph(graph)
    shapes = {o.name: o.shape for o in session.get_outputs()}
    assert shapes == {"query": [SIZES.num_concept * SIZES.hidden_size]}
    kinds = [node.op_type for node in onnx.load(graph).graph.node]
    assert kinds.count("MultiHeadAttention") == 3
    names = [name for name, _ in weight_layers(graph)]
    assert len(names) == 13  # three and four of the first two layers, five of the last one, and the neck
    assert sum(name.startswith(ONE_ROW) for name in names) == 5


def test_one_layer_is_enough(tmp_path: Path) -> None:
    sizes = SIZES.model_copy(update={"Transformers": SIZES.Transformers.model_copy(update={"num_decoder_layers1": 1})})
    model = CFMR(sizes, 20, 40).eval()
    onnx.save(cfmr_text(parameters(model), sizes), tmp_path / "t.onnx")
    words = np.random.default_rng(0).standard_normal((1, 4, 10)).astype(np.float32)
    expected = model.text_vectors(words, np.array([4]))[0]
    np.testing.assert_allclose(encoded(model, tmp_path / "t.onnx", words)[0], expected, atol=1e-5)


def test_eight_bits_point_about_the_same_way(model: CFMR, graph: Path, tmp_path: Path) -> None:
    quantize(graph, tmp_path / "small.onnx")
    words = np.random.default_rng(0).standard_normal((1, 6, 10)).astype(np.float32)
    (exact,), (small,) = (encoded(model, path, words) for path in (graph, tmp_path / "small.onnx"))
    assert exact @ small / (np.linalg.norm(exact) * np.linalg.norm(small)) > 0.99


@pytest.mark.parametrize(("share", "expected"), [(0.0, "fastest"), (None, "some"), (1.1, "none")])
def test_as_many_layers_get_eight_bits_as_still_answer_alike(
    model: CFMR, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float | None, expected: str
) -> None:
    rng = np.random.default_rng(0)
    sentences = [rng.standard_normal((1, 6, 10)).astype(np.float32) for _ in range(200)]
    moments = rng.standard_normal((3000, SIZES.num_concept * SIZES.hidden_size)).astype(np.float32)

    def vectors(name: str, count: int) -> np.ndarray:
        return encoded(model, tmp_path / name, *sentences[:count])

    (tmp_path / WHOLE).write_bytes(graph.read_bytes())
    truth = vectors(WHOLE, 200)
    quantize(graph, tmp_path / "columns.onnx")
    worst = top1_agreement(truth, vectors("columns.onnx", 200), moments)
    assert worst < 1
    monkeypatch.setattr(text_export, "SHARE", (1 + worst) / 2 if share is None else share)
    card = choose_precision(tmp_path, "kept.onnx", vectors, truth, moments)

    few, of = card["quantised_layers"]
    assert of == 13
    assert {"fastest": few == of, "some": 0 < few < of, "none": few == 0}[expected]
    assert card["quantised"] == (few > 0)
    assert len(weight_layers(tmp_path / "kept.onnx")) == of - few
    if few:
        kept = top1_agreement(truth, vectors("kept.onnx", 200), moments)
        assert round(kept, 4) == card["same_first_quantised"] >= text_export.SHARE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["columns.onnx", "kept.onnx"]


def test_what_harms_most_gets_precise_first(model: CFMR, graph: Path, tmp_path: Path) -> None:
    """The least number of steps is taken that suffices: with one less, too few first moments are the same."""
    rng = np.random.default_rng(2)
    sentences = [rng.standard_normal((1, 5, 10)).astype(np.float32) for _ in range(150)]
    moments = rng.standard_normal((2000, SIZES.num_concept * SIZES.hidden_size)).astype(np.float32)
    (tmp_path / WHOLE).write_bytes(graph.read_bytes())

    def read(name: str, count: int) -> np.ndarray:
        return encoded(model, tmp_path / name, *sentences[:count])

    truth = read(WHOLE, 150)
    steps = text_export._Choice(tmp_path, read, truth, moments)._steps()

    def error(taken: int) -> float:
        fastest = {name: Precision.BLOCKS if name.startswith(ONE_ROW) else Precision.COLUMNS for name, _ in steps}
        reach = input_reaches(graph, tmp_path / "reach.onnx", lambda: read("reach.onnx", 150))
        quantize(graph, tmp_path / "some.onnx", {**fastest, **dict(steps[:taken])}, reach)
        return float(np.abs(read("some.onnx", 150) - truth).mean())

    assert {name for name, kind in steps if kind is Precision.FLOAT} == {name for name, _ in weight_layers(graph)}
    assert error(len(steps)) < 1e-6
    assert error(0) > error(len(steps) // 2) > error(len(steps) - 3)


def test_top1_agreement_counts_sentences() -> None:
    moments = np.eye(3, dtype=np.float32)
    other = np.eye(3, dtype=np.float32)[[0, 1, 1]]
    assert top1_agreement(moments, other, moments) == pytest.approx(2 / 3)
