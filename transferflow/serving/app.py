"""The HTTP server of a model.

```
POST /predict   image files as multipart/form-data, or {"images": ["<base64>", …]}
POST /explain   one image: the heat map of the class that is answered
GET  /          a page on which an image can be dropped
GET  /healthz   the process answers
GET  /readyz    a model is loaded, and there is room in the queue
GET  /metrics   Prometheus
```
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from transferflow.inference.model import answer_images
from transferflow.inference.sources import Failure
from transferflow.logs import get_logger
from transferflow.serving.as_json import answer_json
from transferflow.serving.batcher import Answer, BatchSettings, BusyError, MicroBatcher
from transferflow.serving.explain import explain_image
from transferflow.serving.guard import RequestGuard
from transferflow.serving.holder import ModelHolder
from transferflow.serving.metrics import ServerMetrics, require_packages
from transferflow.serving.requests import read_images, too_many_pixels

logger = get_logger("serving")

_PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data: blob:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


@dataclass(frozen=True)
class ServerSettings:
    """What a server lets in, and how it works.

    Attributes:
        max_bytes: Most bytes of a request.
        max_pixels: Most pixels of an image.
        batch: How images are put together.
        refresh_seconds: How often it is asked which model goes by the name.
    """

    max_bytes: int = 32 << 20
    max_pixels: int = 50_000_000
    batch: BatchSettings = field(default_factory=BatchSettings)
    refresh_seconds: float = 10.0


def build_app(holder: ModelHolder, settings: ServerSettings) -> FastAPI:
    """The application, for uvicorn.

    Args:
        holder: The model.
        settings: Its limits.

    Raises:
        MissingDependencyError: If the packages of the extra `serve` are not installed.
    """
    require_packages()
    metrics = ServerMetrics()

    def answer(images: Sequence[bytes]) -> list[Answer]:
        metrics.batch(len(images))
        return answer_images(holder.current.bundle, [("image", image) for image in images])

    batcher = MicroBatcher(answer, settings.batch)
    app = FastAPI(title="transferflow", lifespan=_lifespan(holder, batcher, metrics, settings))
    app.add_middleware(RequestGuard, max_bytes=settings.max_bytes, metrics=metrics)
    _add_predict(app, holder, batcher, settings)
    _add_explain(app, holder, batcher, settings)
    _add_state(app, holder, batcher, metrics, settings)
    return app


def _lifespan(
    holder: ModelHolder, batcher: MicroBatcher, metrics: ServerMetrics, settings: ServerSettings
) -> Any:  # noqa: ANN401 - FastAPI's own type is private
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(batcher.run()),
            asyncio.create_task(_refresh(holder, metrics, settings.refresh_seconds)),
        ]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return lifespan


async def _refresh(holder: ModelHolder, metrics: ServerMetrics, seconds: float) -> None:
    """Ask again and again which model goes by the name; a request under way keeps the one it began with."""
    while True:
        await asyncio.sleep(seconds)
        try:
            if await asyncio.to_thread(holder.refresh):
                metrics.reload()
        except Exception:  # the server goes on with the model that it has
            logger.exception("serve: looking for another model failed")


def _add_predict(app: FastAPI, holder: ModelHolder, batcher: MicroBatcher, settings: ServerSettings) -> None:
    async def predict(request: Request) -> JSONResponse:
        images = await read_images(request)
        large = [too_many_pixels(image, settings.max_pixels) for image in images]
        try:
            answers = iter(
                await batcher.submit(
                    [image for image, is_large in zip(images, large, strict=True) if not is_large]
                )
            )
        except BusyError:
            return JSONResponse({"error": "too many images wait"}, 503, {"retry-after": "1"})
        refused = Failure("image", f"the image has more than {settings.max_pixels} pixels")
        found: list[Answer] = [refused if is_large else next(answers) for is_large in large]
        status = 422 if all(isinstance(one, Failure) for one in found) else 200
        return JSONResponse(
            {"model": holder.current.identity, "predictions": [answer_json(one) for one in found]}, status
        )

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        status, what = getattr(error, "status_code", 500), getattr(error, "detail", "an error of the server")
        return JSONResponse({"error": what}, status)

    app.add_api_route("/predict", predict, methods=["POST"])
    app.add_exception_handler(HTTPException, refuse)
    for status in (400, 404, 405):  # raised below FastAPI, by a class of another library
        app.add_exception_handler(status, refuse)


def _add_explain(app: FastAPI, holder: ModelHolder, batcher: MicroBatcher, settings: ServerSettings) -> None:
    async def explain(request: Request) -> JSONResponse:
        images = await read_images(request)
        if len(images) > 1:
            raise HTTPException(413, f"one image is explained at a time, found {len(images)}")
        if too_many_pixels(images[0], settings.max_pixels):
            raise HTTPException(422, f"the image has more than {settings.max_pixels} pixels")
        served = holder.current
        try:
            found = await batcher.between(lambda: explain_image(served.bundle, images[0]))
        except BusyError:
            return JSONResponse({"error": "too many images wait"}, 503, {"retry-after": "1"})
        if isinstance(found, Failure):
            return JSONResponse({"error": found.reason}, 422)
        return JSONResponse({"model": served.identity, **asdict(found)})

    app.add_api_route("/explain", explain, methods=["POST"])


def _add_state(
    app: FastAPI,
    holder: ModelHolder,
    batcher: MicroBatcher,
    metrics: ServerMetrics,
    settings: ServerSettings,
) -> None:
    page = files("transferflow.serving").joinpath("page.html").read_text("utf-8")

    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": _PAGE_POLICY})

    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    async def ready() -> JSONResponse:
        is_full = batcher.waiting >= settings.batch.queue
        state = {"model": holder.current.identity, "waiting": batcher.waiting}
        return JSONResponse({"status": "full" if is_full else "ok", **state}, 503 if is_full else 200)

    async def measured() -> Response:
        text = metrics.text(batcher.waiting, holder.current.identity)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_api_route("/", index, methods=["GET"], include_in_schema=False)
    app.add_api_route("/healthz", alive, methods=["GET"])
    app.add_api_route("/readyz", ready, methods=["GET"])
    app.add_api_route("/metrics", measured, methods=["GET"])
