"""A real server over a really trained (tiny) model, and Debian's Chromium before it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .site import Server, make_world

if not os.environ.get("CFMR_E2E"):  # `make test-e2e` sets it; `make test` does without a browser
    collect_ignore_glob = ["test_*.py"]
else:
    from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

    expect.set_options(timeout=30_000)  # what comes, comes; how fast it is, is benchmarks/serve_load.py's question

CHROMIUM = os.environ.get("CFMR_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, features, a checkpoint and an index, to be copied."""
    root = tmp_path_factory.mktemp("made")
    make_world(root)
    return root


@pytest.fixture(scope="session")
def new_server(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers, each over a copy of the world."""
    started: list[Server] = []

    def start(*options: str, world: Path | None = None) -> Server:
        if world is None:
            world = tmp_path_factory.mktemp("site") / "world"
            shutil.copytree(made, world)
        started.append(Server(world, *options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(new_server: Callable[..., Server]) -> Server:
    """One that most tests share."""
    return new_server()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no {CHROMIUM}; set CFMR_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: "Browser", server: Server) -> "Iterator[BrowserContext]":
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context: "BrowserContext") -> "Iterator[Page]":
    """A page that fails the test if a script throws or another host is asked."""
    page = context.new_page()
    page.set_default_timeout(15_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda request: None if _is_ours(request.url) else errors.append(f"asked {request.url}"))
    yield page
    assert errors == []


def _is_ours(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:", "data:"))
