import json
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from cfmr.demo.run import expected_duration, run_demo
from cfmr.errors import InputError

pytest.importorskip("torch")

LEFT_BEHIND = {
    "videos", "annotations", "features.hdf5", "checkpoint", "metrics.json", "moments.png", "index",
}  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo")
    console = Console(record=True, width=80, file=open("/dev/null", "w"))  # noqa: SIM115
    run_demo(out, 10, 3, published=False, console=console)
    return out, console.export_text()


def test_the_demo_leaves_what_it_promises(demo: tuple[Path, str]) -> None:
    out, _ = demo
    assert {path.name for path in out.iterdir()} >= LEFT_BEHIND
    assert (out / "moments.png").read_bytes()[:4] == b"\x89PNG"
    figures = json.loads((out / "metrics.json").read_text())
    assert {"test", "best_constant", "corpus"} <= figures.keys()


def test_it_leaves_what_its_page_says(demo: tuple[Path, str]) -> None:
    out, _ = demo
    page = (Path(__file__).parents[2] / "docs/demo.md").read_text()
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", page, re.M)
    named = [name for cell, told in rows if "--published" not in told for name in re.findall(r"`([^`]+)`", cell)]
    assert len(named) >= 6
    assert [name for name in named if not (out / name).exists()] == []


def test_it_says_beforehand_how_long_each_step_takes(demo: tuple[Path, str]) -> None:
    _, text = demo
    lines = text.splitlines()
    assert "extracting features" in "".join(lines[:4])
    assert expected_duration(300, 2, published=True).count(" s\n") == 3
    assert "300 videos on one core" in expected_duration(300, 1, published=False)


def test_no_line_ends_within_a_sentence(demo: tuple[Path, str]) -> None:
    out, text = demo
    sentences = {row[3] for row in json.loads((out / "annotations/test.json").read_text())}
    printed = [line.strip() for line in text.splitlines() if line.strip() in sentences]
    assert len(printed) == text.count(": found ") >= 2


def test_it_prints_figures_answers_and_how_to_open_the_page(demo: tuple[Path, str]) -> None:
    out, text = demo
    assert "best constant answer" in " ".join(text.split())
    assert text.count(" ms ") >= 2
    assert f"cfmr serve --index {out / 'index'} --videos {out / 'videos'}".replace(" ", "") in "".join(text.split())


def test_a_second_run_trains_nothing_again(demo: tuple[Path, str]) -> None:
    out, _ = demo
    before = (out / "checkpoint/model.safetensors").stat().st_mtime_ns
    video = next((out / "videos").iterdir())
    rendered = video.stat().st_mtime_ns
    time.sleep(0.01)
    console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: SIM115
    run_demo(out, 10, 3, published=False, console=console)
    assert "is trained already" in console.export_text()
    assert (out / "checkpoint/model.safetensors").stat().st_mtime_ns == before
    assert video.stat().st_mtime_ns == rendered


def test_without_the_packages_that_draw_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cfmr.demo.run.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"fonticon-fontawesome6 and matplotlib; pip install 'cfmr\[demo\]'"):
        run_demo(tmp_path / "demo", 10, 0)
    assert not (tmp_path / "demo").exists()
