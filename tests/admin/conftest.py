"""The management API over a real Redis, called as a program would."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.testing import TestClient

from gateway.adapters.failed_credentials import FailedCredentials
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.adapters.redis.exports import RedisExports
from gateway.adapters.redis.tokens import RedisClaims, RedisTokens
from gateway.adapters.redis.usage import RedisUsage
from gateway.admin.access import Access
from gateway.admin.api import build_api, build_openapi
from gateway.admin.app import answer_options
from gateway.admin.schemas import BodySchemas
from gateway.core.http.client_address import TrustedProxies
from gateway.management import Management
from gateway.pipeline.authenticator import Authenticator
from gateway.server.requests import RequestAcceptor
from tests.management.policies import FixedPolicies
from tests.support.app_client import client_of
from tests.support.command_line import run_json
from tests.support.processes import RedisServer

NOW = 1_800_000_000.0
Mint = Callable[..., dict[str, str]]


def build_app(redis_url: str, failed_credentials: str = "1000/minute", cors: CORSConfig | None = None) -> Litestar:
    """The API alone, as the admin listener mounts it."""
    connection = RedisConnection(open_client(redis_url, 5), 5)
    tokens = RedisTokens(connection)
    management = Management(
        policies=FixedPolicies(),
        tokens=tokens,
        owners=tokens.owners,
        audit=RedisAudit(connection),
        claims=RedisClaims(connection, tokens),
        random_bytes=secrets.token_bytes,
        pepper=b"",
    )
    numbers = count(1)
    access = Access(
        admissions=RedisAdmissions(connection),
        authenticator=Authenticator(FailedCredentials(failed_credentials), b""),
        acceptor=RequestAcceptor(
            FixedPolicies(), clock=lambda: NOW, new_id=lambda: f"call-{next(numbers)}", trusted=TrustedProxies()
        ),
    )

    @asynccontextmanager
    async def run(_: Litestar) -> AsyncIterator[None]:
        yield
        await connection.close()

    return Litestar(
        [build_api(management, RedisExports(connection, 0), RedisUsage(connection, lambda: NOW), access)],
        lifespan=[run],
        before_request=answer_options,
        cors_config=cors,
        openapi_config=build_openapi(),
        plugins=[ProblemDetailsPlugin(ProblemDetailsConfig(enable_for_all_http_exceptions=True)), BodySchemas()],
        logging_config=None,
    )


@pytest.fixture
def mint_admin(redis_url: str, tmp_path: Path) -> Mint:
    """Mints admin tokens."""

    def mint(*options: str) -> dict[str, str]:
        created: dict[str, str] = run_json(
            "token", "create", "--admin", "--name", "ops", *options, "--redis", redis_url, "--policies", str(tmp_path)
        )
        return created

    return mint


@pytest.fixture(scope="module")
def listener(redis_server: RedisServer) -> Iterator[TestClient[Litestar]]:
    """The API, running for the tests of a file."""
    with TestClient(build_app(redis_server.url)) as running:
        yield running


@pytest.fixture
def api(listener: TestClient[Litestar], mint_admin: Mint) -> httpx.Client:
    """A client of the API that presents an admin token with all scopes."""
    client = client_of(listener)
    client.headers["Authorization"] = f"Bearer {mint_admin()['token']}"
    return client


def create(api: httpx.Client, **changes: Any) -> Any:
    """A token made by the API; its answer's JSON."""
    asked = {"policy": "small", "project": "website", "name": "CI", "scopes": ["read"], **changes}
    answer = api.post("/api/v1/tokens", json=asked)
    assert 201 == answer.status_code, answer.text
    return answer.json()


def check_refusal(status: int, code: str, answer: Any) -> None:
    """Fails unless the answer refuses with this status and code, as problem details."""
    assert status == answer.status_code, answer.text
    assert "application/problem+json" == answer.headers["content-type"]
    problem = answer.json()
    assert status == problem["status"]
    assert code == problem["code"]
