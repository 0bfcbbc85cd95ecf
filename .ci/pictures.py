"""Take the pictures of the developer page in deploy/screenshots/, of a gateway with the shipped policies.

    make pictures    # take them; needs redis-server and Chromium

The gateway and its Redis end with the command. Tokens are made by commands, as an operator would; the requests of the
weeks before are written into the counters, as nobody waits for weeks. Look at each picture before it is committed.
"""

import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from playwright.sync_api import Browser, Page

from gateway.adapters.redis import keys
from gateway.core.usage import UsageLabels, format_usage_labels
from tests.contracts.pages.conftest import run_apart
from tests.support.browser import open_page, running_browser
from tests.support.client import ask
from tests.support.processes import GatewayServer, Process, RedisServer, free_port
from tests.support.programs import find_program

ROOT = Path(__file__).parents[1]
PICTURES, POLICIES = ROOT / "deploy" / "screenshots", ROOT / "policies"
DESK = {"viewport": {"width": 1280, "height": 840}}
TELEPHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True}
PROJECT = ("--policy", "kopimark", "--project", "website")
LIST = "/tokens?policy=kopimark&project=website"
NAMES = {
    "android-app-build": ("--scope", "read"),
    "docs-site": ("--scope", "read", "--expires", "30d"),
    "figma-plugin": ("--scope", "read"),
    "github-actions-release": (
        *("--scope", "read", "--expires", "90d"),
        *("--description", "Pulls copy on each deploy. Ask #localization."),
    ),
    "gitlab-nightly": ("--scope", "read", "--expires", "30d"),
    "ios-app-build": ("--scope", "read", "--expires", "365d"),
    "marketing-landing": ("--scope", "read", "--expires", "60d"),
    "storybook-preview": ("--scope", "read", "--expires", "7d"),
}
"""The tokens of a project, with the options that they are made with."""
WEEK = (9, 10, 12, 8, 11, 2, 1)
"""How busy the days of a week are, from Monday on."""
REFUSALS = {"quota_exceeded": 17, "unknown_token": 8, "insufficient_scope": 2}


class Store:
    """The gateway's Redis: commands for it, and usage that was counted before."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._client = redis.Redis.from_url(server.url)
        self._hour = int(time.time()) // 3600

    def create(self, name: str, *options: str) -> dict[str, str]:
        """Make a token; return what the command printed."""
        place = ("--redis", self._server.url, "--policies", str(POLICIES))
        created: dict[str, str] = run_apart("token", "create", "--name", name, *options, *place)
        return created

    def use(self, identity: str, weight: int) -> None:
        """Write a month of usage of a token, by the hour."""
        for back in range(30 * 24):
            hour = self._hour - back
            key, field = keys.token_usage(identity, hour)
            mood = 2 + zlib.crc32(f"{weight} {hour // 24}".encode()) % 5  # no two days of two tokens are alike
            number = WEEK[hour // 24 % 7 - 4] * weight * mood * (1 + hour % 24) // 160
            self._client.hincrby(key, field, number)
            if back < 2:
                self._client.zincrby(keys.busiest(hour), number * 10, identity)

    def serve(self, policy: str, weight: int) -> None:
        """Write a day of usage of a policy, by the hour."""
        for back in range(24):
            hour = self._hour - back
            size = weight * (12 - abs(hour % 24 - 12)) + 20
            counted = {
                UsageLabels(policy, "", "3xx", "not_modified"): 52 * size,
                UsageLabels(policy, "", "2xx", "hit"): 25 * size,
            }
            counted |= {
                UsageLabels(policy, "", "2xx", "miss"): 8 * size,
                UsageLabels(policy, "upstream_timeout", "5xx", ""): weight * 2,
            }
            counted |= {
                UsageLabels(policy, reason, "4xx", ""): number * size // 9 for reason, number in REFUSALS.items()
            }
            for one, number in counted.items():
                self._client.hincrby(keys.policy_usage(policy, hour), format_usage_labels(one), number // 10)


class Camera:
    """Takes pictures of pages, each with cookies of its own."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url

    @contextmanager
    def sign_in(self, token: str, **context: Any) -> Iterator[Page]:
        """Open a page on which the holder of a token has signed in."""
        with open_page(self._browser, self._url, **DESK | context) as page:
            page.goto("/")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("navigation", name="Main").wait_for()
            yield page

    @contextmanager
    def open(self) -> Iterator[Page]:
        """Open a page for somebody who has not signed in."""
        with open_page(self._browser, self._url, **DESK) as page:
            yield page


def take(page: Page, name: str, *, whole: bool = False) -> None:
    """Take a picture of what a visitor sees, or of the whole page."""
    page.screenshot(path=PICTURES / f"{name}.png", full_page=whole, animations="disabled", caret="hide")


