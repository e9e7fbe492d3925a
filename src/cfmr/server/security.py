"""What stands before every request: who may ask, how much, how slowly, and what a browser may do with the answer."""

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from cfmr.files.reading import natural
from cfmr.server.problems import Problem

COOKIE = "cfmr-session"
JSON_LIMIT = 1 << 20
IMPORT_LIMIT = 32 << 20
PIECE_PATIENCE = 30.0  # seconds for the next piece of a body
BODY_PATIENCE = 60.0  # seconds for the whole of a small body
HEADER_PATIENCE = 15.0  # seconds from a connection to its first whole request
GUESSES = 20  # wrong tokens from one address, after which none is looked at
GUESS_WINDOW = 60.0  # seconds after which they are forgotten
MAX_ADDRESSES = 10_000  # that are remembered
SIGN_IN = "/sign-in"
SESSION = "/api/session"
UPLOAD = "/api/videos"
IMPORT = "/api/labels/import"

POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_POLICY = [(name.encode(), value.encode()) for name, value in {**POLICY, "cache-control": "no-store"}.items()]


def is_loopback(host: str) -> bool:
    """Whether a host name or address stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def session_of(token: str) -> str:
    """What a signed-in browser keeps instead of the token."""
    return hmac.new(token.encode(), b"cfmr page", hashlib.sha256).hexdigest()


def set_session(response: Response, token: str, *, secure: bool) -> Response:
    """Sign the browser in that gets this response; if `secure`, it sends the cookie over HTTPS only."""
    month = 30 * 24 * 3600
    kept = {"max_age": month, "httponly": True, "samesite": "strict", "path": "/"}
    response.set_cookie(COOKIE, session_of(token), secure=secure, **kept)  # type: ignore[arg-type]
    return response


def over_https(scheme: str, headers: Headers) -> bool:
    """Whether the browser speaks HTTPS, to this server or to a proxy before it.

    Anyone can send the header; who does so only keeps their own cookie from being sent in the clear.
    """
    return "https" in (scheme, headers.get("x-forwarded-proto", "").split(",")[0].strip().lower())


class GuessLimit:
    """How many wrong tokens came from each address lately. Behind a proxy on this machine it is the client's own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, tuple[int, float]] = {}  # how many, and when they are forgotten

    def check(self, address: str) -> None:
        """Raise Problem if there were too many from an address."""
        count, until = self._wrong.get(address, (0, 0.0))
        left = until - self._clock()
        if count >= GUESSES and left > 0:
            wait = {"Retry-After": str(int(left) + 1)}
            raise Problem(429, f"too many wrong tokens; try again in {int(left) + 1} seconds", wait)

    def wrong(self, address: str) -> None:
        """Count a wrong token."""
        now = self._clock()
        if len(self._wrong) >= MAX_ADDRESSES:
            self._wrong = {key: kept for key, kept in self._wrong.items() if kept[1] > now}
        if len(self._wrong) >= MAX_ADDRESSES and address not in self._wrong:
            self._wrong.clear()
        count, until = self._wrong.get(address, (0, 0.0))
        count = count if until > now else 0
        self._wrong[address] = (count + 1, now + GUESS_WINDOW)


