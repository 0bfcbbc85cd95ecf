"""The gateway asked by real proxies, each with the configuration that deploy/forward-auth ships for it."""

import hashlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from gateway.core.upstream.client_fields import MISLEADING
from tests.adapters.test_assertions import make_key
from tests.support.client import Answer, ask
from tests.support.command_line import run_command, run_json
from tests.support.edges import KINDS, Edge
from tests.support.processes import GatewayServer, RedisServer, free_port, wait_until
from tests.support.programs import find_program
from tests.support.raw import RawBackend, read_head, send_raw

POLICIES = {
    "edge": """
name = "edge"
hosts = ["app.example"]
upstream = { url = "http://127.0.0.1:9001", assertion = true }
token = { prefixes = ["edg_"], credential = ["bearer", "header:X-API-Key"] }
[scopes]
read = "Read"
write = "Write"
[plans.small]
quotas = { minute = "2/minute" }
[plans.open]
quotas = { minute = "1000/minute" }
[[rules]]
match = "GET /api/**"
scopes = ["read"]
[[rules]]
match = "POST /api/**"
scopes = ["write"]
""",
    "open": """
name = "open"
hosts = ["open.example"]
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["opn_"] }
[[rules]]
match = "GET /api/v1/whoami"
public = true
""",
}
MIRROR = "/api/v1/whoami"
"""Shows the request as it reached the backend."""
TELLS_LIMITS = {"nginx", "caddy", "envoy", "haproxy"}
"""Traefik copies nothing of an answer that allows to the client."""

FORGED = [
    ("X-Original-URL", f"http://open.example{MIRROR}"),
    ("X-Original-Method", "GET"),
    ("X-Original-URI", MIRROR),
    ("X-Forwarded-Method", "GET"),
    ("X-Forwarded-Host", "open.example"),
    ("X-Forwarded-Uri", MIRROR),
    ("X-Forwarded-For", "203.0.113.66"),
    *((name, "forged") for name in ("X-Gateway-Owner", "X-Gateway-Token-Id", "X-GATEWAY-Project")),
    *((name, "forged") for name in ("X-Gateway-Assertion", "X_Gateway_Assertion")),
    *((name, "forged") for name in ("X_Gateway_Owner", "X-Gateway_Owner", "X_Gateway-Scopes", "x_gateway_token_name")),
    *((name, "forged") for name in ("X.Gateway.Owner", "X!Gateway!Scopes", "X.Gateway-Project", "X~Gateway~Token~Id")),
]
MISLEADING_FIELDS = [
    *sorted(name.decode() for name in MISLEADING),
    *("X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Client-Cert", "X.Forwarded.Host"),
    *("X_Forwarded_For", "X_HTTP_Method_Override", "X_Original_URL"),
]
"""What a backend could take for another request than the one that was authorized."""


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    for name, text in POLICIES.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def gateway(
    redis_server: RedisServer, policies: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    """A gateway that trusts the proxies of this machine."""
    options = ("--policies", str(policies), "--redis", redis_server.url)
    trusting = {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}
    trusting["GATEWAY_ASSERTION_KEY"] = make_key()
    server = GatewayServer(tmp_path_factory.mktemp("gateway"), *options, environment=trusting).wait()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=KINDS)
def proxy_kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    find_program(KINDS[name].executable)
    return name


@pytest.fixture(scope="module")
def edge(
    proxy_kind: str, gateway: GatewayServer, backend_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Edge]:
    """The proxy, in front of the example backend."""
    proxy = Edge(proxy_kind, tmp_path_factory.mktemp(proxy_kind), gateway.port, backend_port)
    wait_until(lambda: send(proxy, "GET", MIRROR, host="open.example").status == 200, f"{proxy_kind} serves")
    yield proxy
    proxy.stop()


@pytest.fixture
def where(policies: Path, redis_url: str) -> tuple[str, ...]:
    """The options of commands on tokens."""
    return ("--policies", str(policies), "--redis", redis_url)


def mint(where: tuple[str, ...], *options: str) -> dict[str, str]:
    own = ("--policy", "edge", "--project", "website", "--name", "Büro", *options)
    created: dict[str, str] = run_json("token", "create", *where, *own)
    return created


def send(
    edge: Edge,
    method: str,
    target: str,
    *fields: tuple[str, str],
    token: str | None = None,
    host: str = "app.example",
    content: bytes | None = None,
) -> Answer:
    return ask(edge.port, method, target, token=token, host=host, fields=fields, content=content)