def take_visitors(camera: Camera, store: Store, made: dict[str, dict[str, str]], lead: str) -> None:
    """Take what the holder of a project's token sees."""
    with camera.sign_in(lead) as page:
        page.goto(LIST)
        take(page, "tokens")
        page.goto(LIST + "&q=nothing-of-this-name")
        take(page, "tokens-none")
        page.goto(f"/tokens/{made['github-actions-release']['id']}")
        take(page, "token", whole=True)
        for name in ("edit", "rotate", "revoke"):
            page.goto(f"/tokens/{made['github-actions-release']['id']}/{name}")
            take(page, f"token-{name}")
        page.goto(LIST.replace("/tokens", "/tokens/new"))
        take(page, "token-new", whole=True)
        page.get_by_role("textbox", name="Name").fill("cypress-e2e")
        page.get_by_role("button", name="Create token").click()
        take(page, "token-new-mistake", whole=True)
        page.goto(LIST.replace("/tokens", "/tokens/new"))
        page.get_by_role("textbox", name="Name").fill("cypress-e2e")
        page.get_by_role("checkbox", name="read").check()
        page.get_by_role("button", name="Create token").click()
        page.get_by_label("The token", exact=True).wait_for()
        take(page, "token-created")
        page.goto("/exports?policy=kopimark&project=website")
        take(page, "exports")
        page.goto("/nowhere")
        take(page, "not-found")
    with camera.sign_in(lead, color_scheme="dark") as page:
        page.goto(f"/tokens/{made['ios-app-build']['id']}")
        take(page, "token-dark")
    with camera.sign_in(lead, **TELEPHONE) as page:
        page.goto(LIST)
        take(page, "telephone")


def take_operators(camera: Camera, admin: str) -> None:
    """Take what an operator sees, and the door."""
    with camera.sign_in(admin) as page:
        page.goto("/overview")
        take(page, "overview", whole=True)
        page.goto("/history")
        take(page, "history")
        page.keyboard.press("Control+k")
        page.keyboard.type("token")
        page.get_by_role("dialog", name="Quick menu").wait_for()
        take(page, "palette")
    with camera.open() as page:
        page.goto("/")
        take(page, "sign-in")
        page.get_by_label("Token").fill("kopi_wrong")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").wait_for()
        take(page, "sign-in-refused")


def prepare(store: Store) -> tuple[dict[str, dict[str, str]], str, str]:
    """Fill the store. Return the tokens of the project by name, and the texts of two that sign in."""
    made = {name: store.create(name, *PROJECT, *options) for name, options in NAMES.items()}
    for weight, created in enumerate(made.values(), start=1):
        store.use(created["id"], weight)
    store.create("nightly-themes", "--policy", "tokencraft", "--owner", "ada")
    for policy, weight in {"kopimark": 9, "tokencraft": 3}.items():
        store.serve(policy, weight)
    lead = store.create("Noor (team lead)", *PROJECT, "--scope", "read", "--scope", "tokens")
    admin = store.create("Robin (operations)", "--admin")
    return made, lead["token"], admin["token"]


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory(prefix="gateway-pictures-") as folder:
        ends: list[Callable[[], object]] = []
        try:
            kept = ("--appendonly", "yes", "--maxmemory", "1gb", "--maxmemory-policy", "noeviction")
            server = RedisServer(find_program("redis-server"), Path(folder), options=kept)
            ends.append(server.stop)
            port = free_port()
            backend = Process([sys.executable, "-m", "benchmarks.backend", str(port)], Path(folder) / "backend.log")
            ends.append(backend.stop)
            environment = {
                "GATEWAY_POLICIES": str(POLICIES),
                "GATEWAY_REDIS_URL": server.url,
                "GATEWAY_UPSTREAMS": " ".join(f"{one.stem}=http://127.0.0.1:{port}" for one in POLICIES.glob("*.toml")),
            }
            gateway = GatewayServer(Path(folder), environment=environment, admin=True).wait()
            ends.append(gateway.stop)
            store = Store(server)
            made, lead, admin = prepare(store)
            for name in ("github-actions-release", "ios-app-build", "docs-site"):
                target = "/api/v1/projects/website/export"
                ask(gateway.port, "GET", target, token=made[name]["token"], host="api.kopimark.com")
            with running_browser() as browser:
                camera = Camera(browser, f"http://127.0.0.1:{gateway.admin_port}")
                take_visitors(camera, store, made, lead)
                take_operators(camera, admin)
        finally:
            for end in reversed(ends):
                end()
    print(f"pictures: took {len(list(PICTURES.glob('*.png')))} into {PICTURES.relative_to(ROOT)}; look at each")


if __name__ == "__main__":
    main()
