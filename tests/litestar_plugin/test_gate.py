"""Paths as the router reads them, and guards without their gate."""

from typing import Any, cast
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar.types import Scope

from gateway.core.http.targets import parse_path
from gateway.litestar_plugin.gate import inner_path
from gateway.litestar_plugin.guards import requires


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/", "", "/"),
        ("/a", "", "/a"),
        ("/a/", "", "/a"),
        ("/%61/b%20c/", "", "/%61/b%20c"),
        ("//a", "", None),
        ("/a//b", "", None),
        ("/a/", "/api", "/a"),
        ("/api/a/", "/api", "/a"),
        ("/api", "/api", "/"),
        ("/api/api/a", "/api", "/api/a"),
        ("/%61pi/a", "/api", "/a"),
        ("/apix/a", "/api", None),
        ("/x/api/a", "/api", None),
        ("/v1/api/a", "/v1/api/", "/a"),
    ],
)
def test_a_path_is_below_the_apps_own(path: str, root_path: str, expected: str | None) -> None:
    """Without a slash at its end, for the router knows none; None where it could be cut elsewhere."""
    assert expected == inner_path(path, root_path)


async def ask(app: Litestar, path: str, root_path: str = "") -> tuple[int, str]:
    """Status and content of the answer to a GET, as a server asks for it."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": root_path,
        "headers": [(b"host", b"any.example")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "extensions": {},
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(cast(Any, scope), cast(Any, receive), cast(Any, send))
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:]).decode()


@get(["/", "/{rest:path}"])
async def show_path(scope: Scope) -> str:
    return scope["path"]


READING = Litestar([show_path], openapi_config=None, logging_config=None)
segments = st.sampled_from(["api", "a", "%61", "b%20c", "..", "", "x", "api%2Fa", "ap", "%FF", "apia"])


@given(st.lists(segments, max_size=5), st.sampled_from(["", "/api", "/api/a", "/a", "/a/"]))
async def test_a_path_is_read_as_the_router_reads_it(parts: list[str], root_path: str) -> None:
    """What is not refused, the router of a real app routes by the same path."""
    path = "/" + "/".join(parts)
    inner = inner_path(path, root_path)
    if inner is not None:
        expected = "/" + "/".join(part for part in parse_path(inner) or () if part)
        status, content = await ask(READING, path, root_path)
        assert 200 == status
        assert expected == content


async def test_a_guard_without_its_gate_lets_nobody_pass() -> None:
    """An app that has forgotten the plugin answers 500, never its content."""

    @get("/", guards=[requires()])
    async def secret() -> str:
        return "secret"

    status, content = await ask(Litestar([secret], openapi_config=None, logging_config=None), "/")
    assert 500 == status
    assert "secret" not in content
