"""The admin listener in this process, on a real Redis, with a clock that tests set."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Self

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from lxml import html
from msgspec.structs import replace

from gateway.admin_app import Administration, build_application
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.views import CreatedToken
from gateway.management import Management
from gateway.settings import Settings
from tests.support.app_client import client_of
from tests.support.processes import RedisServer

POLICY = """
name = "shop"
upstream = "http://127.0.0.1:9001"
[token]
prefixes = ["shop_"]
bound_to = "project"
parent_scope = "texts:read"
sign_in_scope = "texts:read"
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
sign_in_scope = "read"
[scopes]
read = "Read"
[plans.free]
[plans.pro]
[[rules]]
match = "GET /**"
scopes = ["read"]
"""
UNBOUND = """
name = "unbound"
upstream = "http://127.0.0.1:9001"
[token]
prefixes = ["unb_"]
bound_to = "none"
[[rules]]
match = "GET /unbound/**"
"""
SCOPES = {"shop": ("keys:read", "texts:read", "texts:write"), "accounts": ("read",), "": ()}
TEST = Actor("test", "system")
NOW = 1_900_000_000.0

Make = Callable[..., CreatedToken]
Manage = Callable[[Callable[[Management], Any]], Any]


class Clock:
    """Unix seconds of the listener, as tests set them. Tokens go by Redis' own."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Desk:
    """Somebody with a browser that runs no scripts."""

    def __init__(self, client: httpx.Client) -> None:
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


class Listener:
    """An admin listener, running, and the management that its pages work with."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._running = TestClient(build_application(Administration(settings, clock=clock)))
        self._administration = Administration(settings)

    @property
    def app(self) -> Litestar:
        """What runs."""
        running: Litestar = self._running.app
        return running

    def __enter__(self) -> Self:
        self._running.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.run(lambda _: self._administration.close())
        self._running.__exit__(*error)

    def open_desk(self) -> Desk:
        """A desk of somebody who is not signed in."""
        return Desk(client_of(self._running, "http://127.0.0.1:8081"))

    def run(self, work: Callable[[Management], Any]) -> Any:
        """What `work` comes to, in the event loop of the listener."""
        return self._running.blocking_portal.call(work, self._administration.management)


@pytest.fixture(scope="module")
def shared_listener(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """A listener for the tests of a file. Each finds it as new: with an empty Redis, at NOW."""
    folder = tmp_path_factory.mktemp("policies")
    (folder / "shop.toml").write_text(POLICY)
    (folder / "accounts.toml").write_text(ACCOUNTS)
    (folder / "unbound.toml").write_text(UNBOUND)
    settings = Settings(redis_url=redis_server.url, policies=str(folder), trusted_proxies="192.0.2.7")
    with Listener(settings, Clock()) as listener:
        yield listener


@pytest.fixture
def listener(redis_url: str, shared_listener: Listener) -> Listener:
    """The shared listener, as new."""
    shared_listener.clock.now = NOW
    return shared_listener


@pytest.fixture
def clock(listener: Listener) -> Clock:
    return listener.clock


@pytest.fixture
def manage(listener: Listener) -> Manage:
    """Runs something on the management that the pages work with."""
    return listener.run


@pytest.fixture
def make(manage: Manage) -> Make:
    """A new token: of the project `website`, with all scopes, where nothing else is said."""

    def create(name: str = "CI", policy: str = "shop", **wanted: Any) -> CreatedToken:
        bound = {"project": "website"} if policy == "shop" else {"owner": "ada"} if policy else {}
        scopes = SCOPES[policy]
        request = TokenRequest(name=name, **{"scopes": scopes, **bound, **wanted})
        created: CreatedToken = manage(lambda management: management.create_token(TEST, policy, request))
        return created

    return create


@pytest.fixture
def open_desk(listener: Listener) -> Iterator[Callable[..., Desk]]:
    """Desks, each with cookies and an address of its own; with settings of its own it has a listener of its own too."""
    with ExitStack() as own:

        def start(text: str = "", **changes: str) -> Desk:
            asked = listener
            if changes:
                asked = own.enter_context(Listener(replace(listener.settings, **changes), listener.clock))
            desk = asked.open_desk()
            if text:
                assert 303 == desk.sign_in(text).status_code
            return desk

        yield start


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
