from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cfmr.errors import InputError
from cfmr.index.graph_check import check_graph
from cfmr.index.text_encoder import open_graph, run_graph

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
