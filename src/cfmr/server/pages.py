"""The pages: one shell around the content of each, made once and answered "not modified" while it stays.

Their texts are in `static/lib/texts.js`, those of the HTML files too.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"
FRESH = {"cache-control": "no-cache"}  # asked for again each time
EVERYWHERE = ("tokens", "base", "layout")  # styles


@dataclass(frozen=True, slots=True)
class Page:
    """A page: `static/NAME.html` in the shell, with `static/pages/NAME.js`.

    Attributes:
        path: of its address.
        styles: names of its files in `static/css`, beside those of every page.
        header: whether it has the navigation.
    """

    path: str
    name: str
    styles: tuple[str, ...] = ()
    header: bool = True

    def render(self) -> bytes:
        """The whole document."""
        header = (STATIC / "header.html").read_text("utf-8") if self.header else ""
        here = f'<a href="{self.path}">'
        styles = (f'<link rel="stylesheet" href="/static/css/{name}.css">' for name in (*EVERYWHERE, *self.styles))
        shell = Template((STATIC / "shell.html").read_text("utf-8"))
        document = shell.safe_substitute(
            title=f"${{{self.name}.title}}",
            name=self.name,
            icon=_icon(),
            styles="\n".join(styles),
            header=header.replace(here, f'<a href="{self.path}" aria-current="page">'),
            main=(STATIC / f"{self.name}.html").read_text("utf-8"),
        )
        return _Filled(document).substitute(_texts()).encode()


class _Filled(Template):
    """What HTML files have for their texts: `${page.name}`."""

    braceidpattern = r"[a-z]+(?:-[a-z]+)*\.[a-z]+(?:-[a-z]+)*"


@cache
def _texts() -> dict[str, str]:
    """The texts of all pages, ready to stand in HTML, from the one file of texts."""
    block = (STATIC / "lib" / "texts.js").read_text("utf-8").partition("export const pages = {")[2].partition("\n};")[0]
    strings = (json.loads(one) for one in re.findall(r'"(?:[^"\\]|\\.)*"', block))
    return {name: html.escape(said).replace("\n", "&#10;") for name, said in zip(strings, strings, strict=True)}


def _icon() -> str:
    """The icon inside the page: browsers ask for one with an address again with every change of the page's own."""
    return "data:image/svg+xml;base64," + base64.b64encode((STATIC / "icon.svg").read_bytes()).decode()


PAGES = (
    Page("/", "search", ("player", "search")),
    Page("/library", "library", ("library",)),
    Page("/script", "script", ("library",)),
    Page("/label", "label", ("player", "label")),
    Page("/learn", "learn", ("job", "learn")),
    Page("/add", "add", ("job", "add")),
    Page("/docs", "docs", ("docs",)),
    Page("/sign-in", "sign-in", header=False),
)


class Static(StaticFiles):
    """Scripts, styles and pictures."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """A file that browsers ask for again each time."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(FRESH)
        return response


def page_routes() -> APIRouter:
    """Every page at its path."""
    router = APIRouter(include_in_schema=False)
    for page in PAGES:
        router.add_api_route(page.path, _answer(page.render()), methods=["GET"], response_class=Response)

    @router.get("/favicon.ico")
    def icon() -> Response:
        return RedirectResponse("/static/icon.svg")

    return router


def _answer(document: bytes) -> Callable[[Request], Awaitable[Response]]:
    tag = f'"{hashlib.sha256(document).hexdigest()[:32]}"'
    headers = FRESH | {"etag": tag}

    async def page(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(document, media_type="text/html", headers=headers)

    return page
