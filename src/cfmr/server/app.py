"""The application: everything put together, the pages, and running it."""

import contextlib
import errno
import functools
import gc
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from cfmr.errors import InputError
from cfmr.files.atomic import sweep
from cfmr.files.processes import interrupt_blocked
from cfmr.server.api import checkpoints, handover, jobs, labels, models, questions, search, videos
from cfmr.server.context import AppState, ProblemDocument, State
from cfmr.server.pages import Static, page_routes
from cfmr.server.problems import MEDIA_TYPE, Problem, install
from cfmr.server.security import Guard, TimeoutProtocol, over_https, same_secret, set_session
from cfmr.server.settings import Settings
from cfmr.server.stores.ground_truth import GroundTruth
from cfmr.server.stores.jobs import Jobs
from cfmr.server.stores.label_import import LabelImports
from cfmr.server.stores.labels import LabelStore
from cfmr.server.stores.media import Media
from cfmr.server.stores.models import Load, ModelRegistry, load_retriever
from cfmr.server.stores.videos import ARRIVING, Library, sweep_uploads
from cfmr.server.work import HANDLERS
from cfmr.server.work.watch import FolderWatch

HEALTHY = 60  # seconds after which a worker that does not answer is replaced; on a busy machine starting takes some


def open_state(settings: Settings, load: Load = load_retriever) -> AppState:
    """Open everything a server needs.

    Raises:
        InputError: the index is damaged, the database cannot be reached, or the workspace cannot be written.
    """
    sweep_uploads(settings.workspace / ARRIVING)
    sweep(settings.videos)
    return AppState(
        settings=settings,
        library=Library(settings.videos),
        models=ModelRegistry(settings, load),
        media=Media(settings.workspace / "cache"),
        labels=LabelStore(settings.database_url),
        imports=LabelImports(settings.database_url),
        jobs=Jobs(settings.workspace / "jobs"),
        ground_truth=GroundTruth(settings.annotations),
    )


def create_app(state: AppState) -> FastAPI:
    """The ASGI application over an open state, which it closes when it ends."""

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        state.jobs.begin()
        threading.Thread(target=_warm_up, args=(state,), name="warm-up", daemon=True).start()
        watch = FolderWatch(state) if state.settings.place.own else None
        if watch is not None:
            watch.begin()
        yield
        if watch is not None:
            watch.close()
        state.short.shutdown(wait=False, cancel_futures=True)
        state.jobs.close()
        state.media.close()
        state.imports.close()
        state.labels.close()

    app = FastAPI(
        title="cfmr",
        version=version("cfmr"),
        summary="Search inside video by sentence.",
        description="Errors are problem documents (RFC 9457).",
        lifespan=life,
        docs_url=None,  # FastAPI's page loads its scripts from elsewhere
        redoc_url=None,
    )
    install(app)
    app.state.cfmr = state
    for kind, handler in HANDLERS.items():
        state.jobs.handlers[kind] = functools.partial(handler, state)
    for api in (search, handover, labels, questions, videos, jobs, models, checkpoints):
        app.include_router(api.router, prefix="/api")
    app.include_router(session)
    app.include_router(page_routes())
    app.mount("/static", Static())
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    app.add_middleware(Guard, token=state.settings.token, max_upload=state.settings.max_upload)
    return app


def _warm_up(state: AppState) -> None:
    """Read what lists and searches look at, so that the first person who comes need not wait for it."""
    with contextlib.suppress(InputError, SQLAlchemyError):  # said to whoever asks for it
        state.listing()
        state.labels.present().said_alike("a person")


def _described(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with errors as they are: problem documents, whatever the status."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
        )
        schemas = found["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
        problem = {"default": {"description": "what went wrong", "content": content}}
        for methods in found["paths"].values():
            for operation in methods.values():
                operation["responses"] = {k: v for k, v in operation["responses"].items() if k[0] == "2"} | problem
        app.openapi_schema = found
    return app.openapi_schema


session = APIRouter(include_in_schema=False)


@session.post("/api/session")
def sign_in(
    request: Request, given: Annotated[str, Body(embed=True, alias="token", max_length=1000)], state: State
) -> Response:
    """Sign a browser in that sends the token."""
    token = state.settings.token
    if token is None or not same_secret(given, token):
        raise Problem(401, "that is not the token of this server")
    return set_session(Response(status_code=204), token, secure=over_https(request.url.scheme, request.headers))


def serve(settings: Settings, *, browser: bool = False) -> None:
    """Serve until stopped.

    Args:
        browser: open the page in the browser.

    Raises:
        InputError: something cannot be opened, or the port is taken.
    """
    listening = _listen(settings.host, settings.port, settings.workers)
    state = open_state(settings)  # also where workers open their own: what is wrong is said once, and here
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{listening[0].getsockname()[1]}"
    print(f"cfmr: {url}  (Ctrl+C ends it)", flush=True)  # noqa: T201
    if browser:
        open_browser(url)
    if settings.workers == 1:
        app = create_app(state)
        _settle()
        uvicorn.Server(_config(app)).run(sockets=listening)
    else:
        state.labels.close()
        del state
        _Supervisor(_config(_Application(settings), settings.workers), listening).run()


def open_browser(url: str) -> None:
    """Open an address in the browser of the desktop, if there is one; a browser in the terminal would be in the way.

    The socket listens already, so the browser waits until the application answers.
    """
    desktop = sys.platform in ("darwin", "win32") or any(
        name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if desktop:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


class _Supervisor(Multiprocess):
    """Ends its workers when it is interrupted; they start with Ctrl-C blocked.

    A terminal sends it to all processes, and a worker that is still importing would answer with a traceback.
    """

    def init_processes(self) -> None:
        """Each worker has a socket of its own; one that takes the place of another listens at all of them."""
        with interrupt_blocked():
            if len(self.sockets) < self.processes_num:
                super().init_processes()
                return
            for own in self.sockets:
                process = Process(self.config, [own])
                process.start()
                self.processes.append(process)

    def keep_subprocess_alive(self) -> None:
        with interrupt_blocked():
            super().keep_subprocess_alive()


@dataclass(frozen=True, slots=True)
class _Application:
    """Makes the application in a worker. The index is mapped into memory, so workers have one copy of it."""

    settings: Settings

    def __call__(self) -> FastAPI:
        app = create_app(open_state(self.settings))
        _settle()
        return app


def _settle() -> None:
    """Let the collector of garbage leave alone what is there now and stays: it would look at all of it in a search."""
    gc.collect()
    gc.freeze()


def _config(app: FastAPI | _Application, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, _Application),
        workers=workers,
        http=TimeoutProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_worker_healthcheck=HEALTHY,
    )


def _listen(host: str, port: int, workers: int = 1) -> list[socket.socket]:
    """Sockets that listen: one, or where the system shares connections out among several, one for each worker.

    From a common one whoever is awake first takes all that come in one burst.
    """
    shared = workers > 1 and sys.platform == "linux"
    try:
        found = [_bound(host, port)]
        if shared:  # and nobody else has the port, which could be shared with another server, too
            with found.pop() as alone:
                port = alone.getsockname()[1]
            found = [_bound(host, port, shared=True) for _ in range(workers)]
        for listening in found:
            listening.listen(1024)
        return found
    except OSError as error:
        taken = "; choose another --port, or 0 for a free one" if error.errno == errno.EADDRINUSE else ""
        raise InputError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}){taken}"
        ) from error


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(address)
    bound.set_inheritable(False)
    return bound
