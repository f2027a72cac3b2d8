"""`transferflow serve`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from transferflow.allocator import keep_freed_memory
from transferflow.cli.console import errors
from transferflow.cli.options import Home, Quiet, TrackingUri
from transferflow.errors import StopSignal, StoreError
from transferflow.logs import get_logger
from transferflow.text import printable

if TYPE_CHECKING:
    from fastapi import FastAPI

_GRACE_SECONDS = 30


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="NAME (its champion), NAME@ALIAS, NAME/VERSION, or a bundle's folder."
        ),
    ],
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes any free one.")
    ] = 8000,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, max=256, help="Images answered at once, at most.")
    ] = 32,
    wait_ms: Annotated[
        float,
        typer.Option("--wait-ms", metavar="MS", min=0, max=1000, help="How long an image waits for others."),
    ] = 2.0,
    max_mb: Annotated[
        int, typer.Option("--max-mb", metavar="MB", min=1, max=1024, help="Most bytes of a request.")
    ] = 32,
    max_megapixels: Annotated[
        int, typer.Option("--max-megapixels", metavar="N", min=1, max=178, help="Most pixels of an image.")
    ] = 50,
    refresh: Annotated[
        float,
        typer.Option(
            "--refresh", metavar="SECONDS", min=0.1, help="How often to ask which model goes by the name."
        ),
    ] = 10.0,
    home: Home = None,
    tracking_uri: TrackingUri = None,
    quiet: Quiet = False,
) -> None:
    """Answer images over HTTP: /predict, /healthz, /readyz, /metrics, and a page to drop an image on.

    Images of many requests are answered together. When the alias moves to another version, that one is loaded
    and takes over; requests under way are answered by the former one.
    """
    from transferflow.serving.app import ServerSettings, build_app
    from transferflow.serving.batcher import BatchSettings
    from transferflow.serving.holder import ModelHolder, Served
    from transferflow.stages.bundles import identify_model, open_model
    from transferflow.stages.context import build_context

    context = build_context(home, tracking_uri)
    holder = ModelHolder(
        lambda: identify_model(model, context),
        lambda: Served(identify_model(model, context), open_model(model, context)),
    )
    settings = ServerSettings(
        max_mb << 20, max_megapixels * 1_000_000, BatchSettings(batch, wait_ms), refresh
    )
    keep_freed_memory()
    app = build_app(holder, settings)
    _log_to_terminal()
    _run_server(app, host, port, holder.current.identity)


def _run_server(app: FastAPI, host: str, port: int, model: str) -> None:
    """Answer until a signal ends it.

    Raises:
        StoreError: If it can't listen there.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    try:
        # Before the address is told: port 0 has another number then, and who asks at once is not turned away.
        listening = config.bind_socket()
        listening.listen(config.backlog)
        address = f"http://{_shown(host)}:{listening.getsockname()[1]}/"
        errors().print(printable(f"{model}: {address} (ctrl-C stops it)"))
        server.run(sockets=[listening])
    except (KeyboardInterrupt, StopSignal):  # that is how a server ends
        errors().print("stopped")
    except (SystemExit, OSError) as error:
        raise StoreError(
            "the server could not be started", where=f"{host}:{port}", hint="is the port taken?"
        ) from error


def _shown(host: str) -> str:
    """The host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def _log_to_terminal() -> None:
    logging.basicConfig(format="%(asctime)s %(message)s")
    if get_logger().level == logging.NOTSET:
        get_logger().setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
