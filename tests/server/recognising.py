"""A gateway of this process over a real Redis, asked in bytes through a connection without a socket."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

from uvicorn import Config
from uvicorn.server import ServerState

from gateway.app import Gateway, build_listener
from gateway.core.http.messages import Field, Inform, Response, ResponseHead
from gateway.core.policies.model import Upstream
from gateway.core.recognition.lesson import Lesson
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.core.usage import RECOGNITION
from gateway.server.connection import Connection
from gateway.settings import Settings
from tests.server.wire import Transport

ADA = Actor("ada", "operator")
NOW = 1_800_000_000_000
"""Unix milliseconds, by the clock that tests set."""
SECONDS = 10.0
"""For one answer; longer is a fault, not slowness."""
POLICY = """
name = "known"
explain_refusals = true
upstream = "http://127.0.0.1:9"
[token]
prefixes = ["kn_"]
bound_to = "project"
[scopes]
read = "Read"
write = "Write"
[plans.free]
scopes = ["read"]
quotas = { minute = "6/minute", day = { limit = "1000/day", algorithm = "sliding-window-counter" } }
[plans.plain]
scopes = ["read", "write"]
quotas = { minute = "1000/minute" }
[plans.busy]
scopes = ["read", "write"]
[plans.busy.quotas]
log = { limit = "8/minute", algorithm = "moving-window" }
bucket = { limit = "60/minute", algorithm = "token-bucket", burst = 9 }
at_once = { concurrent = 3 }
shared = { limit = "40/minute", per = "project" }
quiet = { limit = "5/minute", shadow = true }
[[rules]]
match = "GET /export/**"
scopes = ["read"]
cache = { fresh = "10m", shared_by = "project" }
[[rules]]
match = "GET /own/**"
scopes = ["read"]
cache = { fresh = "10m", shared_by = "token" }
[[rules]]
match = "GET /write/**"
scopes = ["write"]
cache = { fresh = "10m" }
[[rules]]
match = "GET /project/{project}/export"
scopes = ["read"]
project = "{project}"
cache = { fresh = "10m" }
[[rules]]
match = "GET /live/**"
scopes = ["read"]
[[rules]]
match = "GET /open/**"
public = true
quotas = { each = { limit = "7/minute", per = "address" } }
cache = { fresh = "10m", shared_by = "public" }
"""


class Backend:
    """A backend whose answers change when a test says so."""

    def __init__(self) -> None:
        self.version = 1
        self.asked = 0

    async def send(
        self,
        address: Upstream,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: Any,
        inform: Inform | None = None,
        lesson: Lesson | None = None,
    ) -> Response:
        self.asked += 1
        sent = b'{"target": "%b", "version": %d, "more": "%b"}' % (target.encode(), self.version, b"x" * 1500)
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(sent)), (b"x-odd", b"100%d")]
        if "vary" in target:
            head.append((b"vary", b"Accept-Language"))
        if "dated" in target:
            head.append((b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"))
        return Response(ResponseHead(200, head), sent)


class KnownGateway:
    """The gateway with its recognition; `ask` is one connection's request."""

    def __init__(
        self,
        redis_url: str,
        folder: Path,
        mode: Literal["on", "off", "verify"],
        policy: str = POLICY,
        *,
        has_backends: bool = False,
        **settings: Any,
    ) -> None:
        policies = folder / "policies"
        policies.mkdir(exist_ok=True)
        self.policy_file = policies / "known.toml"
        self.policy_file.write_text(policy)
        self.log = folder / "access.log"
        self.settings = Settings(
            policies=str(policies),
            redis_url=redis_url,
            redis_timeout=5.0,
            recognition=mode,
            **{"access_log": str(self.log), **settings},
        )
        self.backend = Backend()
        self.gateway = Gateway(self.settings, upstreams=None if has_backends else cast(Any, self.backend))
        self.listener = build_listener(self.gateway, self.settings)
        self.server = ServerState()
        self._config = Config(app=cast(Any, self.listener), lifespan="off")
        self._config.loaded_app = cast(Any, self.listener)

    def connect(self) -> "Client":
        return Client(self._config, self.server)

    async def mint(self, **request: Any) -> tuple[str, str]:
        """Text and id of a new token."""
        asked = TokenRequest(**{"name": "CI", "project": "website", **request})
        created = await self.gateway.management.create_token(ADA, "known", asked, now=NOW // 1000)
        return created.text, created.view.record.identity

    def count(self, event: str) -> int:
        """How often something became of a request whose bytes were seen before."""
        return self.gateway.cache_counts[RECOGNITION + event]


class Client:
    """One connection."""

    def __init__(self, config: Config, server: ServerState) -> None:
        self.transport = Transport()
        self.connection = Connection(config, server, {})
        self.connection.connection_made(self.transport)

    async def ask(self, data: bytes) -> bytes:
        """The bytes of the response to a whole request."""
        before = len(self.transport.sent)
        self.connection.data_received(data)
        await self.until(lambda: is_whole(self.transport.sent[before:]))
        return self.transport.sent[before:]

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds():
                await asyncio.sleep(0)


def is_whole(data: bytes) -> bool:
    """Whether a response is all there."""
    start, end, content = data.partition(b"\r\n\r\n")
    if not end:
        return False
    length = [int(line[16:]) for line in start.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
    return start.startswith((b"HTTP/1.1 304", b"HTTP/1.1 204")) or len(content) == length[0]


def request(path: str, token: str = "", *lines: str) -> bytes:
    """The bytes of a GET request."""
    own = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: api.example", "Accept: */*", *own, *lines, "", ""]).encode()


def field(response: bytes, name: str) -> str:
    """The value of a field of a response."""
    lines = response.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return next((value for key, _, value in (line.partition(": ") for line in lines) if key == name), "")


def status(response: bytes) -> int:
    return int(response[9:12])


@asynccontextmanager
async def open_known(
    redis_url: str,
    folder: Path,
    mode: Literal["on", "off", "verify"] = "on",
    policy: str = POLICY,
    *,
    has_backends: bool = False,
    **settings: Any,
) -> AsyncIterator[KnownGateway]:
    """Open a gateway. Its backend is `KnownGateway.backend`, unless it `has_backends`: those of the policy."""
    known = KnownGateway(redis_url, folder, mode, policy, has_backends=has_backends, **settings)
    known.gateway.set_time(NOW)
    try:
        yield known
    finally:
        await known.gateway.close()
