"""A page of one's own, in the site that `cfmr serve` shows: how often each word stands in the labels.

python examples/page.py my-videos
"""

import sys
from collections import Counter
from html import escape
from pathlib import Path

import uvicorn
from fastapi import APIRouter
from starlette.responses import HTMLResponse

from cfmr.data.vocabulary import tokenize
from cfmr.server.app import create_app, open_state
from cfmr.server.context import AppState
from cfmr.server.settings import resolve_settings


def words_page(state: AppState) -> APIRouter:
    """`/words`. What people wrote is escaped: nothing is written into a page as markup."""
    router = APIRouter()

    @router.get("/words", response_class=HTMLResponse)
    def words() -> str:
        counts = Counter(word for label in state.labels.all() for word in tokenize(label.annotation.sentence))
        rows = "".join(f"<tr><td>{escape(word)}<td>{count}" for word, count in counts.most_common(100))
        return f"<!doctype html><html lang=en><title>Words</title><table>{rows}</table>"

    return router


if __name__ == "__main__":
    opened = open_state(resolve_settings(None, Path(sys.argv[1])))
    app = create_app(opened)
    app.include_router(words_page(opened))
    uvicorn.run(app, port=8000)
