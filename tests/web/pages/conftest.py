"""The admin listener in this process, on a real Redis, with a clock that tests set."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from lxml import html

from gateway.admin import Administration, create_admin
from gateway.core.administration import TokenRequest
from gateway.core.audit import Actor
from gateway.core.token_views import CreatedToken
from gateway.management import Management
from gateway.settings import Settings

POLICY = """
name = "shop"
upstream = "http://127.0.0.1:9001"
[token]
prefixes = ["shop_"]
bound_to = "project"
parent_scope = "texts:read"
[scopes]
"texts:read" = "Read texts"
"texts:write" = { description = "Change texts", implies = ["texts:read"] }
"keys:read" = { description = "Read keys", category = "Wordings" }
[bundles.pull]
description = "Builds that read"
scopes = ["texts:read", "keys:read"]
[quotas]
minute = "100/minute"
[[rules]]
match = "GET /projects/{project}/export"
project = "{project}"
scopes = ["texts:read"]
[rules.variants]
document = "translations"
[rules.variants.options]
format = {}
pretty = {}
lang = {}
"""
ACCOUNTS = """
name = "accounts"
upstream = "http://127.0.0.1:9001"
[token]
prefixes = ["acc_"]
bound_to = "owner"
[scopes]
read = "Read"
[[rules]]
match = "GET /**"
scopes = ["read"]
"""
TEST = Actor("test", "system")
NOW = 1_900_000_000.0

Make = Callable[..., CreatedToken]


class Clock:
    """Unix seconds of the listener, as tests set them. Tokens go by Redis' own."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Desk:
    """Somebody with a browser that runs no scripts."""

    def __init__(self, client: TestClient[Any]) -> None:
        self.client = client

    def sign_in(self, text: str, **fields: str) -> Any:
        """The answer to the form of the door."""
        return self.client.post("/sign-in", data={"token": text, **fields}, follow_redirects=False)

    def get(self, path: str, status: int = 200) -> Any:
        """A page, parsed."""
        answer = self.client.get(path, follow_redirects=False)
        assert status == answer.status_code, answer.text
        return html.fromstring(answer.text) if answer.text else None

    def form_token(self) -> str:
        """That of the session's own pages."""
        return str(self.get("/history").xpath("//input[@name='form_token']/@value")[0])

    def post(self, path: str, status: int = 303, **fields: Any) -> Any:
        """The answer to one of the session's own forms."""
        data = {"form_token": self.form_token(), **fields}
        answer = self.client.post(path, data=data, follow_redirects=False)
        assert status == answer.status_code, answer.text
        return answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "shop.toml").write_text(POLICY)
    (folder / "accounts.toml").write_text(ACCOUNTS)
    return Settings(redis_url=redis_url, policies=str(folder), trusted_proxies="192.0.2.7")


@pytest.fixture
def manage(settings: Settings) -> Callable[[Callable[[Management], Any]], Any]:
    """Runs something on the management that the pages work with."""

    def run(work: Callable[[Management], Any]) -> Any:
        async def whole() -> Any:
            administration = Administration(settings)
            try:
                return await work(administration.management)
            finally:
                await administration.close()

        return asyncio.run(whole())

    return run


@pytest.fixture
def make(manage: Callable[[Callable[[Management], Any]], Any]) -> Make:
    """A new token: of the project `website` where nothing else is said."""

    def create(name: str = "CI", policy: str = "shop", **wanted: Any) -> CreatedToken:
        bound = {"project": "website"} if policy == "shop" else {"owner": "ada"} if policy else {}
        request = TokenRequest(name=name, **{**bound, **wanted})
        created: CreatedToken = manage(lambda management: management.create_token(TEST, policy, request))
        return created

    return create


@pytest.fixture
def open_desk(settings: Settings, clock: Clock) -> Iterator[Callable[..., Desk]]:
    """Desks, each with a listener and cookies of its own."""
    clients: list[TestClient[Any]] = []

    def start(text: str = "", **changes: Any) -> Desk:
        import msgspec

        app = create_admin(msgspec.structs.replace(settings, **changes), clock=clock)
        client = TestClient(app, base_url="http://127.0.0.1:8081")
        client.__enter__()
        clients.append(client)
        desk = Desk(client)
        if text:
            assert 303 == desk.sign_in(text).status_code
        return desk

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def operator(open_desk: Callable[..., Desk], make: Make) -> Desk:
    """Signed in with an admin token."""
    return open_desk(make("ops", "", scopes=("read", "write")).text)


def tokens_on(page: Any) -> list[str]:
    """The names of the tokens that a list shows."""
    return [str(link.text) for link in page.xpath("//a[@class='row-link']")]


def shown_text(answer: Any) -> str:
    """The text of a new token on its page."""
    found = re.search(r'id="token-text"[^>]*value="([^"]+)"', answer.text)
    assert found, answer.text
    return found[1]
