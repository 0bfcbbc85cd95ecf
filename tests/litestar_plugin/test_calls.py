"""Handlers in the request's own call."""

from pathlib import Path
from typing import Any

from litestar import Litestar, get

from gateway.plugin import GatewayPlugin, Settings, requires

POLICY = """
name = "own"
upstream = "none"
token = { prefixes = ["own_"], bound_to = "none" }
[scopes]
read = "Read"
[quotas]
parallel = { concurrent = 1 }
[[rules]]
match = "GET /ruled"
"""


@get("/secret", guards=[requires("read")])
async def secret() -> str:
    return "secret"


async def test_a_client_that_asks_again_at_the_last_byte_does_not_meet_itself(tmp_path: Path) -> None:
    """Of a limit of one request in flight: the first has ended before its answer's last byte is sent."""
    (tmp_path / "own.toml").write_text(POLICY)
    plugin = GatewayPlugin(Settings(redis_url="memory://", policies=str(tmp_path)), raise_refusals=False)
    app = Litestar([secret], plugins=[plugin], openapi_config=None, logging_config=None)
    statuses: list[int] = []

    async def ask(token: str, times: int) -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/secret",
            "raw_path": b"/secret",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"any.example"), (b"authorization", b"Bearer " + token.encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
            "extensions": {},
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            elif times > 1:
                await ask(token, times - 1)

        await app(scope, receive, send)  # type: ignore[arg-type]

    async with app.lifespan():
        await ask(await plugin.mint("a"), 4)
    assert [200] * 4 == statuses
