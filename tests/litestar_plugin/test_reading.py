"""Handlers whose stored answers depend on the one who asks are told of when the app starts."""

import logging
from pathlib import Path
from typing import Annotated, Any

import pytest
from litestar import Litestar, Request, get
from litestar.params import CookieParameter, FromPath, HeaderParameter

from gateway.plugin import GatewayPlugin, Settings, requires

POLICY = """
name = "own"
upstream = "none"
hosts = ["own.example"]
token = { prefixes = ["own_"] }
[scopes]
read = "Read"
[[rules]]
match = "GET /kept/{project}"
cache = { fresh = "5m" }
"""


@get("/kept/{project:str}", guards=[requires()])
async def by_session(project: FromPath[str], request: Request[Any, Any, Any]) -> str:
    return str(request.session.get("name"))


@get("/kept/{project:str}", guards=[requires()])
async def by_cookie(project: FromPath[str], theme: Annotated[str, CookieParameter(name="theme")]) -> str:
    return theme


@get("/kept/{project:str}", guards=[requires()])
async def by_language(project: FromPath[str], request: Request[Any, Any, Any]) -> str:
    return request.headers.get("Accept-Language", "")


@get("/kept/{project:str}", guards=[requires()])
async def by_header(project: FromPath[str], language: Annotated[str, HeaderParameter(name="Accept-Language")]) -> str:
    return language


@get("/kept/{project:str}", guards=[requires()])
async def by_nothing(project: FromPath[str]) -> str:
    return project


@get("/other", guards=[requires()])
async def unstored(request: Request[Any, Any, Any]) -> str:
    return str(request.session)


@pytest.mark.parametrize(
    ("handler", "reads"),
    [
        (by_session, "the session"),
        (by_cookie, "the cookie theme"),
        (by_language, "Accept-Language"),
        (by_header, "Accept-Language"),
        (by_nothing, ""),
        (unstored, ""),
    ],
)
def test_a_stored_handler_that_reads_of_its_client_is_warned_about(
    handler: Any, reads: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With what it reads, and the rule; no others are."""
    (tmp_path / "own.toml").write_text(POLICY)
    plugin = GatewayPlugin(Settings(redis_url="memory://", policies=str(tmp_path)))
    with caplog.at_level(logging.WARNING):
        Litestar([handler], plugins=[plugin])
    told = [record.getMessage() for record in caplog.records if "stores its answer" in record.getMessage()]
    assert bool(reads) == bool(told)
    if reads:
        assert f"reads {reads}, and the rule 'GET /kept/{{project}}'" in told[0]