def received(answer: Answer) -> list[tuple[str, str]]:
    """The field lines that the backend got, odd characters read as hyphens: that is how CGI reads them."""
    return [(re.sub("[^a-z0-9]", "-", name), value) for name, value in answer.json()["fields"]]


def identity_in(answer: Answer) -> dict[str, str]:
    """What the backend was told of who asks; nginx leaves out what is empty."""
    fields = [field for field in received(answer) if field[0].startswith("x-gateway")]
    assert len(fields) == len(dict(fields))
    return {name: value for name, value in fields if value}


def test_a_token_passes_and_the_backend_is_told_whose_it_is(
    edge: Edge, proxy_kind: str, where: tuple[str, ...]
) -> None:
    """The target goes on as it came, with the identity fields and without the credential."""
    created = mint(where, "--plan", "open", "--scope", "read")
    answer = send(edge, "GET", MIRROR + "?a=%62&c", token=created["token"])
    assert 200 == answer.status
    assert MIRROR + "?a=%62&c" == answer.json()["target"]
    told, got = identity_in(answer), received(answer)
    claims = jwt.decode(told.pop("x-gateway-assertion"), options={"verify_signature": False})
    assert "GET" == claims["htm"]
    assert MIRROR == claims["path"]
    assert created["id"] == claims["sub"]
    assert {
        "x-gateway-token-id": created["id"],
        "x-gateway-token-name": "B%C3%BCro",
        "x-gateway-project": "website",
        "x-gateway-scopes": "read",
    } == told
    assert created["token"] not in answer.content.decode()
    assert 1 == len([value for name, value in got if name == "x-request-id"])
    if proxy_kind in TELLS_LIMITS:
        assert '"minute";q=1000;w=60' == answer.field("ratelimit-policy")
        assert '"minute";r=999;t=60' == answer.field("ratelimit")


def test_refusals_are_those_of_the_gateway(edge: Edge, where: tuple[str, ...]) -> None:
    """Status, challenge and problem are the same as if the gateway had been asked itself."""
    text = mint(where, "--plan", "open", "--scope", "read")["token"]
    realm = 'Bearer realm="edge"'
    for method, target, token, status, code, challenge in (
        ("GET", MIRROR, None, 401, "missing_credentials", realm),
        ("GET", MIRROR, "edg_" + "0" * 40, 401, "invalid_token", f'{realm}, error="invalid_token"'),
        ("POST", "/api/v1/echo", text, 403, "insufficient_scope", f'{realm}, error="insufficient_scope"'),
        ("GET", "/elsewhere", text, 404, "no_matching_rule", ""),
        ("DELETE", MIRROR, text, 404, "no_matching_rule", ""),
    ):
        answer = send(edge, method, target, token=token)
        problem = answer.json()
        assert status == answer.status
        assert status == problem["status"]
        assert code == problem["code"]
        assert "application/problem+json" == answer.field("content-type")
        assert "no-store" == answer.field("cache-control")
        assert challenge == next((c[: len(challenge)] for c in answer.all("www-authenticate")), "")
    assert 'scope="write"' in send(edge, "POST", "/api/v1/echo", token=text).all("www-authenticate")[0]


def test_a_quota_is_charged_and_its_end_is_429(edge: Edge, where: tuple[str, ...]) -> None:
    """The third of two requests is refused with Retry-After and the RateLimit fields."""
    text = mint(where, "--plan", "small", "--scope", "read")["token"]
    answers = [send(edge, "GET", MIRROR, token=text) for _ in range(3)]
    assert [200, 200, 429] == [answer.status for answer in answers]
    refused = answers[-1]
    assert ["minute"] == refused.json()["violated-policies"]
    assert int(refused.field("retry-after") or 0) >= 1
    assert '"minute";q=2;w=60' == refused.field("ratelimit-policy")
    assert (refused.field("ratelimit") or "").startswith('"minute";r=0;t=')


