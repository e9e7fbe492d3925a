import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cfmr.errors import InputError
from tests.fuzz.campaign import run
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import Target, make_targets

# What convert needs besides is not in the samples, and a tokenizer's or a body's answer is its own.
INCOMPLETE = {"torch", "torch-legacy", "mindspore"}


def test_a_few_inputs_of_every_parser_end_well(tmp_path: Path) -> None:
    # in a process of its own: the campaign forks, and here other tests have left threads that hold locks
    given = ["--inputs", "600", "--seed", "7", "--keep", str(tmp_path / "faults"), "--json", str(tmp_path / "figures")]
    ended = subprocess.run([sys.executable, "-m", "tests.fuzz.campaign", *given], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    outcomes = json.loads((tmp_path / "figures").read_text())
    assert [fault for outcome in outcomes for fault in outcome["faults"]] == []
    assert sum(outcome["tried"] for outcome in outcomes) >= 600
    assert sum(outcome["refused"] for outcome in outcomes) >= 300


def test_whole_files_are_read(tmp_path: Path) -> None:
    for target in make_targets(tmp_path):
        place = tmp_path / "whole"
        shutil.copytree(target.folder, place)
        if target.name in INCOMPLETE:
            with pytest.raises(InputError, match=r"give its configuration|is missing"):
                target.read(place)
        else:
            target.read(place)
        shutil.rmtree(place)


def test_damage_is_the_same_for_the_same_seed() -> None:
    for content in (b'{"a": [1, 2]}', bytes(range(200))):
        first, second = ([mutated(content, random.Random(n), []) for n in range(50)] for _ in range(2))
        assert first == second
        assert sum(found != content for found in first) > 40


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("raise KeyError('x')", "an error"),
        ("import os; os.kill(os.getpid(), 9)", "ended by -9"),
    ],
)
def test_what_a_parser_must_not_do_is_a_fault_and_the_rest_is_tried(tmp_path: Path, code: str, kind: str) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "f").write_bytes(b"abc")

    def read(place: Path) -> None:
        if b"abc" not in (place / "f").read_bytes():
            exec(code)

    outcome = run(Target("t", tmp_path / "whole", ["f"], read), 6, 0, tmp_path / "kept")
    assert outcome.tried == 6
    assert outcome.faults
    assert all(kind in fault for fault in outcome.faults)
    assert all((folder / "input").exists() for folder in (tmp_path / "kept").iterdir())
