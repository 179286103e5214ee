"""Serve a detector as a Wyoming wake-word service, the protocol of Home Assistant and its satellites."""

from __future__ import annotations

import asyncio
import logging
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from speechxfer.wakeword.runtime.errors import DetectorError, MissingDetectorExtraError
from speechxfer.wakeword.runtime.wyoming_connection import LOG, WyomingConnection, WyomingService

if TYPE_CHECKING:
    from wyoming.server import AsyncServer


def serve_wyoming(service: WyomingService, address: str) -> None:
    """Serve until interrupted. address: tcp://host:port, unix://path or stdio://.

    Raises: MissingDetectorExtraError without wyoming; DetectorError for an address that is invalid or in use.
    """
    asyncio.run(_serve(service, address))


async def _serve(service: WyomingService, address: str) -> None:
    server = make_server(address)
    try:
        await server.run(make_handler_factory(service))
    except OSError as error:
        raise DetectorError(f"cannot be served on ({error.strerror or error})", where=address) from None


def make_handler_factory(service: WyomingService) -> Any:
    """Return the function that wyoming's server calls with the reader and the writer of each connection."""
    return partial(WyomingConnection, service)


def make_server(address: str) -> AsyncServer:
    """Return the server for an address.

    Raises: MissingDetectorExtraError without wyoming; DetectorError for an invalid address, or the path of a file.
    """
    try:
        from wyoming.server import AsyncServer
    except ImportError:
        raise MissingDetectorExtraError("wyoming", "serving Home Assistant") from None
    fix = "use e.g. tcp://0.0.0.0:10400 or unix:///run/juniper.sock"
    try:
        server, parts = AsyncServer.from_uri(address), urlparse(address)
    except ValueError as error:
        raise DetectorError(f"invalid address ({error})", where=address, fix=fix) from None
    path = Path(parts.path)
    if parts.scheme == "unix" and path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise DetectorError("exists and is not a socket", where=address, fix=fix)  # the server would delete it
    return server


def configure_log(level: str) -> None:
    """Print the service's log to standard error. level: debug, info, warning or error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.handlers[:] = [handler]
    LOG.propagate = False
    LOG.setLevel(level.upper())