def test_what_a_client_says_of_itself_does_not_count(edge: Edge, where: tuple[str, ...]) -> None:
    """Neither another request to be authorized, nor identity fields in any spelling."""
    text = mint(where, "--plan", "open", "--scope", "read")["token"]
    assert 401 == send(edge, "GET", MIRROR, *FORGED).status
    assert 403 == send(edge, "POST", "/api/v1/echo", *FORGED, token=text, content=b"x").status
    assert 404 == send(edge, "GET", "/elsewhere", *FORGED, token=text).status
    own = send(edge, "GET", MIRROR, *FORGED, token=text)
    assert 200 == own.status
    names = [
        "x-gateway-assertion",
        "x-gateway-project",
        "x-gateway-scopes",
        "x-gateway-token-id",
        "x-gateway-token-name",
    ]
    told = identity_in(own)
    assert names == sorted(told)
    assert "forged" not in told.values()


def test_what_makes_a_backend_see_another_request_stays_here(edge: Edge, where: tuple[str, ...]) -> None:
    """Another method, path, host, scheme, address or certificate than those that were authorized."""
    text = mint(where, "--plan", "open", "--scope", "read")["token"]
    for name in MISLEADING_FIELDS:
        answer = send(edge, "GET", MIRROR, (name, "forged"), token=text)
        assert 200 == answer.status, name
        assert [] == [field for field in answer.json()["fields"] if "forged" in field[1]]


def test_who_asks_is_nothing_that_a_backend_says(proxy_kind: str, gateway: GatewayServer, tmp_path: Path) -> None:
    """Its own identity fields reach no client, who may be a gateway itself."""

    def answer(connection: socket.socket) -> None:
        read_head(connection)
        own = b"X-Gateway-Owner: root\r\nx-gateway-scopes: all\r\nX-Kept: 1\r\n"
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n" + own + b"\r\n")

    with RawBackend(answer) as backend:
        proxy = Edge(proxy_kind, tmp_path, gateway.port, backend.port)
        try:
            wait_until(lambda: send(proxy, "GET", MIRROR, host="open.example").status == 200, f"{proxy_kind} serves")
            fields = send(proxy, "GET", MIRROR, host="open.example").fields
        finally:
            proxy.stop()
    assert ("x-kept", "1") in fields
    assert [] == [name for name, _ in fields if name.startswith("x-gateway")]


def test_the_failing_client_is_the_one_that_asked(edge: Edge, gateway: GatewayServer) -> None:
    """The access log has the address that the proxy saw, not the one that the client claims."""
    send(edge, "GET", MIRROR, *FORGED)
    assert "203.0.113.66" != last_record(gateway)["client"]


def test_a_public_rule_needs_no_token_and_names_nobody(edge: Edge) -> None:
    """The request passes, and the backend is told of nobody, least of all what the client says."""
    answer = send(edge, "GET", MIRROR, *FORGED, host="open.example")
    assert 200 == answer.status
    assert {} == identity_in(answer)


def test_a_revoked_token_is_refused_on_the_next_request(edge: Edge, where: tuple[str, ...]) -> None:
    """No proxy remembers that it was good."""
    created = mint(where, "--plan", "open", "--scope", "read")
    assert 200 == send(edge, "GET", MIRROR, token=created["token"]).status
    assert 0 == run_command("token", "revoke", created["id"], *where[2:]).exit_code
    answer = send(edge, "GET", MIRROR, token=created["token"])
    assert 401 == answer.status
    assert "invalid_token" == answer.json()["code"]


@pytest.mark.parametrize(
    "target",
    [
        "//api/v1/whoami",
        "/api//v1/whoami",
        "/api/../api/v1/whoami",
        "/elsewhere/../api/v1/whoami",
        "/api/v1/%2e%2e/v1/whoami",
        "/api%2Fv1%2Fwhoami",
        "/api/v1/whoami%2F..%2Fwhoami",
        "/api/v1/%77hoami",
        "/api/v1/whoami;x=1",
        "/api/v1/whoami?next=/../..",
    ],
)
def test_what_was_authorized_is_what_the_backend_gets(
    edge: Edge, gateway: GatewayServer, where: tuple[str, ...], target: str
) -> None:
    """A path that can be read in two ways is refused, or the proxy has settled it before it asks and passes that on."""
    text = mint(where, "--plan", "open", "--scope", "read")["token"]
    answer = send(edge, "GET", target, token=text)
    if answer.status == 200:
        assert last_record(gateway)["path"] == answer.json()["target"].partition("?")[0]
    else:
        assert answer.status in (400, 404)


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://open.example/api/v1/whoami HTTP/1.1\r\nHost: app.example\r\n",
        b"GET http://app.example/api/v1/whoami HTTP/1.1\r\nHost: open.example\r\n",
        b"GET /api/v1/whoami HTTP/1.1\r\nHost: app.example\r\nHost: open.example\r\n",
        b"GET /api/v1/other HTTP/1.1\r\nHost: open.example/api/v1/whoami?\r\n",
        b"GET /api/v1/other HTTP/1.1\r\nHost: open.example?\r\n",
        b"GET /api/v1/other#/../whoami HTTP/1.1\r\nHost: open.example\r\n",
        b"GET /api/v1/whoami HTTP/1.0\r\n",
    ],
)
def test_an_odd_host_is_authorized_as_the_backend_gets_it_or_refused(
    edge: Edge, gateway: GatewayServer, head: bytes
) -> None:
    """Two hosts, none, or one that is none: nothing passes under the name of an open host and arrives at another."""
    answer, _, content = send_raw(edge.port, head + b"Connection: close\r\n\r\n").partition(b"\r\n\r\n")
    if answer.split(b" ")[1] == b"200":
        got = dict(json.loads(content)["fields"])
        assert "open.example" == got["host"]
        assert "open.example" == last_record(gateway)["host"]
    else:
        assert answer.split(b" ")[1] in (b"400", b"401", b"404", b"426")


