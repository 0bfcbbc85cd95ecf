"""Backends as they are, behind the gateway: what they believe of a request, and where they send clients."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.backends import Backend
from tests.support.client import Answer, ask
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer
from tests.system.conftest import Share

POLICY = """
name = "real"
[upstream]
url = "http://127.0.0.1:{port}"
{keys}
[token]
prefixes = ["rel_"]
[scopes]
read = "Read"
[[rules]]
match = "* /**"
public = true
[[rules]]
match = "GET /show.cgi/private"
scopes = ["read"]
"""
PUBLIC = "shop.example"
Front = Callable[..., GatewayServer]


@pytest.fixture(scope="module")
def real_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Backend]]:
    """Gives a backend by its name; each is started once."""
    running: dict[str, Backend] = {}

    def find(name: str) -> Backend:
        if name not in running:
            running[name] = Backend(name, tmp_path_factory.mktemp(name))
        return running[name]

    yield find
    for backend in running.values():
        backend.stop()


@pytest.fixture
def lighttpd(real_backend: Callable[[str], Backend]) -> Backend:
    return real_backend("lighttpd")


@pytest.fixture
def fastapi(real_backend: Callable[[str], Backend]) -> Backend:
    return real_backend("fastapi")


@pytest.fixture
def datasette(real_backend: Callable[[str], Backend]) -> Backend:
    return real_backend("datasette")


@pytest.fixture
def httpbin(real_backend: Callable[[str], Backend]) -> Backend:
    return real_backend("httpbin")


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A folder for the policy of the backend."""
    folder = tmp_path / "policies"
    folder.mkdir()
    return folder


@pytest.fixture
def front(share: Share, policies: Path) -> Front:
    """Puts a gateway that trusts its proxies in front of a backend, with more keys of `[upstream]`."""

    def find(backend: Backend, keys: str = "") -> GatewayServer:
        (policies / "real.toml").write_text(POLICY.format(port=backend.port, keys=keys))
        return share("trusting")

    return find


def get(gateway: GatewayServer, target: str, *fields: tuple[str, str], token: str | None = None) -> Answer:
    """What a client gets that asks for `target` by https at a proxy in front."""
    told = (("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.9"), *fields)
    return ask(gateway.port, "GET", target, host=PUBLIC, fields=told, token=token)


def follow(gateway: GatewayServer, answer: Answer) -> Answer:
    """What is at the address that a redirect names; it must be a public one."""
    assert answer.status in (301, 302, 307, 308), answer
    url = urlsplit(answer.field("location") or "")
    assert f"{url.scheme}://{url.netloc}" in (f"https://{PUBLIC}", "://")
    assert url.path.startswith("/")
    return get(gateway, url.path)


FORGED = [
    *((name, "admin") for name in ("X.Gateway.Owner", "X!Gateway!Scopes", "X_Gateway_Project", "X-Gateway-Token-Name")),
    *((name, "DELETE") for name in ("X-HTTP-Method-Override", "X.HTTP.Method", "X_Method_Override")),
    *((name, "/admin") for name in ("X-Original-URL", "X-Rewrite-URL", "X.Original.URL", "Script-Name", "Path_Info")),
    *((name, "198.51.100.66") for name in ("X-Real-IP", "True-Client-IP", "Client.IP", "X_Forwarded_For")),
    *((name, "evil.example") for name in ("X.Forwarded.Host", "X-Host", "Proxy", "Forwarded")),
    *((name, "1") for name in ("Content_Length", "Transfer.Encoding")),
]


def environment_of(answer: Answer) -> dict[str, str]:
    assert 200 == answer.status
    environment: dict[str, str] = json.loads(answer.content)
    return environment


def test_cgi_reads_odd_names_as_others(lighttpd: Backend) -> None:
    """So it would believe a client that reached it past the gateway: the tests below are about something."""
    answer = ask(lighttpd.port, "GET", "/show.cgi", fields=FORGED[:3])
    environment = environment_of(answer)
    assert ["admin"] * 3 == [environment[f"HTTP_X_GATEWAY_{name}"] for name in ("OWNER", "SCOPES", "PROJECT")]


def test_cgi_is_told_what_was_decided(lighttpd: Backend, front: Front, policies: Path, redis_url: str) -> None:
    """Who asks, from where and for what are the gateway's, whatever a client says in whatever spelling."""
    gateway = front(lighttpd)
    where = ("--policies", str(policies), "--redis", redis_url, "--policy", "real")
    created = run_json("token", "create", *where, "--project", "website", "--name", "CI", "--scope", "read")
    for target, token, told in (
        ("/show.cgi", None, {}),
        (
            "/show.cgi/private",
            created["token"],
            {"TOKEN_ID": created["id"], "TOKEN_NAME": "CI", "PROJECT": "website", "SCOPES": "read"},
        ),
    ):
        environment = environment_of(get(gateway, target, *FORGED, token=token))
        names = ("TOKEN_ID", "TOKEN_NAME", "PROJECT", "OWNER", "SCOPES")
        identity = {name: environment.get(f"HTTP_X_GATEWAY_{name}", "") for name in names}  # lighttpd drops empty ones
        assert dict.fromkeys(names, "") | told == identity
        assert "GET" == environment["REQUEST_METHOD"]
        assert PUBLIC == environment["HTTP_HOST"]
        assert PUBLIC == environment["HTTP_X_FORWARDED_HOST"]
        assert "https" == environment["HTTP_X_FORWARDED_PROTO"]
        assert "203.0.113.9, 127.0.0.1" == environment["HTTP_X_FORWARDED_FOR"]
        forged = {"admin", "DELETE", "/admin", "198.51.100.66", "evil.example"}
        assert {} == {name: value for name, value in environment.items() if value in forged}
        assert "HTTP_PROXY" not in environment
        assert environment.get("CONTENT_LENGTH", "0") == "0"


