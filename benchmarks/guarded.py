"""What a guard costs a Litestar handler: `python -m benchmarks.guarded` prints microseconds of CPU for each request.

Four apps answer in this process, in turns: bare, with a guard that does nothing, and two that the plugin guards, over a
Redis of its own. Of these, one remembers how equal requests were read, as CI jobs send them, and one reads each of them
anew. CONNECTIONS tasks ask each at once, by ASGI without a server; what counts is the process's CPU time.
Redis is another process, whose time is not in it.
"""

import argparse
import asyncio
import gc
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from litestar import Litestar, MediaType, get
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from benchmarks.backend import CONTENT
from benchmarks.stage import POLICY
from gateway.plugin import GatewayPlugin, requires
from gateway.settings import Settings
from tests.support.processes import RedisServer

CONNECTIONS = 32
REQUESTS = 50
"""Of each connection in one turn."""
ROUNDS = 41


def build_app(guards: list[Guard], plugin: GatewayPlugin | None = None) -> Litestar:
    """Return an app with one handler, which has the guards."""

    @get("/live", guards=guards, media_type=MediaType.JSON)
    async def live() -> bytes:
        """Answer with 2 KiB."""
        return CONTENT

    return Litestar([live], plugins=[plugin] if plugin else [], openapi_config=None, logging_config=None)


async def do_nothing(_: ASGIConnection[Any, Any, Any, Any], __: BaseRouteHandler) -> None:
    """Let everybody in: what remains is what Litestar itself takes for a guard."""


async def ask(app: Litestar, token: str) -> int:
    """Ask an app once; return the status of its answer."""
    status = 0
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/live",
        "raw_path": b"/live",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"bench.example"),
            (b"user-agent", b"benchmark"),
            (b"accept", b"application/json"),
            (b"authorization", b"Bearer " + token.encode()),
        ],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
        "state": {},
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)
    return status


async def put_load(app: Litestar, token: str) -> float:
    """Return microseconds of CPU for each request."""

    async def ask_on() -> None:
        for _ in range(REQUESTS):
            if await ask(app, token) != 200:
                raise SystemExit("a request was refused")

    began = time.process_time_ns()
    await asyncio.gather(*(ask_on() for _ in range(CONNECTIONS)))
    return (time.process_time_ns() - began) / 1000 / REQUESTS / CONNECTIONS


async def measure(folder: Path, redis_url: str, then: Callable[[Litestar, str], Awaitable[None]] | None) -> None:
    """Print what each app costs, and what the guarded one costs more than the others."""
    (folder / "bench.toml").write_text(POLICY.format(port=9, algorithms=""))
    settings = Settings(redis_url=redis_url, policies=str(folder), redis_timeout=5)
    plugin, forgetful = GatewayPlugin(settings), GatewayPlugin(msgspec.structs.replace(settings, recognition="off"))
    apps = {
        "bare": build_app([]),
        "empty guard": build_app([do_nothing]),
        "guarded": build_app([requires("read")], plugin),
        "guarded, read anew": build_app([requires("read")], forgetful),
    }
    async with apps["guarded"].lifespan(), apps["guarded, read anew"].lifespan():
        token = await plugin.mint("benchmark", project="bench", plan="one")
        for app in apps.values():
            await put_load(app, token)
        gc.collect()
        gc.freeze()
        rounds = [{name: await put_load(app, token) for name, app in apps.items()} for _ in range(ROUNDS)]
        for name in apps:
            print(f"{name}: {statistics.median(one[name] for one in rounds):.1f} us")
        for one, other in product(("guarded", "guarded, read anew"), ("bare", "empty guard")):
            low, middle, high = statistics.quantiles([costs[one] - costs[other] for costs in rounds], n=4)
            print(f"{one}, more than {other}: {middle:.1f} us (quartiles {low:.1f} and {high:.1f}, {ROUNDS} rounds)")
        if then is not None:
            await then(apps["guarded"], token)


async def profile(app: Litestar, token: str) -> None:
    """Print where the time of guarded requests goes, by function."""
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.enable()
    await put_load(app, token)
    profiler.disable()
    pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(45)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--profile", action="store_true", help="print where the time of guarded requests goes, too")
    is_profiled = parser.parse_args().profile
    executable = shutil.which("redis-server")
    if executable is None:
        raise SystemExit("this needs redis-server on the PATH (on Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory(prefix="gateway-guarded-") as folder:
        store = RedisServer(executable, Path(folder))
        try:
            uvloop.run(measure(Path(folder), store.url, profile if is_profiled else None))
        finally:
            store.stop()


if __name__ == "__main__":
    main()
