"""Known checkpoints are fetched by huggingface_hub itself, from a server here that speaks the hub's protocol."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cfmr.data.features import FeatureStore
from cfmr.extractors.clip import Clip
from cfmr.extractors.known_checkpoints import KNOWN, known_checkpoint
from tests.support.backbones import save_clip, save_siglip
from tests.support.footage import write_video
from tests.support.hub import Hub, serving

pytest.importorskip("huggingface_hub")

B_32 = known_checkpoint("clip-vit-b-32")
WEIGHTS = B_32.weights
PIECE = 10 << 20  # bytes


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP with random weights, among files that nobody needs."""
    folder = save_clip(tmp_path_factory.mktemp("published") / "clip")
    (folder / "README.md").write_text("a card")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04a pickle")
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "repository"
    shutil.copytree(published, folder)
    with serving(Hub(folder, B_32.repository, B_32.revision)) as hub:
        yield hub


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything goes, for this process too."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def environment(home: Path, url: str, **extra: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    mine = {"HF_HOME": str(home / "hf"), "HF_ENDPOINT": url, "XDG_DATA_HOME": str(home / "data"), "NO_PROXY": "*"}
    return {**clean, **mine, "HF_HUB_DISABLE_TELEMETRY": "1", **extra}


def fetch(
    home: Path, url: str, name: str = B_32.name, before: Callable[[], None] | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "cfmr", "models", "fetch", name, "--progress", "json"]
    return subprocess.run(
        argv, env=environment(home, url, **extra), capture_output=True, text=True, preexec_fn=before, timeout=200
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a run that was refused."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    return lines[0]


def nothing_is_installed(home: Path) -> bool:
    return not list((home / "data").rglob("cfmr.json")) and not list((home / "data").rglob("*.partial"))


def blobs(home: Path) -> Path:
    return home / "hf" / "hub" / f"models--{B_32.repository.replace('/', '--')}" / "blobs"


def test_a_checkpoint_is_fetched_whole_and_read_by_its_name(hub: Hub, home: Path, published: Path) -> None:
    done = fetch(home, hub.url)
    assert done.returncode == 0, done.stderr
    folder = home / "data" / "cfmr" / "checkpoints" / B_32.name
    assert f"ready in {folder}" in done.stdout
    assert (folder / WEIGHTS).read_bytes() == (published / WEIGHTS).read_bytes()
    np.testing.assert_array_equal(Clip(Path(B_32.name)).text(["a dog"]), Clip(published).text(["a dog"]))


def test_no_pickle_and_nothing_that_is_not_needed_is_fetched(hub: Hub, home: Path) -> None:
    assert fetch(home, hub.url).returncode == 0
    taken = {path.name for path in (home / "data" / "cfmr" / "checkpoints" / B_32.name).iterdir()}
    assert WEIGHTS in taken
    assert not taken & {"pytorch_model.bin", "README.md"}
    assert not [path for _, path, _ in hub.asked if path.endswith((".bin", ".md"))]


def test_progress_ends_with_all_bytes(hub: Hub, home: Path) -> None:
    done = fetch(home, hub.url)
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert told[-1]["done"] == told[-1]["total"] > (hub.folder / WEIGHTS).stat().st_size


def test_what_is_fetched_is_where_other_programs_look_for_it(hub: Hub, home: Path) -> None:
    assert fetch(home, hub.url).returncode == 0
    script = (
        "import sys; from huggingface_hub import hf_hub_download as d; print(d(*sys.argv[1:3], revision=sys.argv[3]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, B_32.repository, WEIGHTS, B_32.revision],
        env=environment(home, hub.url, HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).resolve() == (blobs(home) / hub.sha256(WEIGHTS)).resolve()


def test_fetched_once_it_is_not_asked_for_again(hub: Hub, home: Path) -> None:
    assert fetch(home, hub.url).returncode == 0
    hub.asked.clear()
    assert fetch(home, hub.url).returncode == 0
    assert hub.asked == []


def enlarge(hub: Hub) -> None:
    """The weights as many bytes as are worth resuming: huggingface_hub writes 10 MiB at a time."""
    tensors = load_file(hub.folder / WEIGHTS)
    tensors["unused"] = np.zeros(6_000_000, np.float32)
    save_file(tensors, hub.folder / WEIGHTS, {"format": "pt"})


def test_a_transfer_that_breaks_goes_on_where_it_broke(hub: Hub, home: Path) -> None:
    enlarge(hub)
    hub.breaks[WEIGHTS] = [PIECE + 5, PIECE + 5]
    done = fetch(home, hub.url)
    assert done.returncode == 0, done.stderr
    assert hub.fetched(WEIGHTS) == [None, f"bytes={PIECE}-", f"bytes={2 * PIECE}-"]
    assert Clip(Path(B_32.name)).text(["a"]).shape == (1, 24)


def test_a_transfer_that_keeps_breaking_ends_in_a_line_and_goes_on_in_the_next_run(hub: Hub, home: Path) -> None:
    enlarge(hub)
    hub.breaks[WEIGHTS] = [PIECE + 5, *[0] * 6]
    line = refusal(fetch(home, hub.url))
    assert "broke off" in line
    assert "resumes" in line
    assert nothing_is_installed(home)
    hub.asked.clear()
    hub.breaks.clear()
    assert fetch(home, hub.url).returncode == 0
    assert hub.fetched(WEIGHTS) == [f"bytes={PIECE}-"]


def test_a_run_that_was_killed_goes_on_in_the_next(hub: Hub, home: Path) -> None:
    enlarge(hub)
    hub.holds[WEIGHTS] = PIECE + 5
    argv = [sys.executable, "-m", "cfmr", "models", "fetch", B_32.name]
    first = subprocess.Popen(argv, env=environment(home, hub.url), stderr=subprocess.DEVNULL)
    assert hub.held.wait(100)
    unfinished = blobs(home) / f"{hub.sha256(WEIGHTS)}.cfmr.incomplete"
    wait_until(lambda: unfinished.exists() and unfinished.stat().st_size == PIECE)
    first.kill()
    first.wait(100)
    assert nothing_is_installed(home)
    hub.holds.clear()
    hub.release.set()
    done = fetch(home, hub.url)
    assert done.returncode == 0, done.stderr
    assert hub.fetched(WEIGHTS)[-1] == f"bytes={PIECE}-"
    assert not unfinished.exists()


def wait_until(there: Callable[[], bool]) -> None:
    for _ in range(2000):
        if there():
            return
        time.sleep(0.05)
    pytest.fail("it did not come about")


def test_half_a_file_goes_on_also_where_the_server_sends_all_of_it(hub: Hub, home: Path) -> None:
    blobs(home).mkdir(parents=True)
    content = (hub.folder / WEIGHTS).read_bytes()
    (blobs(home) / f"{hub.sha256(WEIGHTS)}.cfmr.incomplete").write_bytes(content[:30_000])
    hub.ranges = False
    assert fetch(home, hub.url).returncode == 0
    assert (blobs(home) / hub.sha256(WEIGHTS)).read_bytes() == content


def test_half_a_file_is_continued_not_fetched_anew(hub: Hub, home: Path) -> None:
    blobs(home).mkdir(parents=True)
    content = (hub.folder / WEIGHTS).read_bytes()
    (blobs(home) / f"{hub.sha256(WEIGHTS)}.cfmr.incomplete").write_bytes(content[:30_000])
    assert fetch(home, hub.url).returncode == 0
    assert hub.fetched(WEIGHTS) == ["bytes=30000-"]


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_wrong_checksum_is_refused_and_thrown_away(hub: Hub, home: Path, name: str) -> None:
    hub.damaged.add(name)
    assert "not the checksum that is declared" in refusal(fetch(home, hub.url))
    assert nothing_is_installed(home)
    assert not list(blobs(home).glob("*.incomplete"))
    hub.damaged.clear()
    assert fetch(home, hub.url).returncode == 0


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_page_in_place_of_a_file_is_refused(hub: Hub, home: Path, name: str) -> None:
    hub.pages.add(name)
    assert "not as long as is declared" in refusal(fetch(home, hub.url))
    assert nothing_is_installed(home)
    assert not list(blobs(home).glob("*.incomplete"))


def test_a_page_in_place_of_the_hub_is_said(hub: Hub, home: Path) -> None:
    hub.nonsense = True
    assert "does not answer as a hub does" in refusal(fetch(home, hub.url))


def test_a_hub_without_the_repository_is_said(hub: Hub, home: Path) -> None:
    assert "has no such repository" in refusal(fetch(home, hub.url, "siglip2-base"))
    assert nothing_is_installed(home)


def test_a_file_that_is_gone_is_said(hub: Hub, home: Path) -> None:
    hub.gone.add("tokenizer.json")
    assert "no such repository, revision or file" in refusal(fetch(home, hub.url))
    assert nothing_is_installed(home)


def test_a_hub_that_fails_is_said(hub: Hub, home: Path) -> None:
    hub.status = 503
    assert "status 503" in refusal(fetch(home, hub.url))


def test_a_hub_that_wants_a_sign_in_is_said(hub: Hub, home: Path) -> None:
    hub.status = 403
    assert "hf auth login" in refusal(fetch(home, hub.url))


def test_weights_that_are_declared_otherwise_than_published_are_refused(published: Path, home: Path) -> None:
    known = known_checkpoint("clip-vit-l-14")
    with serving(Hub(published, known.repository, known.revision)) as hub:
        assert "SHA-256" in refusal(fetch(home, hub.url, known.name))
        assert hub.fetched(WEIGHTS) == []
    assert nothing_is_installed(home)


def test_a_checkpoint_of_another_kind_is_refused_before_its_weights_come(home: Path, tmp_path: Path) -> None:
    other = save_siglip(tmp_path / "siglip")
    with serving(Hub(other, B_32.repository, B_32.revision)) as hub:
        assert "of another kind (siglip, not clip)" in refusal(fetch(home, hub.url))
        assert hub.fetched(WEIGHTS) == []
    assert nothing_is_installed(home)


def test_a_repository_without_safetensors_is_refused(hub: Hub, home: Path) -> None:
    (hub.folder / WEIGHTS).unlink()
    assert f"holds no {WEIGHTS}" in refusal(fetch(home, hub.url))


def test_without_a_network_one_line_says_so(home: Path) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        line = refusal(fetch(home, f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert "cannot be reached" in line
    assert "HF_ENDPOINT" in line
    assert nothing_is_installed(home)


def test_offline_without_a_cache_one_line_says_so(hub: Hub, home: Path) -> None:
    assert "HF_HUB_OFFLINE is set" in refusal(fetch(home, hub.url, HF_HUB_OFFLINE="1"))
    assert hub.asked == []


def put_into_cache(home: Path, hub: Hub) -> None:
    """As another program does."""
    script = "import sys; from huggingface_hub import snapshot_download as d; d(sys.argv[1], revision=sys.argv[2])"
    subprocess.run(
        [sys.executable, "-c", script, B_32.repository, B_32.revision],
        env=environment(home, hub.url, HF_HUB_DISABLE_XET="1"),
        check=True,
        capture_output=True,
    )


def test_offline_what_another_program_has_fetched_is_used(hub: Hub, home: Path, published: Path) -> None:
    put_into_cache(home, hub)
    hub.asked.clear()
    done = fetch(home, hub.url, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert hub.asked == []
    folder = home / "data" / "cfmr" / "checkpoints" / B_32.name
    assert not (folder / "pytorch_model.bin").exists()
    np.testing.assert_array_equal(Clip(Path(B_32.name)).text(["a dog"]), Clip(published).text(["a dog"]))


def test_offline_weights_that_were_damaged_in_the_cache_are_not_used(hub: Hub, home: Path) -> None:
    put_into_cache(home, hub)
    blob = blobs(home) / hub.sha256(WEIGHTS)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    refusal(fetch(home, hub.url, HF_HUB_OFFLINE="1"))
    assert nothing_is_installed(home)
    assert fetch(home, hub.url).returncode == 0  # where there is a network they are fetched again
    assert hub.sha256(WEIGHTS) == blob.name
    assert blob.read_bytes() == (hub.folder / WEIGHTS).read_bytes()


def test_a_full_disk_is_said_and_the_next_run_goes_on(hub: Hub, home: Path) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))  # writing more fails as on a full disk

    line = refusal(fetch(home, hub.url, before=little_room))
    assert "cannot be written" in line
    assert nothing_is_installed(home)
    assert fetch(home, hub.url).returncode == 0


def test_what_does_not_fit_on_the_disk_is_not_begun(hub: Hub, home: Path) -> None:
    hub.declared[WEIGHTS] = {"size": 10**18}
    line = refusal(fetch(home, hub.url))
    assert "make room" in line
    assert "HF_HOME" in line
    assert hub.fetched(WEIGHTS) == []


def test_a_mirror_with_another_revision_is_refused(hub: Hub, home: Path) -> None:
    hub.says = "f" * 40
    assert "answers with revision ffff" in refusal(fetch(home, hub.url))
    assert nothing_is_installed(home)


def test_features_index_and_search_take_the_name(hub: Hub, home: Path) -> None:
    assert fetch(home, hub.url).returncode == 0
    videos = home / "videos"
    videos.mkdir()
    write_video(videos / "v.mp4", [step / 2 for step in range(20)], last=0.5)
    env = environment(home, "http://127.0.0.1:9")
    features, index = home / "f.hdf5", home / "index"

    def cfmr(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "cfmr", *map(str, arguments)]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=250)

    made = cfmr("extract", videos, "--extractor", "clip", "--weights", B_32.name, "--out", features)
    assert made.returncode == 0, made.stderr
    with FeatureStore(features) as store:
        assert store.dim == 24
    made = cfmr("index", "--zero-shot", B_32.name, "--features", features, "--out", index)
    assert made.returncode == 0, made.stderr
    assert '"video": "v"' in cfmr("search", "a dog", "--index", index, "--json").stdout


def test_a_name_that_is_not_fetched_says_how(home: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", [0.0, 0.5], last=0.5)
    argv = [sys.executable, "-m", "cfmr", "extract", video, "--extractor", "clip", "--out", tmp_path / "f.hdf5"]
    for name, said in ((B_32.name, f"cfmr models fetch {B_32.name} (605 MB)"), ("clip-b", "clip-vit-b-32, clip-vit-l")):
        done = subprocess.run([*argv, "--weights", name], env=environment(home, ""), capture_output=True, text=True)
        assert said in refusal(done)


def test_a_checkpoint_of_which_the_cache_was_emptied_is_not_installed(hub: Hub, home: Path) -> None:
    assert fetch(home, hub.url).returncode == 0
    shutil.rmtree(home / "hf")
    listed = subprocess.run(
        [sys.executable, "-m", "cfmr", "models"], env=environment(home, hub.url), capture_output=True, text=True
    ).stdout
    assert "installed" not in listed
    assert fetch(home, hub.url).returncode == 0


def test_the_list_names_size_licence_languages_and_checksum(hub: Hub, home: Path) -> None:
    assert fetch(home, hub.url).returncode == 0
    listed = subprocess.run(
        [sys.executable, "-m", "cfmr", "models"], env=environment(home, hub.url), capture_output=True, text=True
    ).stdout
    for known in KNOWN:
        assert f"{known.name}  " in listed
        assert all(text in listed for text in (known.licence, known.languages, known.repository, known.revision))
    assert listed.count("installed") == 1
    assert listed.count("not fetched") == len(KNOWN) - 1
