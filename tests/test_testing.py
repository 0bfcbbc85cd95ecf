"""gateway.testing, as an app's own tests use it, and the event loops that tests come with."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar, get
from litestar.di import NamedDependency
from litestar.testing import AsyncTestClient, TestClient, create_test_client

from gateway.core.errors import ConfigurationError
from gateway.plugin import GatewayPlugin, Principal, Settings, requires
from gateway.testing import OpenSandbox, Sandbox, gateway_sandbox, override_principal
from tests.support.processes import wait_until

__all__ = ["gateway_sandbox"]

POLICY = """
name = "own"
upstream = "none"
token = { prefixes = ["own_"] }
[scopes]
read = "Read"
write = "Write"
[quotas]
minute = "2/minute"
[[rules]]
match = "GET /ruled"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "own.toml").write_text(POLICY)
    return Settings(redis_url="memory://", policies=str(tmp_path))


@get("/me", guards=[requires("read")])
async def show_me(principal: NamedDependency[Principal]) -> str:
    return principal.token_name


@pytest.fixture
def app(settings: Settings) -> Iterator[Litestar]:
    yield Litestar([show_me], plugins=[GatewayPlugin(settings)])


def test_tokens_are_minted_in_a_line(app: Litestar, gateway_sandbox: OpenSandbox) -> None:
    """Before the app runs and while it does; a revoked one is refused on the next request."""
    sandbox = gateway_sandbox(app)
    early = sandbox.mint("early", scopes=["read"], project="a")
    with TestClient(app) as client:
        late = sandbox.mint("late", scopes=["read"], project="a")
        assert ["early", "late"] == [client.get("/me", headers=sandbox.bearer(one)).text for one in (early, late)]
        sandbox.revoke(early)
        assert 401 == client.get("/me", headers=sandbox.bearer(early)).status_code


async def test_tokens_are_minted_beside_a_running_loop(app: Litestar, gateway_sandbox: OpenSandbox) -> None:
    """By the sandbox, and by the plugin's own method."""
    sandbox = gateway_sandbox(app)
    async with AsyncTestClient(app) as client:
        token = sandbox.mint("sync", scopes=["read"], project="a")
        other = await app.plugins.get(GatewayPlugin).mint("async", scopes=["read"], project="a")
        answers = [(await client.get("/me", headers=sandbox.bearer(one))).text for one in (token, other)]
    assert ["sync", "async"] == answers


def test_a_test_client_of_handlers_works(settings: Settings, gateway_sandbox: OpenSandbox) -> None:
    """create_test_client, which makes the app."""
    plugin = GatewayPlugin(settings)
    sandbox = gateway_sandbox(plugin)
    token = sandbox.mint("CI", scopes=["read"], project="a")
    with create_test_client([show_me], plugins=[plugin]) as client:
        assert "CI" == client.get("/me", headers=sandbox.bearer(token)).text


def test_somebody_can_ask_without_a_token(app: Litestar) -> None:
    """With the scopes that he has, whatever the request presents, until the block ends."""
    with TestClient(app) as client:
        with override_principal(app, Principal("t1", "ada", scopes=frozenset({"read"}))):
            assert "ada" == client.get("/me").text
            assert ["ada"] * 5 == [client.get("/me").text for _ in range(5)]
        with override_principal(app, Principal("t1", "ada", scopes=frozenset({"write"}))):
            assert 403 == client.get("/me").status_code
        assert 401 == client.get("/me").status_code


def test_time_can_be_moved(app: Litestar, gateway_sandbox: OpenSandbox) -> None:
    """Quotas fill up again, and tokens end."""
    sandbox = gateway_sandbox(app)
    sandbox.set_time(1_800_000_000)
    headers = sandbox.bearer(sandbox.mint(scopes=["read"], project="a", expires_at=1_800_000_100))
    with TestClient(app) as client:
        assert [200, 200, 429] == [client.get("/me", headers=headers).status_code for _ in range(3)]
        sandbox.move_time(61)
        assert 200 == client.get("/me", headers=headers).status_code
        sandbox.move_time(60)
        assert 401 == client.get("/me", headers=headers).status_code


def test_a_sandbox_begins_and_ends_empty(app: Litestar, gateway_sandbox: OpenSandbox) -> None:
    """No token outlives its test."""
    sandbox = gateway_sandbox(app)
    token = sandbox.mint(scopes=["read"], project="a")
    with TestClient(app) as client:
        assert 200 == client.get("/me", headers=sandbox.bearer(token)).status_code
        gateway_sandbox(app)
        assert 401 == client.get("/me", headers=sandbox.bearer(token)).status_code


