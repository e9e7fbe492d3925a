"""What every index store has to do, whatever it keeps its rows in. A store's tests subclass `StoreContract`."""

from collections.abc import Sequence

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.index.base import Hit, Index, VideoRows
from cfmr.index.codec import Codec
from cfmr.index.location import IndexLocation
from cfmr.index.open import open_index, open_writer
from tests.support.collections_of_rows import CARD, concept_codec, made_video, queries

MODEL = {**CARD, "fingerprint": "one", "max_words": 10, "name": "first"}


def no_files(folder: object) -> list[str]:
    """A model without a text encoder."""
    return []


class StoreContract:
    """Behaviour of the two protocols of `cfmr.index.base`.

    A subclass has a fixture `location`, a place without an index that nothing else uses.
    """

    tolerance = 1e-5  # of scores

    def write(self, location: IndexLocation, videos: Sequence[VideoRows], remove: Sequence[str] = ()) -> int:
        with open_writer(location) as writer:
            if not writer.card:
                everything = np.concatenate([video.rows for video in videos])
                codec = concept_codec()
                vectors = codec.expand(everything, codec.scales(everything))
                writer.plan_capacity(lambda: len(everything), lambda: vectors)
                writer.set_model(MODEL, codec, no_files)
            writer.set_queries(lambda: queries(10))
            writer.add(videos)
            writer.remove(remove)
            return writer.commit()

    def found(self, hits: Sequence[Hit]) -> list[tuple[str, float, float]]:
        return [(hit.video.id, hit.start, hit.end) for hit in hits]

    def expected(
        self, videos: Sequence[VideoRows], vector: np.ndarray, count: int, codec: Codec | None = None
    ) -> tuple[list[tuple[str, float, float]], list[float]]:
        """The best rows by the vectors that they stand for, written out."""
        codec = codec or concept_codec()
        every = [
            (float(score), (item.video.id, *map(float, span)))
            for item in videos
            for score, span in zip(codec.expand(item.rows, codec.scales(item.rows)) @ vector, item.spans, strict=True)
        ]
        every.sort(key=lambda pair: -pair[0])
        return [span for _, span in every[:count]], [score for score, _ in every[:count]]

    def assert_answers(self, index: Index, among: Sequence[VideoRows], **filters: object) -> None:
        for vector in queries(5):
            hits = index.top(vector, 7, index.select(**filters))  # type: ignore[arg-type]
            spans, scores = self.expected(among, vector, 7)
            assert self.found(hits) == spans
            np.testing.assert_allclose([hit.score for hit in hits], scores, atol=self.tolerance)

    # --- searching ----------------------------------------------------------------------------------------------------

    def test_the_best_rows_are_found_with_their_exact_scores(self, location: IndexLocation) -> None:
        videos = [made_video(f"v{i}") for i in range(12)]
        self.write(location, videos)
        self.assert_answers(open_index(location), videos)

    def test_a_filter_is_inside_the_search(self, location: IndexLocation) -> None:
        videos = [made_video(f"v{i}", metadata={"camera": i % 3, "day": "monday"}) for i in range(12)]
        self.write(location, videos)
        index = open_index(location)
        self.assert_answers(index, videos[2::3], where={"camera": "2"})
        self.assert_answers(index, [videos[4], videos[9]], videos=["v4", "v9", "v4"])
        self.assert_answers(index, [videos[2]], videos=["v2", "v3"], where={"camera": 2})
        selection = index.select(["v4"])
        assert (selection.rows, selection.everything) == (6, False)
        assert index.select().everything

    def test_a_curve_has_all_rows_of_one_video_in_order(self, location: IndexLocation) -> None:
        videos = [made_video("a", 9), made_video("b", 5)]
        self.write(location, videos)
        vector, codec = queries(1)[0], concept_codec()
        spans, scores = open_index(location).curve(vector, "a")
        np.testing.assert_allclose(spans, videos[0].spans)
        truth = codec.expand(videos[0].rows, codec.scales(videos[0].rows)) @ vector
        np.testing.assert_allclose(scores, truth, atol=self.tolerance)

    def test_the_vectors_of_a_video_are_those_that_its_rows_stand_for(self, location: IndexLocation) -> None:
        videos = [made_video("a", 9), made_video("b", 5)]
        self.write(location, videos)
        codec = concept_codec()
        spans, vectors = open_index(location).vectors("b")
        np.testing.assert_allclose(spans, videos[1].spans)
        truth = codec.expand(videos[1].rows, codec.scales(videos[1].rows))
        np.testing.assert_allclose(vectors, truth, atol=self.tolerance)
        with pytest.raises(InputError, match="no video 'c'"):
            open_index(location).vectors("c")

    def test_what_is_known_of_a_video_comes_back(self, location: IndexLocation) -> None:
        videos = [made_video("b", 4, metadata={"camera": 2, "clear": True}), made_video("a", 3)]
        self.write(location, videos)
        index = open_index(location)
        assert [video.id for video in index.videos()] == ["b", "a"], "in the order in which they were added"
        assert len(index) == 7
        video = index.video("b")
        assert (video.duration, video.rows, dict(video.metadata)) == (5.0, 4, {"camera": 2, "clear": True})
        assert index.card["name"] == "first"

    def test_what_is_not_there_is_named(self, location: IndexLocation) -> None:
        self.write(location, [made_video("kitchen", metadata={"camera": 1})])
        index = open_index(location)
        with pytest.raises(InputError, match=r"no video 'kitchn' .* did you mean 'kitchen'"):
            index.select(["kitchn"])
        with pytest.raises(InputError, match=r"no video has camera=2; keys it knows: camera"):
            index.select(where={"camera": 2})

    # --- writing ------------------------------------------------------------------------------------------------------

    def test_videos_are_added_replaced_and_removed(self, location: IndexLocation) -> None:
        first = self.write(location, [made_video(name) for name in "abc"])
        index = open_index(location)
        assert not index.changed()
        newer = made_video("a", rows=9, seed=7)
        assert self.write(location, [newer, made_video("d")], remove=["b"]) > first
        assert index.changed()
        index = open_index(location)
        assert sorted(video.id for video in index.videos()) == ["a", "c", "d"]
        assert len(index) == 9 + 6 + 6
        self.assert_answers(index, [newer, made_video("c"), made_video("d")])

    def test_a_writer_tells_what_the_index_will_hold(self, location: IndexLocation) -> None:
        self.write(location, [made_video("a"), made_video("b")])
        with open_writer(location) as writer:
            assert writer.card["name"] == "first"
            writer.add([made_video("c"), made_video("a", rows=9)])
            writer.remove(["b"])
            assert writer.videos.keys() == {"a", "c"}
            assert writer.rows == 15
            writer.commit()

    def test_another_model_starts_anew_when_it_is_committed(self, location: IndexLocation) -> None:
        self.write(location, [made_video("a"), made_video("b")])
        with open_writer(location) as writer:
            writer.plan_capacity(lambda: 6, lambda: queries(6))
            writer.set_model({**MODEL, "fingerprint": "two", "name": "second"}, concept_codec(), no_files)
            writer.add([made_video("c")])
            assert len(open_index(location)) == 12, "until then the old one is searched"
            writer.commit()
        index = open_index(location)
        assert index.card["name"] == "second"
        assert [video.id for video in index.videos()] == ["c"]

    def test_files_of_the_text_encoder_come_along(self, location: IndexLocation) -> None:
        with open_writer(location) as writer:
            writer.plan_capacity(lambda: 6, lambda: queries(6))
            writer.set_model(MODEL, concept_codec(), lambda folder: [(folder / "x").write_bytes(b"x") and "x"])
            writer.add([made_video("a")])
            writer.commit()
        assert (open_index(location).model_path / "x").read_bytes() == b"x"

    def test_what_was_measured_is_kept(self, location: IndexLocation) -> None:
        self.write(location, [made_video("a")])
        with open_writer(location) as writer:
            writer.set_metric("thresholds", {"video": 1.5})
            writer.commit(tidy=False)
        self.write(location, [made_video("b")])
        assert open_index(location).metrics["thresholds"] == {"video": 1.5}

    def test_rows_that_do_not_fit_are_refused(self, location: IndexLocation) -> None:
        self.write(location, [made_video("a")])
        broken, wide = made_video("broken"), made_video("wide")
        broken.rows[2, 2] = np.nan
        wide = VideoRows(wide.video, np.ones((6, 5), np.float32), wide.spans)
        with open_writer(location) as writer:
            with pytest.raises(InputError, match=r"'broken'.*not finite"):
                writer.add([broken])
            with pytest.raises(InputError, match=r"'wide': rows \(6, 5\), the index takes \(n, 8\)"):
                writer.add([wide])
            with pytest.raises(InputError, match="no video 'b' in this index, so it cannot be removed"):
                writer.remove(["b"])

    def test_an_engine_that_there_is_not_is_refused(self, location: IndexLocation) -> None:
        with open_writer(location) as writer, pytest.raises(InputError, match="--engine magic"):
            writer.set_engine("magic")

    def test_where_there_is_no_index_one_line_says_so(self, location: IndexLocation) -> None:
        with pytest.raises(InputError, match=r"no index here.*build one with: cfmr index --out"):
            open_index(location)
        with pytest.raises(InputError, match="no index here"), open_writer(location, create=False):
            pass
