"""What a gateway's tests may learn from the example backend of their own requests."""

import json
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from gateway.demo.backend.api import create_backend


async def call_asgi(app: Litestar, scope: Any) -> bytes:
    """The content of an answer, without the test client, which joins repeated fields into one."""
    contents: list[bytes] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        contents.append(message.get("body", b""))

    await app(scope, receive, send)
    return b"".join(contents)


async def test_whoami_shows_the_request_as_it_arrived() -> None:
    """Target and fields come back undecoded and in order, repetitions kept."""
    sent = [(b"x-twice", b"1"), (b"x-gateway-owner", b"acme"), (b"x-twice", b"2")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/whoami",
        "raw_path": b"/api/v1/whoami",
        "query_string": b"a=%20b&a=c",
        "headers": sent,
    }

    answer = json.loads(await call_asgi(create_backend(), scope))

    assert answer["method"] == "GET"
    assert answer["target"] == "/api/v1/whoami?a=%20b&a=c"
    assert [[name.decode(), value.decode()] for name, value in sent] == answer["fields"]


def test_echo_streams_content_back_unchanged(client: TestClient[Litestar]) -> None:
    """Any bytes in any number of chunks come back as they were, with their Content-Type."""
    chunks = [bytes(range(256)) * 300, b"", b"end"]
    answer = client.post("/api/v1/echo", content=iter(chunks), headers={"Content-Type": "image/x-odd"})

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/x-odd"
    assert b"".join(chunks) == answer.content
    refused = client.get("/api/v1/echo")
    assert refused.status_code == 405
    assert refused.headers["Allow"] == "POST"
