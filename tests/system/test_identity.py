"""Who asks, from where and in which trace: what a real backend is told through the running gateway."""

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.adapters.test_assertions import RFC_8037_KEY, make_key
from tests.support.client import Answer, ask
from tests.support.processes import GatewayServer, wait_until
from tests.system.conftest import Serve, Share, mint

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "backends.md").read_text(encoding="utf-8")
ON_PAGE = "http://127.0.0.1:8080/-/jwks.json"
MIRROR = "/api/v1/whoami"
"""Shows the request as it reached the backend."""
EXPORT = "/api/v1/projects/website/translations/export"


@pytest.fixture
def upstream(policies: Path, backend_port: int) -> Callable[[str], None]:
    """Writes what the policy says of its backend."""

    def write(keys: str) -> None:
        file = policies / "system.toml"
        plain = f'upstream = "http://127.0.0.1:{backend_port}"'
        table = f'upstream = {{ url = "http://127.0.0.1:{backend_port}", {keys} }}'
        file.write_text(file.read_text().replace(plain, table))

    return write


def received(answer: Answer) -> dict[str, str]:
    fields: list[tuple[str, str]] = answer.json()["fields"]
    assert len(fields) == len(dict(fields))
    return dict(fields)


def code_of(language: str, beginning: str) -> str:
    """The block of docs/guide/backends.md that begins so."""
    found = re.search(rf"```{language}\n({re.escape(beginning)}.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@functools.cache
def verifier(port: int) -> Callable[[str, str, str], dict[str, Any]]:
    """The page's way to verify in Python, with the keys of this gateway."""
    names: dict[str, Any] = {}
    exec(code_of("python", "import jwt").replace(ON_PAGE, f"http://127.0.0.1:{port}/-/jwks.json"), names)
    verify: Callable[[str, str, str], dict[str, Any]] = names["who_asks"]
    return verify


def test_a_backend_verifies_who_asks(
    share: Share, redis_url: str, policies: Path, upstream: Callable[[str], None]
) -> None:
    """The page's Python, by the published keys: the token, its scopes and project, for this request and no other."""
    upstream('assertion = { audience = "shop" }')
    gateway = share("trusting")
    created = mint(redis_url, policies, "--scope", "read")
    forged = ("X-Gateway-Assertion", "forged")
    fields = received(ask(gateway.port, "GET", MIRROR + "?a=b", token=created["token"], fields=[forged]))
    assertion = fields["x-gateway-assertion"]
    claims = verifier(gateway.port)("GET", MIRROR, assertion)
    expected = {"sub": created["id"], "scope": "read", "project": "website"}
    expected |= {"aud": "shop", "iss": "gateway", "policy": "system"}
    assert expected == {name: claims[name] for name in expected}
    assert 30 == claims["exp"] - claims["iat"]
    assert fields["x-request-id"] == claims["jti"]
    assert created["token"] not in json.dumps(claims)
    for method, path, shown in (
        ("POST", MIRROR, assertion),
        ("GET", "/api/v1/other", assertion),
        ("GET", MIRROR, assertion[:-4] + "AAAA"),
        ("GET", MIRROR, "forged"),
    ):
        with pytest.raises((PermissionError, jwt.InvalidTokenError)):
            verifier(gateway.port)(method, path, shown)


def test_an_expired_assertion_is_refused(
    share: Share, redis_url: str, policies: Path, upstream: Callable[[str], None], tmp_path: Path
) -> None:
    """By the page's Python: one that was signed by the same key, for this request, and has ended."""
    upstream('assertion = { audience = "shop" }')
    gateway = share("trusting")
    (published,) = ask(gateway.port, "GET", "/-/jwks.json").json()["keys"]
    claims = {"iss": "gateway", "aud": "shop", "sub": "x", "htm": "GET", "path": "/", "exp": 1, "iat": 0}
    old = jwt.encode(claims, RFC_8037_KEY, algorithm="EdDSA", headers={"kid": published["kid"]})
    with pytest.raises(jwt.ExpiredSignatureError):
        verifier(gateway.port)("GET", "/", old)
    new = jwt.encode(claims | {"exp": 2**32}, RFC_8037_KEY, algorithm="EdDSA", headers={"kid": published["kid"]})
    assert "x" == verifier(gateway.port)("GET", "/", new)["sub"]


def test_a_backend_in_javascript_verifies_who_asks(
    share: Share, redis_url: str, policies: Path, upstream: Callable[[str], None], tmp_path: Path
) -> None:
    """The page's lines for Node, with nothing but what Node brings along."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on this machine")
    upstream('assertion = { audience = "shop" }')
    gateway = share("trusting")
    created = mint(redis_url, policies)
    assertion = received(ask(gateway.port, "GET", MIRROR, token=created["token"]))["x-gateway-assertion"]
    code = code_of("js", "import {").replace(ON_PAGE, f"http://127.0.0.1:{gateway.port}/-/jwks.json")
    tries = """
const refused = (...shown) => { try { whoAsks(...shown); return false } catch { return true } };
const [assertion, path] = process.argv.slice(2);
const forged = assertion.slice(0, -4) + "AAAA";
console.log(JSON.stringify([whoAsks("GET", path, assertion).sub, refused("POST", path, assertion),
  refused("GET", "/", assertion), refused("GET", path, forged), refused("GET", path, "a.b.c")]));
"""
    script = tmp_path / "verify.mjs"
    script.write_text(code + tries)
    done = subprocess.run([node, str(script), assertion, MIRROR], capture_output=True, text=True, check=True)
    assert [created["id"], True, True, True, True] == json.loads(done.stdout)


def test_keys_are_renewed_without_a_gap(
    serve: Serve, redis_url: str, policies: Path, upstream: Callable[[str], None], tmp_path: Path
) -> None:
    """All keys of the file are published, and no private one; what either signed verifies while both are there."""
    upstream("assertion = true")
    old, new = make_key(), make_key()
    file = tmp_path / "keys.pem"
    file.write_text(old + new)
    first = serve(redis_url, environment={"GATEWAY_ASSERTION_KEY": str(file)})
    file.write_text(new + old)
    second = serve(redis_url, environment={"GATEWAY_ASSERTION_KEY": str(file)})
    text = mint(redis_url, policies)["token"]
    sets = [ask(gateway.port, "GET", "/-/jwks.json") for gateway in (first, second)]
    assert ["application/jwk-set+json"] * 2 == [answer.field("content-type") for answer in sets]
    kids = [[key["kid"] for key in answer.json()["keys"]] for answer in sets]
    assert kids[0] == kids[1][::-1]
    assert all("d" not in key for answer in sets for key in answer.json()["keys"])
    for gateway, kid in ((first, kids[0][0]), (second, kids[1][0])):
        assertion = received(ask(gateway.port, "GET", MIRROR, token=text))["x-gateway-assertion"]
        assert kid == jwt.get_unverified_header(assertion)["kid"]
        for answer in sets:
            key = next(key for key in jwt.PyJWKSet.from_json(answer.content.decode()).keys if key.key_id == kid)
            assert "aud" not in jwt.decode(assertion, key, algorithms=["EdDSA"])


def test_the_path_of_an_assertion_is_the_backends(
    share: Share, redis_url: str, policies: Path, upstream: Callable[[str], None]
) -> None:
    """Behind a rewrite the backend compares with what it got."""
    upstream('assertion = true, rewrite = { prefix = "/old", replacement = "/api/v1" }')
    gateway = share("trusting")
    answer = ask(gateway.port, "GET", "/old/whoami?a", token=mint(redis_url, policies)["token"])
    claims = jwt.decode(received(answer)["x-gateway-assertion"], options={"verify_signature": False})
    assert MIRROR == claims["path"]
    assert MIRROR + "?a" == answer.json()["target"]


def test_nothing_is_asserted_unasked(share: Share, redis_url: str, policies: Path) -> None:
    """A backend that wants none gets none, least of all a client's; there are no keys then."""
    gateway = share()
    forged = [("X-Gateway-Assertion", "forged"), ("X_Gateway_Assertion", "forged")]
    fields = received(ask(gateway.port, "GET", MIRROR, token=mint(redis_url, policies)["token"], fields=forged))
    assert [] == [name for name in fields if "assertion" in name]
    assert {"keys": []} == ask(gateway.port, "GET", "/-/jwks.json").json()


def test_without_a_key_nothing_starts(redis_url: str, policies: Path, upstream: Callable[[str], None]) -> None:
    """A policy that promises assertions to its backend is a mistake where there is no key; so is a key that is none."""
    upstream("assertion = true")
    folder = ("--policies", str(policies), "--redis", redis_url)
    for environment, mistake in (
        (
            {"GATEWAY_ASSERTION_KEY": ""},
            "system.toml: $.upstream.assertion: this gateway has no key to sign assertions",
        ),
        ({"GATEWAY_ASSERTION_KEY": "/nowhere.pem"}, "assertion key: /nowhere.pem: No such file or directory"),
    ):
        server = GatewayServer(policies.parent, *folder, environment=environment)
        wait_until(lambda server=server: server.popen.poll() is not None, "it ends")  # type: ignore[misc]  # bound at once
        assert 2 == server.stop()
        assert mistake in server.text()


def test_a_hot_reload_cannot_ask_for_what_there_is_no_key_for(
    serve: Serve, redis_url: str, policies: Path, upstream: Callable[[str], None]
) -> None:
    """The set that is served stays, and health says that the files are ahead."""
    gateway = serve(redis_url)
    upstream("assertion = true")

    def is_behind() -> bool:
        return bool(ask(gateway.port, "GET", "/-/health").json()["policy_mistakes"])

    wait_until(is_behind, "the mistake is noticed")
    assert 200 == ask(gateway.port, "GET", MIRROR, token=mint(redis_url, policies)["token"]).status


def test_an_export_for_the_cache_is_fetched_with_an_assertion(
    share: Share, redis_url: str, policies: Path, upstream: Callable[[str], None]
) -> None:
    """What is stored is asked for in the name of the one who came first; the next one costs no signature."""
    upstream("assertion = true")
    gateway = share("trusting")
    text = mint(redis_url, policies)["token"]
    answers = [ask(gateway.port, "GET", EXPORT, token=text) for _ in range(2)]
    assert [(200, "gateway; fwd=uri-miss; stored"), (200, "gateway; hit; ttl=3600")] == [
        (answer.status, re.sub(r"ttl=3\d\d\d", "ttl=3600", answer.field("cache-status") or "")) for answer in answers
    ]


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_trace_goes_on_through_the_gateway(share: Share, redis_url: str, policies: Path) -> None:
    """The backend is called by the span that the access log names, in the client's trace."""
    gateway = share()
    sent = [("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"), ("tracestate", "a=1"), ("tracestate", "b=2")]
    answer = ask(gateway.port, "GET", MIRROR, token=mint(redis_url, policies)["token"], fields=sent)
    fields, record = received(answer), gateway.record_of(answer)
    assert f"00-{TRACE}-{record['span']}-01" == fields["traceparent"]
    assert "a=1,b=2" == fields["tracestate"]
    assert TRACE == record["trace"]


@pytest.mark.parametrize("sent", [[], [("traceparent", "00-rubbish-01"), ("tracestate", "a=1")]])
def test_a_request_without_a_trace_begins_one(
    share: Share, redis_url: str, policies: Path, sent: list[tuple[str, str]]
) -> None:
    """Sampled, unless the policy says otherwise; the access log has it."""
    gateway = share()
    answer = ask(gateway.port, "GET", MIRROR, token=mint(redis_url, policies)["token"], fields=sent)
    fields, record = received(answer), gateway.record_of(answer)
    assert f"00-{record['trace']}-{record['span']}-01" == fields["traceparent"]
    assert "tracestate" not in fields


def test_forwarded_is_read_and_written(
    serve: Serve, redis_url: str, policies: Path, upstream: Callable[[str], None]
) -> None:
    """From a trusted proxy that writes it, to a backend that wants it; X-Forwarded-For says the same then."""
    upstream("forwarded = true")
    environment = {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1", "GATEWAY_FORWARDING_FIELD": "forwarded"}
    gateway = serve(redis_url, environment=environment)
    sent = [
        ("Forwarded", 'for=1.1.1.1;proto=http, for="[2001:db8::7]:4711";proto=https'),
        ("X-Forwarded-For", "9.9.9.9"),
    ]
    text = mint(redis_url, policies)["token"]
    answer = ask(gateway.port, "GET", MIRROR, token=text, fields=sent, host="shop.example:8443")
    fields = received(answer)
    expected = 'for="[2001:db8::7]";host="shop.example:8443";proto=https, for=127.0.0.1;by=_gateway'
    assert expected == fields["forwarded"]
    assert "1.1.1.1, 2001:db8::7, 127.0.0.1" == fields["x-forwarded-for"]
    assert "https" == fields["x-forwarded-proto"]
    assert "2001:db8::7" == gateway.record_of(answer)["client"]


def test_a_strangers_forwarded_is_dropped(
    serve: Serve, redis_url: str, policies: Path, upstream: Callable[[str], None]
) -> None:
    """Who is not trusted is the client, whatever it says."""
    upstream("forwarded = true")
    gateway = serve(redis_url, environment={"GATEWAY_FORWARDING_FIELD": "forwarded"})
    sent = [("Forwarded", "for=1.1.1.1;proto=https")]
    fields = received(ask(gateway.port, "GET", MIRROR, token=mint(redis_url, policies)["token"], fields=sent))
    assert 'for=127.0.0.1;host="app.tokencraft.dev";proto=http;by=_gateway' == fields["forwarded"]


def test_a_quota_in_shadow_is_not_told(share: Share, redis_url: str, policies: Path) -> None:
    """whoami lists what is enforced, as the RateLimit fields do: for a quota in shadow nobody is refused."""
    file = policies / "system.toml"
    limits = 'minute = "1000/minute"\ntight = { limit = "1/minute", shadow = true }'
    file.write_text(file.read_text().replace('minute = "1000/minute"', limits))
    token = mint(redis_url, policies)["token"]
    answer = ask(share().port, "GET", "/-/whoami", token=token)
    assert ["minute"] == [quota["name"] for quota in answer.json()["quotas"]]