def test_content_passes_unread(proxy_kind: str, gateway: GatewayServer, where: tuple[str, ...], tmp_path: Path) -> None:
    """The backend gets what the client sent, with a length and in chunks, though the gateway was asked first."""
    text = mint(where, "--plan", "open", "--scope", "write")["token"]
    content = bytes(range(256)) * 512
    expected = hashlib.sha256(content).hexdigest()
    with RawBackend(answer_with_digest) as backend:
        proxy = Edge(proxy_kind, tmp_path, gateway.port, backend.port)
        try:
            wait_until(lambda: send(proxy, "GET", MIRROR, host="open.example").status == 200, f"{proxy_kind} serves")
            answer = send(proxy, "POST", "/api/v1/upload", token=text, content=content)
            assert 200 == answer.status
            assert expected == answer.content.decode()
            url = f"http://127.0.0.1:{proxy.port}/api/v1/upload"
            fields = [
                "-H",
                f"Authorization: Bearer {text}",
                "-H",
                "Host: app.example",
                "-H",
                "Transfer-Encoding: chunked",
            ]
            command = ["curl", "-s", *fields, "--data-binary", "@-", url]
            assert expected == subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode()
        finally:
            proxy.stop()


def test_every_credential_of_the_policy_works_and_stays(edge: Edge, where: tuple[str, ...]) -> None:
    """X-API-Key too reaches the gateway and not the backend; two credentials are one too many."""
    text = mint(where, "--plan", "open", "--scope", "read")["token"]
    answer = send(edge, "GET", MIRROR, ("X-API-Key", text))
    assert 200 == answer.status
    assert text not in answer.content.decode()
    both = send(edge, "GET", MIRROR, ("X-API-Key", text), token=text)
    assert 400 == both.status
    assert "ambiguous_credentials" == both.json()["code"]


def test_nobody_passes_while_the_gateway_is_away(proxy_kind: str, backend_port: int, tmp_path: Path) -> None:
    """Not even to a public address: the proxy answers with an error of its own."""
    proxy = Edge(proxy_kind, tmp_path, free_port(), backend_port)

    def status() -> int:
        return send(proxy, "GET", MIRROR, host="open.example").status

    try:
        wait_until(lambda: status() != 404, f"{proxy_kind} has read all of its configuration")
        assert status() in (500, 502, 503)
    finally:
        proxy.stop()


def last_record(gateway: GatewayServer) -> dict[str, str]:
    """The access record of the request before."""
    gateway.record_of(ask(gateway.port, "GET", "/nowhere"))  # records come in their order: the other is there, too
    last: dict[str, str] = [record for record in gateway.records() if record["path"] != "/nowhere"][-1]
    return last


def answer_with_digest(connection: socket.socket) -> None:
    """A backend that answers when it has read all: proxies written in Go cannot send while they answer."""
    with connection.makefile("rb") as stream:
        fields = {}
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        content = stream.read(int(fields.get(b"content-length", 0)))
        if b"transfer-encoding" in fields:
            while size := int(stream.readline(), 16):
                content += stream.read(size)
                stream.readline()
    digest = hashlib.sha256(content).hexdigest().encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 64\r\n\r\n" + digest)