@pytest.mark.parametrize(
    "keys", ["", 'host = "target"', 'host = "inner.example:81"', 'rewrite = { prefix = "/site" }'], ids=str
)
def test_lighttpd_sends_to_folders(lighttpd: Backend, front: Front, keys: str) -> None:
    """A folder without its slash is a redirect, also below a prefix that lighttpd does not know of."""
    gateway = front(lighttpd, keys)
    prefix = "/site" if "site" in keys else ""
    redirect = get(gateway, f"{prefix}/folder")
    assert f"{prefix}/folder/" == urlsplit(redirect.field("location") or "").path
    assert b"<p>folder" == follow(gateway, redirect).content


HOSTS = pytest.mark.parametrize("keys", ["", 'host = "target"', 'host = "inner.example:81"'], ids=str)


@HOSTS
def test_fastapi_sends_to_public_addresses(fastapi: Backend, front: Front, keys: str) -> None:
    """The slash that it adds, a link to the next page, and a cookie: by whatever host it is asked."""
    gateway = front(fastapi, keys)
    redirect = get(gateway, "/items")
    assert 307 == redirect.status
    assert f"https://{PUBLIC}/items/" == redirect.field("location")
    page = follow(gateway, redirect)
    assert f'<https://{PUBLIC}/items/2>; rel="next"' == page.field("link")
    assert f"page=1; Domain={PUBLIC}; Path=/items; SameSite=lax" == page.field("set-cookie")


def test_fastapi_below_a_prefix(fastapi: Backend, front: Front) -> None:
    """It knows nothing of the prefix, and what it says leads there."""
    gateway = front(fastapi, 'rewrite = { prefix = "/shop" }')
    redirect = get(gateway, "/shop/items")
    assert f"https://{PUBLIC}/shop/items/" == redirect.field("location")
    page = follow(gateway, redirect)
    assert f'<https://{PUBLIC}/shop/items/2>; rel="next"' == page.field("link")
    assert f"page=1; Domain={PUBLIC}; Path=/shop/items; SameSite=lax" == page.field("set-cookie")
    assert b"2" == get(gateway, "/shop/items/2").content


@HOSTS
def test_datasette_is_whole(datasette: Backend, front: Front, keys: str) -> None:
    """Its style sheet lies under `/-/`, where the gateway has addresses of its own; redirects and links are public."""
    gateway = front(datasette, keys)
    page = get(gateway, "/")
    assert 200 == page.status
    assert f'https://{PUBLIC}/.json; rel="alternate"; type="application/json+datasette"' == page.field("link")
    sheet = get(gateway, "/-/static/app.css")
    assert 200 == sheet.status
    assert (sheet.field("content-type") or "").startswith("text/css")
    assert "datasette" in get(gateway, "/-/versions.json").json()
    assert "ok" == get(gateway, "/-/health").json()["status"]
    assert 200 == follow(gateway, get(gateway, "/data/")).status


def test_datasette_links_to_the_public_host(datasette: Backend, front: Front) -> None:
    """What it builds of Host into its content is public too, with the client's Host."""
    answer = get(front(datasette), "/data/texts.json?_facet=name")
    (facet,) = answer.json()["facet_results"]["name"]["results"]
    assert PUBLIC == urlsplit(facet["toggle_url"]).netloc


@HOSTS
def test_httpbin_sends_to_public_addresses(httpbin: Backend, front: Front, keys: str) -> None:
    """Relative and absolute redirects lead through the gateway, those to other sites stay."""
    gateway = front(httpbin, keys)
    for target in ("/redirect/1", "/relative-redirect/1", "/absolute-redirect/1", "/cookies/set?a=b"):
        assert 200 == follow(gateway, get(gateway, target)).status, target
    elsewhere = get(gateway, "/redirect-to?url=http%3A%2F%2Felsewhere.example%2Fx")
    assert "http://elsewhere.example/x" == elsewhere.field("location")
    own = get(gateway, f"/response-headers?Refresh=5%3B+url%3Dhttp%3A%2F%2F127.0.0.1%3A{httpbin.port}%2Fget")
    assert f"5; url=https://{PUBLIC}/get" == own.field("refresh")


def test_httpbin_below_a_prefix(httpbin: Backend, front: Front) -> None:
    """Every redirect leads back below it."""
    gateway = front(httpbin, 'rewrite = { prefix = "/bin" }')
    for target in ("/bin/redirect/1", "/bin/absolute-redirect/1", "/bin/cookies/set?a=b"):
        redirect = get(gateway, target)
        assert urlsplit(redirect.field("location") or "").path.startswith("/bin/")
        assert 200 == follow(gateway, redirect).status, target


def test_httpbin_sees_what_was_decided(httpbin: Backend, front: Front) -> None:
    """A WSGI server folds names as CGI does."""
    seen: dict[str, Any] = get(front(httpbin), "/headers", *FORGED).json()["headers"]
    assert PUBLIC == seen["Host"]
    assert {} == {name: value for name, value in seen.items() if value in {"admin", "DELETE", "/admin", "evil.example"}}
