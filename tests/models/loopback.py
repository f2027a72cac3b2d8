"""A small file server on the loopback interface that can cut, stall and refuse."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Loopback:
    """What the server hands out and how it misbehaves.

    Attributes:
        files: Content by path.
        cut_after: Bytes after which the next connections are cut, one entry each.
        statuses: Status codes that the next requests get instead.
        pause: Seconds between two pieces.
        piece: Bytes in a piece.
        ranges: Whether `Range` is honoured.
        shift: Bytes by which an answer to `Range` begins too late.
        asked: (method, path, Range header) of every request.
        authorizations: `Authorization` header of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    pause: float = 0.0
    piece: int = 1 << 16
    ranges: bool = True
    shift: int = 0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    url: str = ""


def start(state: Loopback) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(send=False)

        def do_GET(self) -> None:
            self._answer(send=True)

        def _answer(self, send: bool) -> None:
            path, wanted = self.path.partition("?")[0], self.headers.get("Range")
            state.asked.append((self.command, path, wanted))
            state.authorizations.append(self.headers.get("Authorization"))
            content = state.files.get(path)
            status = state.statuses.pop(0) if state.statuses else (200 if content is not None else 404)
            if status >= 400 or content is None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and state.ranges else 0
            if start >= len(content) and start:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start += state.shift if start else 0
            body = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if send:
                self._send(body)

        def _send(self, body: bytes) -> None:
            limit = state.cut_after.pop(0) if state.cut_after else None
            body = body if limit is None else body[:limit]
            try:
                for at in range(0, len(body), state.piece):
                    time.sleep(state.pause)
                    self.wfile.write(body[at : at + state.piece])
                    self.wfile.flush()
            except OSError:  # the client has given up
                self.close_connection = True
            if limit is not None:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
