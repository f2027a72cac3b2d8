"""What stands before every request: an id for the logs, a limit on its size, a line when it is done."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from transferflow.logs import get_logger
from transferflow.serving.metrics import ServerMetrics

logger = get_logger("serving")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
"""As the ASGI specification has them."""
HEADER = b"x-request-id"
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PATHS = ("/", "/predict", "/explain", "/healthz", "/readyz", "/metrics")


class TooLargeRequestError(Exception):
    """A request holds more bytes than it may."""


class RequestGuard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        max_bytes: Most bytes of a request's body.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, metrics: ServerMetrics) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(HEADER, b"")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex.encode()
        status, left = 500, self._max_bytes

        async def counted() -> Message:
            message = await receive()
            nonlocal left
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooLargeRequestError
            return message

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, request_id)]
            await send(message)

        declared = headers.get(b"content-length", b"0")
        try:
            if declared.isdigit() and int(declared) > self._max_bytes:
                raise TooLargeRequestError
            await self._app(scope, counted, named)
        except TooLargeRequestError:
            await _refuse(named, self._max_bytes)
        finally:
            self._note(scope, request_id, status, time.perf_counter() - started)

    def _note(self, scope: Scope, request_id: bytes, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in _PATHS else "other"  # no label for every path that is tried
        self._metrics.request(scope["method"], path, status, seconds)
        logger.info(
            "serve: %s %s %s %d %.1f ms",
            request_id.decode(),
            scope["method"],
            path,
            status,
            1000 * seconds,
        )


async def _refuse(send: Send, max_bytes: int) -> None:
    body = f'{{"error": "the request is larger than {max_bytes} bytes"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
