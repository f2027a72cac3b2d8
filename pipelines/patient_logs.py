"""Log lines that wait while the server is away: Prefect's own handler drops what it can't send at once."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import httpx
from prefect.logging.handlers import APILogHandler, APILogWorker
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED

PATIENCE_SECONDS = 1800.0
_LEAVING_SECONDS = 20.0
"""A process that ends waits no longer for a server that does not come back."""
_AGAIN_SECONDS = 2.0


class PatientLogWorker(APILogWorker):
    """Sends lines in the background, again and again until the server has them."""

    async def _handle_batch(self, items: list[dict[str, Any]]) -> None:
        began = time.monotonic()
        while time.monotonic() - began < (_LEAVING_SECONDS if self._stopped else PATIENCE_SECONDS):
            try:
                await self._client.create_logs(items)
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
                    break
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return
        await super()._handle_batch(items)  # says what was lost


class PatientLogHandler(APILogHandler):
    """Prefect's handler, but for who sends."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line to the worker, which returns at once."""
        try:
            if PREFECT_LOGGING_TO_API_ENABLED.value():
                PatientLogWorker.instance().send(self.prepare(record))
        except Exception:
            self.handleError(record)
