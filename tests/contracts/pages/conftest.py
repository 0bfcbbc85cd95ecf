"""The developer page of a running gateway in a real browser, with who has signed in."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.contracts.conftest import Commands
from tests.support.browser import open_page, running_browser
from tests.support.client import ask
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer

KOPIMARK = ("--policy", "kopimark", "--project", "website")
TOKENCRAFT = ("--policy", "tokencraft", "--owner", "ada")
LIST = "/tokens?policy=kopimark&project=website"
SignedIn = Callable[..., Page]


def run_apart(*arguments: str) -> Any:
    """A command in a thread: Playwright's event loop is in this one, and a command has one of its own."""
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(run_json, *arguments).result()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as chromium:
        yield chromium


@pytest.fixture
def create(tokens: Commands) -> Callable[..., dict[str, str]]:
    """`gateway token create`."""

    def run(*options: str, name: str = "CI") -> dict[str, str]:
        created: dict[str, str] = run_apart(
            "token", "create", "--name", name, *options, *tokens.options, *tokens.policies
        )
        return created

    return run


@pytest.fixture
def sign_in(browser: Browser, gateway: GatewayServer) -> Iterator[SignedIn]:
    """A page on which the holder of a token has signed in."""
    with ExitStack() as stack:

        def run(token: str, **context: object) -> Page:
            url = f"http://127.0.0.1:{gateway.admin_port}"
            page = stack.enter_context(open_page(browser, url, **context))
            page.goto("/")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("navigation", name="Main")).to_be_visible()
            return page

        yield run


@pytest.fixture
def operator(sign_in: SignedIn, create: Callable[..., dict[str, str]]) -> Page:
    return sign_in(create("--admin", name="ops")["token"])


def status_of(gateway: GatewayServer, token: str) -> int:
    """What an export gets that is pulled with the token."""
    return ask(gateway.port, "GET", "/api/v1/projects/website/export", token=token, host="api.kopimark.com").status


def make_token(page: Page, name: str, *scopes: str) -> str:
    """Makes a token by the form that is open, and gives the text that the page shows."""
    page.get_by_role("textbox", name="Name").fill(name)
    for scope in scopes:
        page.get_by_role("checkbox", name=scope).check()
    page.get_by_role("button", name="Create token").click()
    return page.get_by_label("The token", exact=True).input_value()
