import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from cfmr.data.annotations import load_annotations
from cfmr.demo.rendering import draw_frame
from cfmr.demo.scenes import SCENES, backdrop
from cfmr.demo.world import World, render_videos, split_sizes, video_script
from cfmr.errors import InputError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return render_videos(tmp_path_factory.mktemp("world"), videos=10, seed=3)


def test_the_videos_are_h264_files_of_the_promised_shape(world: World) -> None:
    assert len(list(world.videos.iterdir())) == 10
    script = video_script(3, "train", 0)
    with av.open(str(world.videos / "train-0000.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 320, 240)
        assert stream.average_rate == 12
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == round(script.duration * 12)
    shown = np.asarray(draw_frame(script, 100 / 12), np.float32)
    assert np.abs(frames[100].astype(np.float32) - shown).mean() < 6


def test_training_rows_have_a_glance_and_no_span(world: World) -> None:
    train = load_annotations(world.annotations["train"], glances=True)
    assert all(row.span is None for row in train)
    for split in ("val", "test"):
        for row in load_annotations(world.annotations[split], glances=True, spans=True):
            assert row.span is not None
            assert row.glance is not None
            assert row.span[0] <= row.glance <= row.span[1] <= row.duration
    assert len(world.unseen) == len(load_annotations(world.annotations["test"]))


def test_a_second_run_keeps_the_videos_and_another_seed_replaces_them(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.videos.parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / "videos" / "test-0001.mp4").unlink()
    once = render_videos(tmp_path, videos=10, seed=3)
    film = once.videos / "test-0001.mp4"
    assert film.read_bytes() == (world.videos / "test-0001.mp4").read_bytes()
    (once.videos / "holiday.mp4").write_bytes(b"mine")
    film.write_bytes(b"kept")
    (once.videos / "val-0000.mp4").unlink()
    render_videos(tmp_path, videos=10, seed=3)
    assert film.read_bytes() == b"kept"
    assert (once.videos / "val-0000.mp4").stat().st_size > 1000
    render_videos(tmp_path, videos=10, seed=4)
    assert film.stat().st_size > 1000
    assert (once.videos / "holiday.mp4").read_bytes() == b"mine"


def test_three_hundred_videos_are_shared_out() -> None:
    assert split_sizes(300) == {"train": 220, "val": 30, "test": 50}
    assert sum(split_sizes(40).values()) == 40
    with pytest.raises(InputError, match="at least 10"):
        split_sizes(3)


def test_a_seed_below_zero_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seed -1"):
        render_videos(tmp_path, videos=10, seed=-1)


def test_scenes_differ_and_come_back_from_their_seed() -> None:
    pictures = {scene: np.asarray(backdrop(scene, 5), np.float32) for scene in SCENES}
    assert all(picture.shape == (240, 320, 3) for picture in pictures.values())
    names = list(SCENES)
    assert all(np.abs(pictures[a] - pictures[b]).mean() > 5 for a in names for b in names if a < b)
    assert all((pictures[scene] == np.asarray(backdrop(scene, 5), np.float32)).all() for scene in names)
