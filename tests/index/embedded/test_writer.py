import ast
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cfmr.errors import InputError
from cfmr.index import files
from cfmr.index.embedded import writer as writing
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.embedded.writer import EmbeddedWriter, Limits
from tests.support.collections_of_rows import CARD, concept_codec, fill, made_video, queries


def names(path: Path) -> list[str]:
    return sorted(v.id for v in EmbeddedIndex.open(path).videos())


def test_adding_twice_replaces(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a"), made_video("b")])
    fill(tmp_path / "i", [made_video("a", rows=9, seed=7)])
    index = EmbeddedIndex.open(tmp_path / "i")
    assert names(tmp_path / "i") == ["a", "b"]
    assert index.video("a").rows == 9
    assert len(index) == 15


def test_nothing_changes_before_commit(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a")])
    with EmbeddedWriter.open(tmp_path / "i") as writer:
        writer.add([made_video("b")])
        writer.remove(["a"])
    assert names(tmp_path / "i") == ["a"]


def test_a_video_that_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a")])
    with EmbeddedWriter.open(tmp_path / "i") as writer, pytest.raises(InputError, match="no video 'b'"):
        writer.remove(["b"])


def test_rows_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = made_video("a")
    broken.rows[2, 2] = np.nan
    with pytest.raises(InputError, match=r"'a'.*not finite"):
        fill(tmp_path / "i", [broken])


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt"), EmbeddedWriter.open(tmp_path):
        pass


def test_another_model_starts_the_index_anew_in_one_step(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a"), made_video("b")])
    with EmbeddedWriter.open(tmp_path / "i") as writer:
        writer.set_model({**CARD, "name": "second"}, concept_codec(), lambda _: [])
        writer.add([made_video("a")])
        assert names(tmp_path / "i") == ["a", "b"]
        writer.commit()
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index.card["name"] == "second"
    assert names(tmp_path / "i") == ["a"]
    assert len(list((tmp_path / "i").glob("model-*"))) == 1


def test_small_segments_are_merged(tmp_path: Path) -> None:
    for i in range(40):
        fill(tmp_path / "i", [made_video(f"v{i}", 2)])
    index = EmbeddedIndex.open(tmp_path / "i")
    assert len(index.segments) <= writing.SMALL_SEGMENTS
    assert len(index.videos()) == 40
    assert len(list((tmp_path / "i").glob("segment-*"))) == len(index.segments)


def test_the_second_writer_is_told(tmp_path: Path) -> None:
    code = (
        "import sys; from cfmr.index.embedded.writer import EmbeddedWriter\n"
        f"with EmbeddedWriter.open({str(tmp_path / 'i')!r}):\n  print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"another process is writing this index.*{one.pid}"):
            fill(tmp_path / "i", [made_video("a")])
        one.communicate()
    fill(tmp_path / "i", [made_video("a")])


@pytest.mark.parametrize("engine", ["exact", "ivf"])
def test_a_reader_keeps_answering_while_everything_is_replaced(tmp_path: Path, engine: str) -> None:
    limits = Limits(exact_rows=1000 if engine == "exact" else 20)
    fill(tmp_path / "i", [made_video(f"v{i}") for i in range(10)], limits)
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index.engine == engine
    parts = {p.directory for p in index.manifest.parts()}
    fill(tmp_path / "i", [made_video(f"v{i}", seed=i) for i in range(10)], limits)
    with EmbeddedWriter.open(tmp_path / "i", limits) as writer:
        writer.set_model(CARD, concept_codec(), lambda _: [])
        writer.commit()
    assert not parts & {p.name for p in (tmp_path / "i").iterdir()}, "what it reads from has been deleted"
    expected = EmbeddedIndex.open(unchanged(tmp_path, limits))
    for vector in queries(5):  # none of which was asked before, so nothing is remembered
        assert hits(index, vector) == hits(expected, vector)
        np.testing.assert_array_equal(index.curve(vector, "v3")[1], expected.curve(vector, "v3")[1])


def unchanged(folder: Path, limits: Limits) -> Path:
    fill(folder / "unchanged", [made_video(f"v{i}") for i in range(10)], limits)
    return folder / "unchanged"


def hits(index: EmbeddedIndex, vector: np.ndarray) -> list[tuple[str, float]]:
    return [(h.video.id, h.score) for h in index.top(vector, 5)]


READ_ON = """
import sys
from pathlib import Path
from cfmr.index.embedded.reader import EmbeddedIndex
from tests.support.collections_of_rows import queries
opened, seen = EmbeddedIndex.open(sys.argv[1]), set()
print("open", flush=True)
while not Path(sys.argv[2]).exists():
    for vector in queries(3):
        found = opened.top(vector, 5)
        assert len(found) == 5
        assert {h.video.metadata["round"] for h in found} == {opened.video("v0").metadata["round"]}, "of one state"
    seen.add(opened.generation)
    if opened.changed():
        opened = EmbeddedIndex.open(sys.argv[1])
print(len(seen))
"""


@pytest.mark.parametrize("limits", [Limits(), Limits(exact_rows=20)], ids=["exact", "ivf"])
def test_a_reader_in_another_process_sees_one_state_at_a_time(tmp_path: Path, limits: Limits) -> None:
    def write(number: int) -> None:
        fill(tmp_path / "i", [made_video(f"v{i}", seed=i, metadata={"round": number}) for i in range(10)], limits)

    write(0)
    command = [sys.executable, "-c", READ_ON, str(tmp_path / "i"), str(tmp_path / "done")]
    paths = [str(Path(__file__).parents[3]), *sys.path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        for number in range(1, 12):
            write(number)
        (tmp_path / "done").touch()
        states = reader.stdout.read()
    assert reader.returncode == 0
    assert int(states) >= 2, "it took up what was written"


def test_opening_while_another_writes_never_fails(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a")])
    stop, problems, opened = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            try:
                opened.append(len(EmbeddedIndex.open(tmp_path / "i").videos()))
            except Exception as error:  # noqa: BLE001
                problems.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(30):
        fill(tmp_path / "i", [made_video("a", seed=i)])
    stop.set()
    thread.join()
    assert not problems
    assert opened
    assert set(opened) == {1}


def test_threads_may_open_an_index_while_others_parse(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a")])
    stop = threading.Event()

    def parse() -> None:
        while not stop.is_set():
            with contextlib.suppress(SystemError):  # Python's own trouble, which must not become the index's
                ast.parse("(" * 60 + "1, 2" + ")" * 60)

    threads = [threading.Thread(target=parse) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(300):
            EmbeddedIndex.open(tmp_path / "i")
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join()


class AnyOrderOfChanges(RuleBasedStateMachine):
    """Whatever is added, replaced and removed in whatever order, the index answers as a plain table would."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "i"
        self.table: dict[str, int] = {}
        fill(self.path, [])

    @rule(name=st.sampled_from("abcdefgh"), seed=st.integers(0, 99), rows=st.integers(1, 5))
    def add(self, name: str, seed: int, rows: int) -> None:
        fill(self.path, [made_video(name, rows, seed)])
        self.table[name] = seed

    @rule(gone=st.sets(st.sampled_from("abcdefgh")))
    def remove(self, gone: set[str]) -> None:
        gone &= set(self.table)
        with EmbeddedWriter.open(self.path) as writer:
            writer.remove(sorted(gone))
            writer.commit()
        for name in gone:
            del self.table[name]

    @invariant()
    def answers_as_the_table(self) -> None:
        index = EmbeddedIndex.open(self.path)
        assert {v.id for v in index.videos()} == set(self.table)
        for name, seed in self.table.items():
            expected = made_video(name, index.video(name).rows, seed)
            scales = index.codec.scales(expected.rows)
            vector = queries(1)[0]
            scores = index.codec.score(expected.rows, scales, index.codec.prepare(vector))
            np.testing.assert_allclose(index.curve(vector, name)[1], scores, atol=1e-5)
        assert len(index.top(queries(1)[0], 100)) == min(len(index), 100)

    def teardown(self) -> None:
        self.folder.cleanup()


TestAnyOrderOfChanges = AnyOrderOfChanges.TestCase
TestAnyOrderOfChanges.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


@pytest.mark.parametrize("engine", ["exact", "ivf"])
def test_a_full_disk_is_said_and_the_index_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    fill(tmp_path / "i", [made_video("a")])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device") if engine == "exact" else RuntimeError("write error")

    target = (files, "_write") if engine == "exact" else ("faiss.write_index",)
    monkeypatch.setattr(*target, full)
    with (
        pytest.raises(InputError, match=r"cannot be written.*make room"),
        EmbeddedWriter.open(tmp_path / "i") as writer,
    ):
        writer.set_engine(engine)
        writer.add([made_video("b", 40)] if engine == "exact" else [])
        writer.commit()
    monkeypatch.undo()
    assert names(tmp_path / "i") == ["a"]
    assert len(list((tmp_path / "i").glob("segment-*"))) == 1


# --- killed anywhere --------------------------------------------------------------------------------------------------

KILLED = 9
TOUCHES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "os.listdir")


def killed_at(step: int, change, path: Path) -> bool:
    """Run `change` in a child that dies at its `step`-th touch of the disk; False if it ended before that."""
    child = os.fork()
    if child == 0:
        left = step

        def count() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(KILLED)

        def audit(event: str, args: tuple) -> None:
            if event in TOUCHES and str(path) in str(args[0]):
                count()

        def torn(file, data) -> None:
            half = len(data) // 2
            file.write(data[:half])
            file.flush()
            count()
            file.write(data[half:])

        files._write = torn
        os.fsync = lambda _: count()
        sys.addaudithook(audit)
        try:
            change()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            os._exit(3)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def state(path: Path) -> tuple:
    index = EmbeddedIndex.open(path)
    vector = queries(1)[0]
    return (
        index.card.get("name"),
        index.engine,
        tuple(index.metrics.get("thresholds", ())),
        tuple(h.video.id for h in index.top(vector, 9)),
        tuple((v.id, v.rows, round(float(index.curve(vector, v.id)[1].sum()), 4)) for v in index.videos()),
    )


def add(path: Path) -> None:
    fill(path, [made_video("new"), made_video("a", seed=5)])


def remove(path: Path) -> None:
    with EmbeddedWriter.open(path) as writer:
        writer.remove(["a"])
        writer.commit()


def remove_most(path: Path) -> None:
    with EmbeddedWriter.open(path) as writer:
        writer.remove(["a", "b"])
        writer.commit()


def merge(path: Path) -> None:
    writing.SMALL_SEGMENTS = 2
    fill(path, [made_video("new")])


def build_in_pieces(path: Path) -> None:
    import faiss

    faiss.omp_set_num_threads(1)
    writing.SEGMENTS_AT_ONCE, writing.SEGMENT_ROWS = 2, 10
    with EmbeddedWriter.open(path, APPROXIMATE) as writer:
        writer.commit()


def another_model(path: Path) -> None:
    with EmbeddedWriter.open(path) as writer:
        writer.set_model(
            {**CARD, "name": "second"}, concept_codec(), lambda folder: (folder / "x").write_text("x") and ["x"]
        )
        writer.add([made_video("a")])
        writer.commit()


APPROXIMATE = Limits(exact_rows=20, tail_rows=10, retrain_growth=100)


def build_ann(path: Path) -> None:
    import faiss

    faiss.omp_set_num_threads(1)
    fill(path, [made_video("new", 60)], APPROXIMATE)


def add_to_tail(path: Path) -> None:
    fill(path, [made_video("new", 4), made_video("a", seed=5)], replace(APPROXIMATE, tail_rows=100))


def rebuild_ann(path: Path) -> None:
    import faiss

    faiss.omp_set_num_threads(1)
    with EmbeddedWriter.open(path, APPROXIMATE) as writer:
        writer.remove(["b", "large"])
        writer.add([made_video("new", 60)])
        writer.commit()


def drop_ann(path: Path) -> None:
    with EmbeddedWriter.open(path) as writer:
        writer.set_engine("exact")
        writer.commit()


def note(path: Path) -> None:
    with EmbeddedWriter.open(path) as writer:
        writer.set_metric("thresholds", {"video": 1.0})
        writer.commit()


@pytest.mark.parametrize("change", [add, remove, remove_most, merge, another_model, build_ann])
def test_killed_anywhere_the_index_is_as_before_or_as_after(tmp_path: Path, change) -> None:
    fill(tmp_path / "base", [made_video("a", 6), made_video("b", 6)])
    fill(tmp_path / "base", [made_video("c", 6)])
    die_everywhere(tmp_path, change)


@pytest.mark.parametrize("change", [add_to_tail, build_ann, rebuild_ann, drop_ann, another_model, note])
def test_killed_anywhere_with_approximate_search_too(tmp_path: Path, change) -> None:
    fill(tmp_path / "base", [made_video("a", 6), made_video("b", 6), made_video("large", 60)], APPROXIMATE)
    fill(tmp_path / "base", [made_video("c", 6)], APPROXIMATE)
    assert state(tmp_path / "base")[1] == "ivf"
    die_everywhere(tmp_path, change)


def die_everywhere(tmp_path: Path, change) -> None:
    """Let a change of the index at `base` end at each of its steps, and look at what is there then."""
    before = state(tmp_path / "base")
    seen, step, was_killed = {before}, 0, True
    while was_killed:
        path = tmp_path / str(step)
        shutil.copytree(tmp_path / "base", path)
        was_killed = killed_at(step, lambda path=path: change(path), path)
        found = state(path)
        seen.add(found)
        if step % 4 == 0 or not was_killed:
            if found == before:
                assert not killed_at(10**9, lambda path=path: change(path), path), "it can be done again"
                seen.add(state(path))
            fill(path, [])
            left = {p.name for p in path.iterdir() if p.name.startswith(writing.PREFIXES)}
            assert left == {p.directory for p in EmbeddedIndex.open(path).manifest.parts()}, "nothing is left over"
        step += 1
    assert step > 10
    assert len(seen) == 2, "one state before, one after, nothing between"


def of_many_segments(path: Path) -> None:
    """An index of several segments that is still searched exactly."""
    for i in range(5):
        fill(path, [made_video(f"v{i}", 12)])


def test_killed_anywhere_a_build_in_pieces_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SEGMENT_ROWS", 10)
    monkeypatch.setattr(writing, "SEGMENTS_AT_ONCE", 2)
    for i in range(3):
        fill(tmp_path / "base", [made_video(f"v{i}", 12)])
    die_everywhere(tmp_path, build_in_pieces)


def test_what_a_killed_build_had_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SEGMENT_ROWS", 10)
    monkeypatch.setattr(writing, "SEGMENTS_AT_ONCE", 2)
    of_many_segments(tmp_path / "i")
    encode, made = EmbeddedWriter._encode, []

    def until_the_fourth(self: EmbeddedWriter, ann, segment) -> None:
        made.append(segment.path.name)
        if len(made) == 4:
            raise KeyboardInterrupt
        encode(self, ann, segment)

    monkeypatch.setattr(EmbeddedWriter, "_encode", until_the_fourth)
    with pytest.raises(KeyboardInterrupt), EmbeddedWriter.open(tmp_path / "i", APPROXIMATE) as writer:
        writer.commit()
    assert EmbeddedIndex.open(tmp_path / "i").engine == "exact"
    fill(tmp_path / "i", [made_video("more", 12)])  # which changes nothing of what was made
    monkeypatch.setattr(EmbeddedWriter, "_train", lambda *_: pytest.fail("trained again"))
    with EmbeddedWriter.open(tmp_path / "i", APPROXIMATE) as writer:
        writer.commit()
    assert sorted(made[:3] + made[4:]) == sorted({*made}), "each segment once, the broken off one again"
    index = EmbeddedIndex.open(tmp_path / "i")
    assert (index.engine, len(index)) == ("ivf", 72)
    assert not (tmp_path / "i" / "building").exists()
    for vector in queries(5):
        assert {h.score for h in index.top(vector, 5)} == {h.score for h in index.top(vector, 5, exact=True)}


def test_a_damaged_piece_of_a_build_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SEGMENT_ROWS", 10)
    monkeypatch.setattr(writing, "SEGMENTS_AT_ONCE", 2)
    of_many_segments(tmp_path / "i")
    with monkeypatch.context() as broken:
        broken.setattr("cfmr.index.embedded.ivf.merge", lambda *_: pytest.fail("as a kill before the end"))
        with pytest.raises(pytest.fail.Exception), EmbeddedWriter.open(tmp_path / "i", APPROXIMATE) as writer:
            writer.commit()
    pieces = sorted((tmp_path / "i" / "building").glob("segment-*.faiss"))
    content = bytearray(pieces[2].read_bytes())
    content[-1] ^= 1
    pieces[2].write_bytes(content)
    fill(tmp_path / "i", [], APPROXIMATE)
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index.engine == "ivf"
    assert {h.video.id for h in index.top(queries(1)[0], 60)} == {f"v{i}" for i in range(5)}


def test_killed_while_making_the_first_index_leaves_none_or_all(tmp_path: Path) -> None:
    step, was_killed = 0, True
    while was_killed:
        path = tmp_path / str(step)
        was_killed = killed_at(step, lambda path=path: fill(path, [made_video("a")]), path)
        if not (path / "manifest.json").exists():
            with pytest.raises(InputError, match="no index here"):
                EmbeddedIndex.open(path)
            fill(path, [made_video("a")])
        assert names(path) == ["a"]
        step += 1
    assert step > 10
