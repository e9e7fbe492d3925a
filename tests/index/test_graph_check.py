from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cfmr.errors import InputError
from cfmr.index.graph_check import check_graph
from cfmr.index.graph_run import open_graph, run_graph

WORDS = np.ones((1, 2, 3), np.float32)


def write(path: Path, nodes: list, constants: dict | None = None, **more) -> Path:
    inside = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    words = helper.make_tensor_value_info("words", TensorProto.FLOAT, [1, None, 3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [words], [out], inside)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, **more)
    path.write_bytes(model.SerializeToString())
    return path


def mean() -> list:
    return [helper.make_node("ReduceMean", ["words"], ["out"], axes=[0, 1], keepdims=0)]


def endless() -> list:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["x"], ["x2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x2", TensorProto.FLOAT, None),
        ],
    )
    return [helper.make_node("Loop", ["rounds", "go", "words"], ["out"], body=body)]


def test_a_graph_without_loops_runs(tmp_path: Path) -> None:
    path = write(tmp_path / "text.onnx", mean())
    np.testing.assert_array_equal(run_graph(open_graph(path), path, words=WORDS), [1, 1, 1])


def test_a_graph_that_may_loop_for_ever_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "text.onnx", endless(), {"rounds": np.int64(2**62), "go": np.bool_(True)})
    with pytest.raises(InputError, match=r"text\.onnx: runs 'Loop'.*refused"):
        open_graph(path)


def test_a_loop_within_a_function_is_refused_too(tmp_path: Path) -> None:
    function = helper.make_function("own", "F", ["words"], ["out"], mean(), [helper.make_opsetid("", 17)])
    path = write(
        tmp_path / "text.onnx", [helper.make_node("F", ["words"], ["out"], domain="own")], functions=[function]
    )
    with pytest.raises(InputError, match="defines functions of its own"):
        check_graph(path)
    path = write(tmp_path / "text.onnx", [helper.make_node("F", ["words"], ["out"], domain="own")])
    with pytest.raises(InputError, match="runs 'F'"):
        check_graph(path)


@pytest.mark.parametrize("kind", ["Conv", "LSTM", "Einsum", "StringNormalizer", "cast", "constant", "initializer"])
def test_operators_that_compute_for_hours_and_texts_are_refused(tmp_path: Path, kind: str) -> None:
    node, constants = helper.make_node(kind, ["words", "words"], ["out"]), {}
    if kind == "cast":
        node = helper.make_node("Cast", ["words"], ["out"], to=TensorProto.STRING)
    if kind == "constant":
        node = helper.make_node("Constant", [], ["out"], value_strings=[b"a", b"b"])
    if kind == "initializer":
        node, constants = mean()[0], {"t": np.array(["a"], object)}
    with pytest.raises(InputError, match=r"text\.onnx: (runs|computes with texts).*refused"):
        check_graph(write(tmp_path / "text.onnx", [node], constants))


def big(size: int, then: list) -> tuple[list, dict]:
    """A matrix of so many rows and columns, of the words or of nothing, and what becomes of it."""
    nodes = [
        helper.make_node("ReduceSum", ["words"], ["one"], keepdims=0),
        helper.make_node("Expand", ["one", "shape"], ["m0"]),
        *then,
        helper.make_node("ReduceMean", [then[-1].output[0] if then else "m0"], ["row"], axes=[0], keepdims=0),
        helper.make_node("Identity", ["row"], ["out"]),
    ]
    return nodes, {"shape": np.array([size, size])}


def test_a_tensor_that_would_fill_memory_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "text.onnx", *big(100_000, []))
    with pytest.raises(InputError, match=r"text\.onnx: not an ONNX graph that runs"):
        run_graph(open_graph(path), path, words=WORDS)
    constant = [
        helper.make_node("ConstantOfShape", ["shape"], ["m"]),
        helper.make_node("ReduceMean", ["m"], ["out"], axes=[0], keepdims=0),
    ]
    path = write(tmp_path / "text.onnx", constant, {"shape": np.array([100_000, 100_000])})
    with pytest.raises(InputError, match=r"text\.onnx: not an ONNX graph that runs"):
        run_graph(open_graph(path), path, words=WORDS)
    path = write(tmp_path / "text.onnx", *big(1000, []))
    assert run_graph(open_graph(path), path, words=WORDS).tolist() == [6.0] * 1000, "and others run afterwards"


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.index.graph_run.SECONDS", 0.1)
    products = [helper.make_node("MatMul", [f"m{n}", f"m{n}"], [f"m{n + 1}"]) for n in range(3000)]
    path = write(tmp_path / "text.onnx", *big(1200, products))
    with pytest.raises(InputError, match=r"text\.onnx: .*terminate"):
        run_graph(open_graph(path), path, words=WORDS)


@pytest.mark.parametrize("where", ["initializer", "attribute"])
def test_weights_in_other_files_are_never_read(tmp_path: Path, where: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(12))
    outside = numpy_helper.from_array(np.ones(3, np.float32), "w")
    onnx.external_data_helper.set_external_data(outside, "secret")
    outside.ClearField("raw_data")
    add = helper.make_node("Add", ["words", "w"], ["out"])
    if where == "initializer":
        model = onnx.load(write(tmp_path / "text.onnx", [add]), load_external_data=False)
        model.graph.initializer.append(outside)
    else:
        constant = helper.make_node("Constant", [], ["w"], value=outside)
        model = onnx.load(write(tmp_path / "text.onnx", [constant, add]), load_external_data=False)
    (tmp_path / "text.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="refers to weights in another file"):
        open_graph(tmp_path / "text.onnx")


@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 100])
def test_a_damaged_graph_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"text\.onnx: not an ONNX graph"):
        open_graph(tmp_path / "text.onnx")


def test_what_is_no_vector_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "text.onnx", [helper.make_node("Identity", ["words"], ["out"])])
    with pytest.raises(InputError, match=r"gives float32 \(1, 2, 3\) where a vector is expected"):
        run_graph(open_graph(path), path, words=WORDS)
