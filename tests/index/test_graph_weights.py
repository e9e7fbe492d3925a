"""Matrices with weights of 8 bits: about the same products, in every form and size."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from cfmr.index.graph_run import open_graph
from cfmr.index.graph_weights import Precision, input_reaches, quantize, weight_layers

EIGHT_BITS = [Precision.COLUMNS, Precision.EVEN, Precision.BLOCKS]


def write_graph(path: Path, *matrices: np.ndarray) -> None:
    """Rows (1, n, K) times one matrix (K, N) after the other."""
    names = ["words", *(f"y{i}" for i in range(len(matrices)))]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], f"m{i}") for i in range(len(matrices))]
    rows, found = ((1, "n", size) for size in (matrices[0].shape[0], matrices[-1].shape[1]))
    inputs = [helper.make_tensor_value_info("words", onnx.TensorProto.FLOAT, rows)]
    outputs = [helper.make_tensor_value_info(names[-1], onnx.TensorProto.FLOAT, found)]
    weights = [numpy_helper.from_array(matrix, f"w{i}") for i, matrix in enumerate(matrices)]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    body = helper.make_graph(nodes, "products", inputs, outputs, weights)
    onnx.save(helper.make_model(body, opset_imports=opsets, ir_version=9), path)


def product(path: Path, rows: np.ndarray) -> np.ndarray:
    return np.asarray(open_graph(path).run(None, {"words": rows})[0])


def all_reaches(path: Path, probe: Path, sentences: list[np.ndarray]) -> dict[str, np.ndarray]:
    return input_reaches(path, probe, lambda: np.stack([product(probe, rows) for rows in sentences]))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    rows=st.integers(1, 12),
    height=st.integers(1, 300),
    width=st.integers(1, 70),
    kind=st.sampled_from(EIGHT_BITS),
)
def test_products_are_about_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, height: int, width: int, kind: Precision
) -> None:
    folder = tmp_path_factory.mktemp("graph")
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((height, width)).astype(np.float32)
    x = rng.standard_normal((1, rows, height)).astype(np.float32)
    write_graph(folder / "whole.onnx", matrix)
    reach = all_reaches(folder / "whole.onnx", folder / "probe.onnx", [x])
    quantize(folder / "whole.onnx", folder / "small.onnx", {"m0": kind}, reach)
    rounding = 3 * np.abs(x).max() * np.abs(matrix).max() * np.sqrt(height) / 63  # of sums of that many products
    np.testing.assert_allclose(product(folder / "small.onnx", x), x @ matrix, atol=float(rounding))


def test_zeros_stay_zeros(tmp_path: Path) -> None:
    matrix = np.zeros((64, 5), np.float32)
    matrix[:, 1] = 1
    write_graph(tmp_path / "whole.onnx", matrix)
    x = np.zeros((1, 3, 64), np.float32)
    reach = all_reaches(tmp_path / "whole.onnx", tmp_path / "probe.onnx", [x])
    for kind in EIGHT_BITS:
        quantize(tmp_path / "whole.onnx", tmp_path / "small.onnx", {"m0": kind}, reach)
        assert not product(tmp_path / "small.onnx", x).any(), kind
        ones = product(tmp_path / "small.onnx", np.ones((1, 3, 64), np.float32))
        np.testing.assert_allclose(ones[0, 0], [0, 64, 0, 0, 0], atol=1)


def test_what_reaches_far_at_one_place_hides_less_of_the_rest_where_inputs_are_evened_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((128, 40)).astype(np.float32)
    x = rng.standard_normal((1, 8, 128)).astype(np.float32)
    x[..., 5] *= 300
    matrix[5] /= 300
    write_graph(tmp_path / "whole.onnx", matrix)
    reach = all_reaches(tmp_path / "whole.onnx", tmp_path / "probe.onnx", [x])
    error = {}
    for kind in EIGHT_BITS:
        quantize(tmp_path / "whole.onnx", tmp_path / f"{kind.name}.onnx", {"m0": kind}, reach)
        error[kind] = np.abs(product(tmp_path / f"{kind.name}.onnx", x) - x @ matrix).mean()
    assert error[Precision.EVEN] < error[Precision.COLUMNS] / 10


def test_a_row_of_small_numbers_keeps_its_own_scale_in_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((128, 40)).astype(np.float32)
    x = rng.standard_normal((1, 2, 128)).astype(np.float32) * np.array([[[1000.0], [1.0]]], np.float32)
    write_graph(tmp_path / "whole.onnx", matrix)
    error = {}
    for kind in (Precision.COLUMNS, Precision.BLOCKS):
        quantize(tmp_path / "whole.onnx", tmp_path / f"{kind.name}.onnx", {"m0": kind})
        error[kind] = np.abs(product(tmp_path / f"{kind.name}.onnx", x) - x @ matrix)[0, 1].mean()
    assert error[Precision.BLOCKS] < error[Precision.COLUMNS] / 10


def test_reaches_are_those_of_all_sentences(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((6, 4)).astype(np.float32), rng.standard_normal((4, 3)).astype(np.float32)
    write_graph(tmp_path / "whole.onnx", first, second)
    sentences = [rng.standard_normal((1, n, 6)).astype(np.float32) for n in (1, 5, 3)]
    reach = all_reaches(tmp_path / "whole.onnx", tmp_path / "probe.onnx", sentences)
    words = np.concatenate(sentences, axis=1)[0]
    np.testing.assert_allclose(reach["m0"], np.abs(words).max(0), rtol=1e-6)
    np.testing.assert_allclose(reach["m1"], np.abs(words @ first).max(0), rtol=1e-5)


def test_each_matrix_gets_its_own_precision(tmp_path: Path) -> None:
    matrices = [np.random.default_rng(i).standard_normal((32, 32)).astype(np.float32) for i in range(4)]
    write_graph(tmp_path / "whole.onnx", *matrices)
    kinds = {"m0": Precision.BLOCKS, "m1": Precision.COLUMNS, "m2": Precision.FLOAT}
    quantize(tmp_path / "whole.onnx", tmp_path / "small.onnx", kinds)
    operators = [node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node]
    assert operators.count("MatMulNBits") == operators.count("MatMulInteger") == 1
    assert [name for name, _ in weight_layers(tmp_path / "small.onnx")] == ["m2", "m3"]


def test_without_a_precision_all_get_columns(tmp_path: Path) -> None:
    matrices = [np.random.default_rng(i).standard_normal((32, 32)).astype(np.float32) for i in range(2)]
    write_graph(tmp_path / "whole.onnx", *matrices)
    quantize(tmp_path / "whole.onnx", tmp_path / "small.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node]
    assert operators.count("MatMulInteger") == 2
    assert not weight_layers(tmp_path / "small.onnx")
