"""What the guides show works: a model, an extractor, a page; the index store has the suite of all stores."""

from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from cfmr.data.annotations import Annotation
from cfmr.errors import InputError
from cfmr.extractors import EXTRACTORS, Extractor, get_extractor
from cfmr.models.base import Model
from cfmr.models.encode import rank_moments
from cfmr.server.app import create_app, open_state
from cfmr.server.settings import resolve_settings
from examples.extractor import Colours
from examples.model import Mean
from examples.page import words_page
from tests.server.sites import render


def test_the_extractor_sees_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRACTORS, "colours", "examples.extractor:Colours")
    extractor: Extractor = get_extractor("colours")
    found = extractor.extract(render(tmp_path / "red.mp4", (255, 0, 0), seconds=4))
    assert found.features.shape == (8, 3)
    assert (found.features[:, 0] > found.features[:, 1]).all()
    assert found.damage is None


def test_the_extractor_names_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "note.mp4").write_text("no film")
    with pytest.raises(InputError, match=r"note\.mp4"):
        Colours().extract(tmp_path / "note.mp4")


def test_the_model_finds_where_a_word_was_clicked() -> None:
    rng = np.random.default_rng(0)
    words, look = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(4, 10)).astype(np.float32)
    shown = rng.integers(0, 4, 200)
    model: Model = Mean.fit(look[shown] + 0.1 * rng.normal(size=(200, 10)).astype(np.float32), words[shown])
    film = look[[0] * 8 + [2] * 8 + [1] * 8]
    vectors, spans = model.video_vectors(film, 24.0)
    query = model.text_vectors(words[None, [2]], np.array([1]))[0]
    best, _ = rank_moments(model.readout, vectors @ query, spans, 24.0)
    assert best[0] * 24 == pytest.approx([8, 16], abs=2)


def test_the_page_counts_words_and_escapes_them(tmp_path: Path) -> None:
    render(tmp_path / "red.mp4", seconds=2)
    state = open_state(resolve_settings(None, tmp_path))
    state.labels.add(Annotation("red", 2.0, "a <b>square</b> moves", 1.0, None), "me")
    app = create_app(state)
    app.include_router(words_page(state))
    with TestClient(app, base_url="http://localhost") as client:
        text = client.get("/words").text
    assert "<td>square<td>1" in text
    assert "<b>" not in text
