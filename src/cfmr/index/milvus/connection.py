"""Talking to a Milvus server: each call is tried for a bounded time, then ends in one clear line."""

import logging
import os
import time
from typing import Any

from cfmr.errors import InputError
from cfmr.index.milvus.address import MilvusAddress

PATIENCE = 10.0  # seconds for which a call is repeated while the server is away or starting
TOKEN = "CFMR_MILVUS_TOKEN"  # the variable's name; "user:password" or an API key
_MISSING = 100  # the server's code for a collection that it does not have
_HOPELESS = {_MISSING, 1100, 1400, 1401, 1402}  # also: invalid parameters, not signed in, no permission


class MissingCollectionError(Exception):
    """The server has no collection of that name."""


class Connection:
    """A server, and how long it is waited for.

    Raises:
        InputError: the client library is missing, or nobody answers.
    """

    def __init__(self, address: MilvusAddress, patience: float | None = None) -> None:
        try:
            import pymilvus
        except ImportError as error:
            raise InputError(f"{address}: needs pymilvus; pip install 'cfmr[milvus]'") from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it reports is raised as well
        self.address = address
        self.library: Any = pymilvus
        self._client: Any = None
        self.patience = PATIENCE if patience is None else patience
        self.version: str = self.call("get_server_version")

    def _connected(self, timeout: float) -> Any:
        if self._client is None:
            self._client = self.library.MilvusClient(
                uri=self.address.uri,
                db_name=self.address.database or "default",
                token=os.environ.get(TOKEN, ""),
                timeout=timeout,
                grpc_options={"grpc.max_reconnect_backoff_ms": 1000, "grpc.max_receive_message_length": -1},
            )
        return self._client

    def call(self, method: str, *arguments: Any, slow: bool = False, again: str = "", **options: Any) -> Any:
        """Call a method of the client library, again and again for `patience` seconds if the server is away.

        Args:
            slow: it may take any time, as long as the server is there.
            again: the method for a second try, where the first may have been carried out though no answer came.

        Raises:
            MissingCollectionError: a collection that the call names is not there.
            InputError: it could not be done; names the address.
        """
        import grpc

        end: float | None = None
        pause = 0.05
        while True:
            began = time.monotonic()
            left = self.patience if end is None else max(end - began, 0.5)
            # without a time the library's own retries can be turned off
            options |= {"timeout": None, "retry_times": 0} if slow else {"timeout": left}
            try:
                return getattr(self._connected(left), method)(*arguments, **options)
            except (self.library.MilvusException, grpc.RpcError) as error:
                if self.is_missing(error):
                    raise MissingCollectionError(str(error)) from error
                end = end or (time.monotonic() if slow else began) + self.patience
                if getattr(error, "code", None) in _HOPELESS or time.monotonic() >= end:
                    raise self.failure(error) from error
            method = again or method
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def is_missing(self, error: BaseException) -> bool:
        """Whether an error of the client library says that there is no such collection."""
        text = str(error).lower()
        known = getattr(error, "code", None) == _MISSING
        return known or "can't find collection" in text or "collection not found" in text

    def failure(self, error: BaseException) -> InputError:
        """What went wrong, in a line."""
        told = " ".join(str(getattr(error, "message", None) or error).split())[:200]
        code = getattr(error, "code", None)
        if code in (1400, 1401, 1402) or "auth" in told.lower():
            return InputError(f"{self.address}: the server does not let us in ({told}); set {TOKEN}=user:password")
        away = (
            code == 2 or "UNAVAILABLE" in str(code) or "DEADLINE" in str(code) or "nnect" in told or "UNAVAIL" in told
        )
        if away:
            return InputError(
                f"{self.address}: no Milvus server answers at {self.address.host}:{self.address.port} "
                f"(tried for {self.patience:.0f} s); is it running, and reachable from here?"
            )
        return InputError(f"{self.address}: the Milvus server cannot do that ({told})")
