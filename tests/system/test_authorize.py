"""`/-/authorize/` and `/-/whoami` as who asks them sees them, without a proxy in between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Answer, ask
from tests.support.command_line import run_command, run_json
from tests.support.processes import GatewayServer, RedisServer, wait_until
from tests.support.raw import send_raw
from tests.system.conftest import Serve, Share, mint

TRUSTING = {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}
ASKED = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Method", "GET"),
    ("X-Forwarded-Host", "any.example"),
    ("X-Forwarded-Uri", "/api/v1/projects/website/translations/export?lang=de"),
]
TRAEFIK = "/-/authorize/traefik"


@pytest.fixture
def asked(share: Share) -> GatewayServer:
    """A gateway that trusts the tests."""
    return share("trusting")


def test_only_trusted_proxies_are_heard(share: Share, redis_url: str, policies: Path) -> None:
    """Without GATEWAY_TRUSTED_PROXIES every question is 403, whatever it says, and charges nothing."""
    gateway = share()
    text = mint(redis_url, policies)["token"]
    answer = ask(gateway.port, "GET", TRAEFIK, token=text, fields=ASKED)
    assert 403 == answer.status
    assert "untrusted_proxy" == answer.json()["code"]
    assert answer.field("ratelimit") is None
    nginx = ask(gateway.port, "GET", "/-/authorize/nginx", token=text)
    assert 403 == nginx.status
    assert "403" == nginx.field("x-error-status")


def test_what_is_lacking_is_named(asked: GatewayServer, redis_url: str, policies: Path) -> None:
    """400, and the problem says which field the proxy has to be told to set."""
    text = mint(redis_url, policies)["token"]
    for field in ASKED:
        rest = [other for other in ASKED if other != field]
        answer = ask(asked.port, "GET", TRAEFIK, token=text, fields=rest)
        assert 400 == answer.status
        assert "missing_original" == answer.json()["code"]
        assert field[0].lower() == answer.json()["lacking"]
    wait_until(lambda: "the proxy that asks lacks x-forwarded-uri" in asked.text(), "the log says so")
    assert 404 == ask(asked.port, "GET", "/-/authorize/varnish", token=text, fields=ASKED).status
    assert 404 == ask(asked.port, "GET", "/-/authorize", token=text, fields=ASKED).status


def test_the_method_and_content_of_the_subrequest_mean_nothing(
    asked: GatewayServer, redis_url: str, policies: Path
) -> None:
    """HEAD, POST with content and a connection that goes on: each is answered for its original request."""
    text = mint(redis_url, policies)["token"]
    head = ask(asked.port, "HEAD", TRAEFIK, token=text, fields=ASKED)
    post = ask(asked.port, "POST", TRAEFIK, token=text, fields=ASKED, content=b"x" * 70_000)
    assert [(200, b"", "0")] * 2 == [(a.status, a.content, a.field("content-length")) for a in (head, post)]
    fields = "".join(f"{name}: {value}\r\n" for name, value in [*ASKED, ("Authorization", f"Bearer {text}")])
    first = f"PUT {TRAEFIK} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 5\r\n\r\nGET /"
    last = f"GET {TRAEFIK} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"
    received = send_raw(asked.port, (first + last).encode())
    assert 2 == received.count(b"HTTP/1.1 200 OK\r\n")


def test_a_path_that_two_readers_could_take_for_two_is_refused(asked: GatewayServer) -> None:
    """The rules for paths are those of proxied requests."""
    for uri in ("/api/../v1", "/api%2fv1", "//api", "/api/%00"):
        answer = ask(asked.port, "GET", TRAEFIK, fields=[*ASKED[:3], ("X-Forwarded-Uri", uri)])
        assert 400 == answer.status
        assert "malformed_target" == answer.json()["code"]


def test_a_question_costs_what_the_request_costs(asked: GatewayServer, redis_url: str, policies: Path) -> None:
    """Proxied or asked about, a request is charged once, by the same counter, and notes the same use."""
    created = mint(redis_url, policies)
    target = ASKED[-1][1]
    answers: list[Answer] = [
        ask(asked.port, "GET", TRAEFIK, token=created["token"], fields=ASKED),
        ask(asked.port, "GET", target, token=created["token"]),
        ask(asked.port, "GET", f"/-/authorize/envoy{target}", token=created["token"], fields=ASKED[:1]),
    ]
    left = [(a.field("ratelimit") or "").partition(";t=")[0] for a in answers]
    assert [f'"minute";r={n}' for n in (999, 998, 997)] == left
    assert run_json("token", "show", created["id"], "--redis", redis_url)["last_used_at"] is not None


def test_failed_credentials_count_for_the_client(serve: Serve, redis_url: str, policies: Path) -> None:
    """One client that guesses locks out itself, not those who come through the same proxy."""
    gateway = serve(redis_url, environment={**TRUSTING, "GATEWAY_FAILED_CREDENTIALS": "2/minute"})
    good, bad = mint(redis_url, policies)["token"], "sys_" + "0" * 40
    statuses = [ask(gateway.port, "GET", TRAEFIK, token=bad, fields=ASKED).status for _ in range(3)]
    assert [401, 401, 429] == statuses
    other = [("X-Forwarded-For", "203.0.113.10"), *ASKED[1:]]
    assert [429, 200] == [ask(gateway.port, "GET", TRAEFIK, token=good, fields=f).status for f in (ASKED, other)]


def test_redis_away_is_503_for_who_asks(serve: Serve, own_redis: RedisServer, policies: Path) -> None:
    """Never 200 and never 401; nginx, which knows no 503, is told so in a field."""
    gateway = serve(own_redis.url, environment=TRUSTING)
    text = mint(own_redis.url, policies)["token"]
    own_redis.stop()
    answer = ask(gateway.port, "GET", TRAEFIK, token=text, fields=ASKED)
    assert 503 == answer.status
    assert "1" == answer.field("retry-after")
    assert "store_unavailable" == answer.json()["code"]
    original = [ASKED[0], ("X-Original-Method", "GET"), ("X-Original-URL", "http://any.example/api")]
    nginx = ask(gateway.port, "GET", "/-/authorize/nginx", token=text, fields=original)
    assert 403 == nginx.status
    assert "503" == nginx.field("x-error-status")
    assert 503 == ask(gateway.port, "GET", "/-/whoami", token=text).status


def test_whoami_tells_a_token_who_it_is_and_charges_nothing(
    asked: GatewayServer, redis_url: str, policies: Path
) -> None:
    """Twice the same answer, after one request that was charged; asking is no use of the token."""
    created = mint(redis_url, policies, "--scope", "read", "--expires", "2100-01-01T00:00:00Z")

    def who() -> Answer:
        return ask(asked.port, "GET", "/-/whoami", token=created["token"])

    assert "never" in str(run_json("token", "show", created["id"], "--redis", redis_url)["last_used_at"] or "never")
    assert [1000, 1000] == [who().json()["quotas"][0]["remaining"] for _ in range(2)]
    assert run_json("token", "show", created["id"], "--redis", redis_url)["last_used_at"] is None
    ask(asked.port, "GET", "/api/v1/whoami", token=created["token"])
    answers = [who(), who()]
    assert [(200, "no-store", "application/json")] * 2 == [
        (a.status, a.field("cache-control"), a.field("content-type")) for a in answers
    ]
    said = answers[-1].json()
    (quota,) = said.pop("quotas")
    assert {
        "id": created["id"],
        "name": "CI",
        "policy": "system",
        "plan": "",
        "project": "website",
        "owner": "",
        "scopes": ["read"],
        "expires_at": "2100-01-01T00:00:00Z",
    } == said
    assert 0 < quota.pop("reset_seconds") <= 60
    assert {"name": "minute", "limit": 1000, "window_seconds": 60, "remaining": 999} == {
        name: quota[name] for name in ("name", "limit", "window_seconds", "remaining")
    }
    assert '"minute";q=1000;w=60' == answers[-1].field("ratelimit-policy")


def test_whoami_refuses_what_any_request_would_be_refused_for(
    asked: GatewayServer, redis_url: str, policies: Path
) -> None:
    """No credential, a malformed, an unknown, a revoked and a disabled one, two at once, and other methods."""
    where = ("--redis", redis_url, "--policies", str(policies))
    revoked, disabled = mint(redis_url, policies), mint(redis_url, policies)
    revoking = run_command("token", "revoke", revoked["id"], "--redis", redis_url)
    disabling = run_command("token", "update", disabled["id"], "--disable", *where)
    assert [0, 0] == [revoking.exit_code, disabling.exit_code]
    missing = ask(asked.port, "GET", "/-/whoami")
    assert 401 == missing.status
    assert 'Bearer realm="system"' == missing.field("www-authenticate")
    for text in ("sys_0", revoked["token"], disabled["token"]):
        answer = ask(asked.port, "GET", "/-/whoami", token=text)
        assert 401 == answer.status
        assert "invalid_token" == answer.json()["code"]
    twice = [("Authorization", f"Bearer {revoked['token']}")]
    assert 400 == ask(asked.port, "GET", "/-/whoami", token=disabled["token"], fields=twice).status
    other = ask(asked.port, "POST", "/-/whoami", token=disabled["token"])
    assert 405 == other.status
    assert {"GET", "HEAD"} == set((other.field("allow") or "").split(", "))


@pytest.fixture
def two_policies(policies: Path) -> Iterator[Path]:
    """Another policy of the same hosts and the same prefix of tokens."""
    text = (policies / "system.toml").read_text(encoding="utf-8")
    (policies / "another.toml").write_text(
        text.replace('name = "system"', 'name = "another"')
        .replace("/api/v1/", "/other/")
        .replace("* /**", "* /other/**")
    )
    yield policies


def test_whoami_finds_the_policy_of_the_token(share: Share, redis_url: str, two_policies: Path) -> None:
    """Where several policies could have minted it, the answer is of the one that did."""
    gateway = share("trusting")
    text = mint(redis_url, two_policies)["token"]
    assert "system" == ask(gateway.port, "GET", "/-/whoami", token=text).json()["policy"]
