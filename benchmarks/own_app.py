"""A Litestar app with one handler: bare, behind the plugin, and behind the plugin with a stored answer."""

import os

from litestar import Litestar, MediaType, get

from benchmarks.backend import CONTENT
from gateway.plugin import GatewayPlugin, requires

guards = [requires("read")] if os.environ.get("BENCHMARK_PLUGIN") else []


@get("/live", guards=guards, media_type=MediaType.JSON)
async def live() -> bytes:
    """Answer 2 KiB."""
    return CONTENT


@get("/export", guards=guards, media_type=MediaType.JSON)
async def export() -> bytes:
    """Answer the same, under a rule with a cache."""
    return CONTENT


app = Litestar([live, export], plugins=[GatewayPlugin()] if guards else [], openapi_config=None, logging_config=None)