def same_secret(given: str, expected: str) -> bool:
    """Comparison that takes equally long wherever the two differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


@dataclass(frozen=True, slots=True)
class Guard:
    """ASGI middleware.

    - Host: without a token only names of this machine are answered, so that no foreign name can be pointed at it.
    - Origin and Sec-Fetch-Site: pages of other sites can link here, but neither read nor change anything.
    - Token, where one is set: as a bearer token, or as a cookie after signing in.
    - Size and patience: bodies end at a limit, and slow clients are disconnected.

    Args:
        app: what is guarded.
        token: needed for everything but signing in; None where the server is reached from this machine only.
        max_upload: bytes of an uploaded video.
    """

    app: ASGIApp
    token: str | None
    max_upload: int
    guesses: GuessLimit = field(default_factory=GuessLimit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        send = _with_policy(send)
        try:
            self._check_site(scope, headers)
            answer = self._check_token(scope, headers)
            if scope["path"] == SESSION and self.token is not None:
                self.guesses.check(_address(scope))
                send = self._counting(send, _address(scope))
            limit = self._limit(scope)
            if _length(headers) > limit:
                raise _too_large(limit)
        except Problem as problem:
            answer = problem.response()
        if answer is not None:
            await answer(scope, receive, send)
        else:
            await self.app(scope, _bounded(receive, limit, scope["path"] == UPLOAD), send)

    def _check_site(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if not name or (self.token is None and not is_loopback(name)):
            raise Problem(421, "this server does not answer to that host name; open it as http://127.0.0.1")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and _host_of(origin) != host.lower():
            raise Problem(403, "pages of another site may not use this server")
        reads_page = scope["method"] in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not (reads_page and not scope["path"].startswith("/api")):
            raise Problem(403, "pages of another site may not use this server")

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        """None if the request may pass; the way to the sign-in page for a browser that is not signed in."""
        path = scope["path"]
        if self.token is None or path in (SIGN_IN, SESSION) or path.startswith("/static/"):
            return None
        signed_in = same_secret(_cookie(headers), session_of(self.token))
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token")
        is_page = scope["method"] == "GET" and not path.startswith(("/api", "/openapi"))
        if given is not None and is_page and (signed_in or self._is_token(given, scope)):
            rest = urlencode([(key, value) for key, value in query if key != "token"])
            there = RedirectResponse(_local(path) + (f"?{rest}" if rest else ""), 303)
            return set_session(there, self.token, secure=over_https(scope["scheme"], headers))
        if signed_in:
            return None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer.strip(), scope):
            return None
        if is_page:
            back = _local(path) + (f"?{urlencode(query)}" if query else "")
            return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': back})}", 303)
        raise Problem(401, "a token is needed: send it as 'Authorization: Bearer ...'", {"WWW-Authenticate": "Bearer"})

    def _is_token(self, given: str, scope: Scope) -> bool:
        """Whether it is the token. Raises Problem if too many wrong ones came from there."""
        assert self.token is not None
        self.guesses.check(_address(scope))
        right = same_secret(given, self.token)
        if not right:
            self.guesses.wrong(_address(scope))
        return right

    def _counting(self, send: Send, address: str) -> Send:
        """Count an answer that says that the token was wrong."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self.guesses.wrong(address)
            await send(message)

        return counted

    def _limit(self, scope: Scope) -> int:
        if scope["method"] == "POST" and scope["path"] == UPLOAD:
            return self.max_upload
        return IMPORT_LIMIT if scope["path"] == IMPORT else JSON_LIMIT


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _host_of(origin: str) -> str:
    """Host and port of an origin, in small letters; empty for "null" and for nonsense."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _local(path: str) -> str:
    """A path as the target of a redirect; `//host` would lead elsewhere."""
    return quote("/" + path.lstrip("/\\"))


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _length(headers: Headers) -> int:
    return natural(headers.get("content-length")) or 0


def _too_large(limit: int) -> Problem:
    size = f"{limit >> 20:,} MB" if limit >= 1 << 20 else f"{limit:,} bytes"
    return Problem(413, f"that is larger than the {size} that are taken here", {"Connection": "close"})


def _bounded(receive: Receive, limit: int, large: bool) -> Receive:
    """Receive that ends bodies which grow beyond `limit` or come too slowly."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BODY_PATIENCE
    received, complete = 0, False

    async def next_piece() -> Message:
        nonlocal received, complete
        if complete:
            return await receive()  # waits for the client to go
        patience = PIECE_PATIENCE if large else min(PIECE_PATIENCE, max(deadline - loop.time(), 0.001))
        try:
            message = await asyncio.wait_for(receive(), patience)
        except TimeoutError:
            raise Problem(408, "the rest of the request did not come", {"Connection": "close"}) from None
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if received > limit:
            raise _too_large(limit)
        return message

    return next_piece


def _with_policy(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            message = {**message, "headers": [*given, *(pair for pair in _POLICY if pair[0] not in names)]}
        await send(message)

    return with_headers


class TimeoutProtocol(H11Protocol):
    """HTTP/1.1 with a timeout on every request head, the first and later ones."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._await_head()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif self._waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._waiting = self.loop.call_later(HEADER_PATIENCE, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def token_weakness(token: str) -> str | None:
    """Why a token is too weak, if it is."""
    return "make the token at least 16 characters long" if len(token) < 16 else None
