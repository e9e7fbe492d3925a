"""The command line as a user meets it; what the commands do is tested beside what they call."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cfmr.cli import COMMANDS, GROUPS, app, main
from cfmr.errors import InputError
from tests.support.footage import write_film


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


def refused(*arguments: object) -> str:
    """The line that a command ends in."""
    done = run(*arguments)
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


def test_it_is_a_module_with_a_version() -> None:
    done = subprocess.run([sys.executable, "-m", "cfmr", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"cfmr {version('cfmr')}\n"


def test_commands_are_listed_in_groups_in_the_order_of_use_and_each_in_a_whole_line() -> None:
    lines = run("-h", COLUMNS="80").output.splitlines()
    listed = [line for line in lines[lines.index("Search my videos:") :] if line.startswith("  ")]
    assert [line.split()[0] for line in listed] == [name for names in GROUPS.values() for name in names]
    assert "Research:" in lines
    assert not [line for line in listed if line.endswith("...")], "cut off"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    assert run(command, "-h").exit_code == 0


def test_a_sentence_needs_no_quotes(tmp_path: Path) -> None:
    said = refused("search", "a", "red", "ball", "--index", tmp_path / "nothing")
    assert "nothing: no index here; build one with: cfmr index --out" in said


def test_the_index_can_be_named_by_the_environment(tmp_path: Path) -> None:
    done = run("search", "a red ball", CFMR_INDEX=str(tmp_path / "films"))
    assert "films: no index here" in str(done.exception)


def test_a_folder_of_something_else_is_not_taken_for_an_index(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    said = refused("search", "a red ball", "-i", tmp_path)
    assert said == f"{tmp_path}: no index; this folder has other files ('a.mp4'). Name an index directory"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "adding videos needs --features and --checkpoint or --zero-shot; without them only --remove and --engine"),
        (["--videos", "films"], "--videos needs --features and --checkpoint or --zero-shot, which say what to index"),
        (["--rebuild", "--remove", "a"], "--rebuild needs --features"),
        (["--checkpoint", "run"], "--checkpoint and --zero-shot need --features"),
        (["--features", "f.hdf5"], "--features needs --checkpoint or --zero-shot"),
        (["--checkpoint", "run", "--zero-shot", "clip"], "an index has one model; choose one of them"),
    ],
)
def test_an_index_run_that_lacks_something_says_what(tmp_path: Path, given: list[str], message: str) -> None:
    assert message in refused("index", "-o", tmp_path / "index", *given)
    assert not (tmp_path / "index").exists()


def test_a_folder_of_videos_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.hdf5").write_bytes(b"")
    said = refused(
        "index", "-o", tmp_path / "i", "--checkpoint", tmp_path, "--features", tmp_path / "f.hdf5", "--videos", "nosuch"
    )
    assert said == "nosuch: no such folder; --videos names the folder with the video files"


def test_features_are_only_written_as_hdf5(tmp_path: Path) -> None:
    said = refused("extract", tmp_path, "-o", tmp_path / "features.csv")
    assert said == f"--out {tmp_path / 'features.csv'}: features are written as HDF5; name the file .hdf5"


@pytest.mark.parametrize(("extractor", "said"), [
    ("efficientnet-lite0", "--device cuda: this ONNX Runtime has no CUDA; install onnxruntime-gpu"),
    ("c3d", "--extractor c3d: takes no --device"),
])  # fmt: skip
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(
    extractor: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    film, out = write_film(tmp_path / "v.mp4"), tmp_path / "f.hdf5"
    assert refused("extract", film, "-o", out, "--extractor", extractor, "--device", "cuda").startswith(said)
    assert sorted(tmp_path.iterdir()) == [film]


def test_a_gpu_without_memory_ends_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def full(**_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("cfmr.cli.app", full)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "cfmr: the GPU has too little free memory; end what else uses it, or compute with --device cpu\n"
    )


def test_an_interrupted_command_ends_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cfmr.search.retriever.MomentRetriever.load", interrupted)
    done = run("search", "a red ball", "-i", tmp_path)
    assert (done.exit_code, done.stderr) == (130, "cfmr: interrupted\n")