def test_a_redis_is_no_sandbox(settings: Settings, tmp_path: Path) -> None:
    """A test that would empty somebody's Redis does not begin."""
    plugin = GatewayPlugin(Settings(redis_url="redis://127.0.0.1:1/0", policies=str(tmp_path)))
    with pytest.raises(ConfigurationError, match="memory://"):
        Sandbox(plugin)


async def ask(app: Litestar, token: str) -> int:
    transport = httpx.ASGITransport(app=cast(Any, app))
    async with httpx.AsyncClient(transport=transport, base_url="http://own.example") as client:
        return (await client.get("/me", headers={"Authorization": f"Bearer {token}"})).status_code


def test_each_event_loop_has_connections_of_its_own(app: Litestar) -> None:
    """A module's app in several loops, one after the other, without its lifespan."""
    token = Sandbox(app).mint(scopes=["read"], project="a")
    assert [200, 200, 429] == [asyncio.run(asyncio.wait_for(ask(app, token), 20)) for _ in range(3)]
    for _ in range(2):
        client: TestClient[Litestar] = TestClient(app)
        assert 401 == client.get("/me").status_code


@pytest.mark.redis
def test_each_event_loop_has_connections_to_redis(redis_url: str, tmp_path: Path) -> None:
    """The same with a real one: no loop waits for an answer that another has read."""
    (tmp_path / "own.toml").write_text(POLICY)
    plugin = GatewayPlugin(Settings(redis_url=redis_url, policies=str(tmp_path), redis_timeout=5))
    app = Litestar([show_me], plugins=[plugin])

    async def mint_and_ask() -> int:
        token = await plugin.mint("CI", scopes=["read"], project="a")
        status = await ask(app, token)
        await plugin.gateway.close()
        return status

    assert [200, 200] == [asyncio.run(asyncio.wait_for(mint_and_ask(), 20)) for _ in range(2)]


def test_a_reload_keeps_what_the_app_needs(app: Litestar, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that renames the policy, or drops a scope that a guard names, is refused as the start would refuse it."""
    plugin = app.plugins.get(GatewayPlugin)
    file = tmp_path / "own.toml"
    for text, mistake in (
        (POLICY.replace('name = "own"', 'name = "mine"'), "the policy of this app is gone"),
        (POLICY.replace('read = "Read"\n', ""), "unknown scope 'read'"),
    ):
        before = plugin.policies.current
        file.write_text(text)
        assert plugin.policies.reload()
        assert before is plugin.policies.current
        assert mistake in plugin.policies.mistakes[0]
        assert mistake in caplog.text
    file.write_text(POLICY + "\n# as before")
    assert plugin.policies.reload()
    assert () == plugin.policies.mistakes


def test_a_log_beside_the_policies_is_no_change_of_them(
    app: Litestar, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the gateway nor watchfiles says anything of it; a changed policy is told once."""
    log = tmp_path / "app.log"
    handler = logging.FileHandler(log)
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO)
    try:
        with TestClient(app) as client, caplog.at_level(logging.INFO):
            for number in range(20):
                logging.getLogger("app").info("line %d", number)
                client.get("/me")
            assert "change" not in caplog.text
            (tmp_path / "own.toml").write_text(POLICY + "\n# changed")
            wait_until(lambda: "policies loaded" in caplog.text, "the change is told")
        assert 1 == caplog.text.count("policies loaded")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        ({"max_requests": 5}, "max_requests is the app's server's to decide"),
        ({"redis_timeout": -1.0}, "redis_timeout"),
        ({"stop_timeout": -1}, "stop_timeout"),
        ({"listen": "0.0.0.0:80"}, "listen is the app's server's to decide"),
    ],
)
def test_settings_that_are_not_obeyed_are_refused(settings: Settings, wrong: dict[str, Any], mistake: str) -> None:
    """By name, at once."""
    with pytest.raises(ConfigurationError, match=mistake):
        GatewayPlugin(Settings(redis_url="memory://", policies=settings.policies, **wrong))


def test_a_missing_environment_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what the plugin takes, and no option of `gateway serve`."""
    monkeypatch.delenv("GATEWAY_REDIS_URL", raising=False)
    with pytest.raises(ConfigurationError) as raised:
        GatewayPlugin()
    assert "GATEWAY_REDIS_URL" in str(raised.value)
    assert "GatewayPlugin(Settings(redis_url=" in str(raised.value)
    assert "--redis" not in str(raised.value)
    assert 1 == len(str(raised.value).splitlines())


def test_the_document_is_serialisable(app: Litestar) -> None:
    """app.openapi_schema.to_schema() is plain data."""
    document = json.loads(json.dumps(app.openapi_schema.to_schema()))
    assert [{"gateway-bearer": ["read"]}] == document["paths"]["/me"]["get"]["security"]
