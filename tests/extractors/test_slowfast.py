import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.extractors import get_extractor

torch = pytest.importorskip("torch")

from cfmr.extractors.slowfast import SlowFast, build_slowfast, fast_frames, renamed  # noqa: E402


def caffe2(name: str) -> str:
    """The name that PySlowFast's model zoo has for a parameter."""
    last = {"1": "pool1", "2": "res2_2", "3": "res3_3", "4": "res4_5"}
    for ending, short in (("running_mean", "rm"), ("running_var", "riv"), ("bias", "b")):
        name = name.replace(f".{ending}", f"_{short}")
    name = re.sub(r"bn\.weight$", "bn_s", name).replace(".weight", "_w")
    if fused := re.fullmatch(r"s(\d)_fuse\.(?:conv_f2s|(bn))_(.*)", name):
        stage = last[fused[1]] + ("" if fused[1] == "1" else "_branch2c_bn")
        return f"t_{stage}_subsample_{'bn_' if fused[2] else ''}{fused[3]}"
    if stem := re.fullmatch(r"s1\.pathway(\d)_stem\.(conv|bn)_(.*)", name):
        return ("t_" if stem[1] == "1" else "") + ("conv1_" if stem[2] == "conv" else "res_conv1_bn_") + stem[3]
    if name.startswith("head.projection_"):
        return name.replace("head.projection_", "pred_")
    block = re.fullmatch(r"s(\d)\.pathway(\d)_res(\d)\.(branch\d)(?:\.([abc]))?_(.*)", name)
    assert block, name
    return f"{'t_' if block[2] == '1' else ''}res{block[1]}_{block[3]}_{block[4]}{block[5] or ''}_{block[6]}"


@pytest.fixture(scope="module")
def network() -> "torch.nn.Module":
    torch.manual_seed(0)
    return build_slowfast(classes=400)


@pytest.fixture(scope="module")
def weights(network: "torch.nn.Module", tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slowfast") / "SLOWFAST_8x8_R50.pkl"
    blobs = {
        caffe2(name): value.numpy()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    blobs |= {"conv1_w_momentum": np.zeros(3, np.float32), "lr": np.float32(0.1), "model_iter": 7}
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    return path


def test_the_published_number_of_parameters(network: "torch.nn.Module") -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == 34_566_488


def test_every_name_of_the_model_zoo_is_known(network: "torch.nn.Module") -> None:
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    assert [renamed(caffe2(name)) for name in names] == names
    assert renamed("t_res4_5_branch2c_bn_subsample_bn_rm") == "s4_fuse.bn.running_mean"
    assert renamed("res4_0_branch1_w") == "s4.pathway0_res0.branch1.weight"


def test_both_pathways_are_averaged() -> None:
    with torch.inference_mode():
        assert build_slowfast()(torch.zeros(2, 3, 32, 64, 64)).shape == (2, 2304)


def test_of_a_clip_32_frames_are_seen_by_the_videos_own_rate() -> None:
    assert fast_frames(30.0)[[0, 1, 30, 31]].tolist() == [0, 2, 59, 59]
    assert fast_frames(25.0)[[0, 1, 31]].tolist() == [0, 1, 52]
    assert fast_frames(24000 / 1001)[-1] == int(64 * 23 / 30 - 1)


def test_features_of_a_real_video(weights: Path, shared: Path) -> None:
    extractor = get_extractor("slowfast", weights=weights)
    extraction = extractor.extract(shared / "video" / "realshort.mp4")
    assert extraction.features.shape == (1, SlowFast.dim)  # 1.2 s, a clip every two seconds
    assert np.isfinite(extraction.features).all()
    assert extraction.features.std() > 0
    assert extractor.attributes()["clips_per_second"] == 0.5


def test_weights_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs --weights"):
        get_extractor("slowfast")
    path = tmp_path / "w.pkl"
    for content, says in (
        ({"state": 1}, "holds no 'blobs'"),
        ({"blobs": {"conv1_w": "x"}}, "its conv1_w is no array"),
        ({"blobs": {"conv1_w": np.ones(3, np.float32)}}, "these are not weights of SlowFastNetwork"),
    ):
        path.write_bytes(pickle.dumps(content, protocol=2))
        with pytest.raises(InputError, match=says):
            _ = get_extractor("slowfast", weights=path)._network
