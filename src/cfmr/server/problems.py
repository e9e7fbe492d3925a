"""Errors as RFC 9457 problem documents."""

import http
import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cfmr.errors import NO_ROOM, DiskFullError, InputError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
LONGEST_DETAIL = 500
_FULL = ("database or disk is full", "No space left on device")  # of SQLite and PostgreSQL


class Problem(HTTPException):
    """Raised anywhere while a request is answered; becomes the answer.

    Args:
        detail: one line that says what was wrong and what to do.
        more: further members of the document.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.more = more

    def response(self) -> Response:
        """The document as a response."""
        return problem_response(self.status_code, self.detail, self.headers, **self.more)


def problem_response(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A problem document. It is ASCII, so that whatever a client sent can be quoted in it."""
    if len(detail) > LONGEST_DETAIL:
        detail = detail[: LONGEST_DETAIL - 1] + "…"
    document = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(document | more), status, dict(headers or {}), MEDIA_TYPE)


def _of_validation(error: RequestValidationError) -> Response:
    """What was sent is not quoted: it may be a megabyte, or not even text."""
    places = []
    for one in error.errors()[:20]:
        where = ".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0])
        places.append({"where": where[:100], "detail": one["msg"][:200]})
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem_response(422, "the body is not JSON", errors=places)
    if first["loc"] == ("body",) and first["type"] == "list_type":
        return problem_response(422, "the body must be a JSON list", errors=places)
    return problem_response(422, f"{places[0]['where']}: {places[0]['detail']}", errors=places)


def install(app: FastAPI) -> None:
    """Let every error of an application leave as a problem document."""

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> Response:
        if isinstance(error, Problem):
            return error.response()
        return problem_response(error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> Response:
        return _of_validation(error)

    @app.exception_handler(InputError)
    async def _input(_: Request, error: InputError) -> Response:
        return problem_response(422, str(error))

    @app.exception_handler(DiskFullError)
    async def _full(_: Request, error: DiskFullError) -> Response:
        return problem_response(507, str(error))

    @app.exception_handler(OSError)
    async def _system(_: Request, error: OSError) -> Response:
        log.error("a file could not be read or written: %s", error)
        status = 507 if error.errno in NO_ROOM else 500
        said = "the server's disk is full" if status == 507 else "the server cannot read or write one of its files"
        return problem_response(status, f"{said} ({error.strerror or 'unknown error'})")

    @app.exception_handler(OperationalError)
    async def _database(_: Request, error: OperationalError) -> Response:
        log.error("the label database does not answer: %s", error)
        if any(said in str(error) for said in _FULL):
            return problem_response(507, "nothing could be kept: the disk of the label database is full")
        return problem_response(503, "the label database does not answer; try again", {"Retry-After": "2"})

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, error: Exception) -> Response:
        return problem_response(500, "something went wrong here; the server's log says what")
