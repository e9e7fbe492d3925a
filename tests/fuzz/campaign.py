"""The mutation campaign: every parser of the project on damaged files. `make fuzz` runs it.

    python -m tests.fuzz.campaign --inputs 20000 --seed 0

Whatever it is given, a parser reads it or raises an InputError of one line, within 10 s and 1 GB. Everything else is
printed with the input that did it, which is kept, and the exit status is 1.
"""

import argparse
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cfmr.errors import InputError
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, Target, make_targets

SECONDS = 10
FIRST = 3  # times as long for the first input of a process, which loads what reading needs
MEMORY = 1 << 30
LONGEST_LINE = 6000
REFUSED, READ = 0, 1


@dataclass
class Outcome:
    """What became of the inputs of one target."""

    target: str
    tried: int = 0
    refused: int = 0
    slowest: float = 0.0
    peak: int = 0  # megabytes above what the worker began with
    faults: list[str] = field(default_factory=list)


def run(target: Target, inputs: int, seed: int, keep: Path) -> Outcome:
    """Try so many damaged files on a target, in a process that may die."""
    outcome = Outcome(target.name)
    board = mmap.mmap(-1, 64)  # the worker writes: number tried, of them refused, slowest, peak
    first = 0
    while first < inputs:
        child = os.fork()
        if child == 0:
            try:
                _work(target, range(first, inputs), seed, board, keep)
            except BaseException:  # noqa: BLE001  a mistake of the campaign itself; the child must not go on as a parent
                traceback.print_exc()
            os._exit(3)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done, refused, slowest, peak = struct.unpack("qqdq", board[:32])
        outcome.refused += refused
        outcome.slowest, outcome.peak = max(outcome.slowest, slowest), max(outcome.peak, peak)
        if code == 3:
            raise RuntimeError(f"the campaign itself fails at {target.name} input {done}")
        if code != 0:
            kind = {-signal.SIGALRM: f"longer than {SECONDS} s", 1: "an error"}.get(code, f"ended by {code}")
            _keep_again(target, done, seed, keep)
            place = keep / f"{target.name}-{done}"
            outcome.faults.append(f"{target.name} input {done} of seed {seed}: {kind}; {place}")
            done += 1
        outcome.tried = first = done
    return outcome


def _work(target: Target, numbers: range, seed: int, board: mmap.mmap, keep: Path) -> None:
    """In the child: try one input after the other; end with 1 at the first that raises what it must not."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a handler in Python would wait for what hangs
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + MEMORY, virtual + MEMORY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused, slowest = 0, 0.0
    with tempfile.TemporaryDirectory(dir=target.folder.parent) as scratch:
        for number in numbers:
            peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
            board[:32] = struct.pack("qqdq", number, refused, slowest, peak)
            place, content = _damaged(target, number, seed, Path(scratch))
            began = time.monotonic()
            signal.alarm(SECONDS if number > numbers.start else FIRST * SECONDS)
            try:
                target.read(place)
            except InputError as error:
                refused += 1
                if "\n" in str(error) or len(str(error)) > LONGEST_LINE:
                    _kept(target, number, content, keep, f"no single line: {str(error)[:300]!r}")
            except BaseException:  # noqa: BLE001
                _kept(target, number, content, keep, traceback.format_exc())
            signal.alarm(0)
            slowest = max(slowest, time.monotonic() - began)
    board[:32] = struct.pack("qqdq", numbers.stop, refused, slowest, peak)
    os._exit(0)


def _keep_again(target: Target, number: int, seed: int, keep: Path) -> None:
    """Keep an input whose process had no time to keep it."""
    folder = keep / f"{target.name}-{number}"
    if not folder.exists():
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=target.folder.parent) as scratch:
            (folder / "input").write_bytes(_damaged(target, number, seed, Path(scratch))[1])


def _damaged(target: Target, number: int, seed: int, scratch: Path) -> tuple[Path, bytes]:
    """A copy of the target's folder, one file of which is damaged; and the content of that file."""
    rng = random.Random(f"{seed} {target.name} {number}")
    name = rng.choice(target.files)
    place = scratch / "input"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(target.folder, place)
    content = mutated((place / name).read_bytes(), rng, target.others(name))
    (place / name).write_bytes(content)
    target.prepare(place, rng)
    return place, content


def _kept(target: Target, number: int, content: bytes, keep: Path, why: str) -> None:
    folder = keep / f"{target.name}-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input").write_bytes(content)
    (folder / "why.txt").write_text(why, encoding="utf-8", errors="replace")
    sys.stderr.write(f"--- {target.name} {number}\n{why[-2500:]}\n")
    os._exit(1)


def campaign(inputs: int, seed: int, only: Sequence[str] = (), keep: Path | None = None) -> Iterator[Outcome]:
    """Spread so many inputs over the targets, by their weights."""
    keep = keep or Path(tempfile.mkdtemp(prefix="fuzz-faults-"))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        targets = [t for t in make_targets(Path(folder)) if not only or t.name in only]
        total = sum(target.weight for target in targets)
        for target in targets:
            yield run(target, -(-inputs * target.weight // total), seed, keep)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=(), choices=TARGETS, help="some of the targets")
    parser.add_argument("--keep", type=Path, help="folder for inputs at fault")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    outcomes = []
    for outcome in campaign(given.inputs, given.seed, given.only, given.keep):
        outcomes.append(outcome)
        cost = f"slowest {outcome.slowest:5.2f} s, {outcome.peak:4} MB"
        counts = f"{outcome.tried:6} inputs, {outcome.refused:6} refused"
        print(f"{outcome.target:18} {counts}, {cost}, {len(outcome.faults)} faults", flush=True)  # noqa: T201
    faults = [fault for outcome in outcomes for fault in outcome.faults]
    print(f"{sum(o.tried for o in outcomes)} inputs, {sum(o.refused for o in outcomes)} refused, {len(faults)} faults")  # noqa: T201
    if given.json:
        given.json.write_text(json.dumps([vars(outcome) for outcome in outcomes], indent=1))
    for fault in faults:
        print(fault)  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
