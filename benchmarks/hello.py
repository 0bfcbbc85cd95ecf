"""The measure of all rows: uvicorn answering 2 KiB through the smallest possible ASGI application."""

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.backend import CONTENT

FIELDS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(CONTENT))]


async def app(_: dict[str, Any], __: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Answer every request with 2 KiB; tell uvicorn that there is no lifespan."""
    await send({"type": "http.response.start", "status": 200, "headers": FIELDS})
    await send({"type": "http.response.body", "body": CONTENT, "more_body": False})
