"""Wrong requests, over a raw socket: each gets the documented answer, and nothing of it reaches the backend."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.tokens.text import build_checksum
from tests.support.client import ask
from tests.support.command_line import run_json
from tests.support.expiring import expire
from tests.support.raw import request_bytes, send_raw
from tests.support.shared_gateway import SharedGateway
from tests.system.conftest import Share, mint

HOST = b"Host: any.example"


@pytest.fixture
def gateway(share: Share) -> Iterator[SharedGateway]:
    """A running gateway whose log has no traceback after the test."""
    server = share()
    yield server
    assert "Traceback" not in server.text()


def status_of(answer: bytes) -> int:
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert match, answer[:200]
    return int(match[1])


WELL_FORMED = "sys_" + "0" * 34
UNKNOWN = (WELL_FORMED + build_checksum(WELL_FORMED)).encode()

NO_CODE = b'www-authenticate: Bearer realm="system"\r\n'
INVALID_TOKEN = b'error="invalid_token"'
INVALID_REQUEST = b'error="invalid_request"'


@pytest.mark.parametrize(
    ("fields", "status", "challenge"),
    [
        pytest.param([], 401, NO_CODE, id="no header"),
        pytest.param([b"Authorization: Basic dXNlcjpwdw=="], 401, NO_CODE, id="another scheme"),
        pytest.param([b"Authorization: Bearer"], 401, INVALID_TOKEN, id="Bearer without token"),
        pytest.param([b"Authorization: Bearer "], 401, INVALID_TOKEN, id="Bearer and a space"),
        pytest.param([b"Authorization: bearer " + UNKNOWN], 401, INVALID_TOKEN, id="lower-case scheme, unknown"),
        pytest.param([b"Authorization: Bearer " + UNKNOWN] * 2, 400, INVALID_REQUEST, id="the same twice"),
        pytest.param(
            [b"Authorization: Bearer " + UNKNOWN, b"authorization: Basic eDp5"], 400, INVALID_REQUEST, id="two headers"
        ),
        pytest.param([b"Authorization: Bearer " + b"x" * 8192], 401, INVALID_TOKEN, id="a token of 8 KiB"),
        pytest.param([b"Authorization: Bearer oops_" + UNKNOWN[4:]], 401, INVALID_TOKEN, id="wrong prefix"),
        pytest.param([b"Authorization: Bearer " + UNKNOWN[:-1] + b"!"], 401, INVALID_TOKEN, id="not base62"),
        pytest.param([b"Authorization: Bearer " + UNKNOWN[:-6] + b"000000"], 401, INVALID_TOKEN, id="wrong checksum"),
        pytest.param([b"Authorization: Bearer sys_\xe9\xff" + UNKNOWN[6:]], 401, INVALID_TOKEN, id="non-ASCII bytes"),
        pytest.param([b"Authorization: Bearer " + UNKNOWN + b" " + UNKNOWN], 401, INVALID_TOKEN, id="two in one"),
    ],
)
def test_a_bad_credential_is_refused(
    gateway: SharedGateway, fields: list[bytes], status: int, challenge: bytes
) -> None:
    """Status and challenge are those of RFC 6750, and the answer must not be stored."""
    answer = send_raw(gateway.port, request_bytes(HOST, *fields))
    assert status == status_of(answer)
    assert challenge in answer
    assert b"cache-control: no-store\r\n" in answer
    assert b"ratelimit" not in answer.lower()


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /api/../admin HTTP/1.1",
        b"GET /api/%2e%2e/admin HTTP/1.1",
        b"GET /api//admin HTTP/1.1",
        b"GET /api%2fadmin HTTP/1.1",
        b"GET /api/%5cadmin HTTP/1.1",
        b"GET /api/%00 HTTP/1.1",
        b"GET /api/%zz HTTP/1.1",
        b"GET /api/%ff HTTP/1.1",
        b"GET * HTTP/1.1",
    ],
)
def test_an_ambiguous_target_is_refused(gateway: SharedGateway, request_line: bytes) -> None:
    """A path that two readers could take for two things is 400, whatever the rules say."""
    answer = send_raw(gateway.port, request_bytes(HOST, request_line=request_line))
    assert 400 == status_of(answer)


def test_a_target_beyond_eight_kibibytes_is_refused(gateway: SharedGateway) -> None:
    """414, before anything of it is remembered."""
    request_line = b"GET /api?" + b"a" * 8192 + b" HTTP/1.1"
    assert 414 == status_of(send_raw(gateway.port, request_bytes(HOST, request_line=request_line)))


@pytest.mark.parametrize("hosts", [[], [b"Host: a", b"Host: b"], [b"Host: a b"], [b"Host: a/b"]])
def test_a_request_names_one_host(gateway: SharedGateway, hosts: list[bytes]) -> None:
    """Without Host, with two, or with something else than a host, a request is 400 (RFC 9112 3.2)."""
    assert 400 == status_of(send_raw(gateway.port, request_bytes(*hosts)))


def test_an_expired_token_is_refused(gateway: SharedGateway, redis_url: str, policies: Path) -> None:
    """A token that ended a second ago is 401, one that ends in a minute passes and says so."""
    token = mint(redis_url, policies, "--expires", "1m")
    passing = ask(gateway.port, "GET", "/api/v1/whoami", token=token["token"])
    assert 200 == passing.status
    assert token["expires_at"] == passing.field("x-token-expires-at")

    expire(redis_url, token["id"])
    refused = ask(gateway.port, "GET", "/api/v1/whoami", token=token["token"])
    assert 401 == refused.status
    assert "invalid_token" == refused.json()["code"]


def test_a_disabled_token_is_refused_until_it_is_enabled(
    gateway: SharedGateway, redis_url: str, policies: Path
) -> None:
    """Disabling acts on the next request, and so does enabling."""
    token = mint(redis_url, policies)
    options = ("--redis", redis_url, "--policies", str(policies))
    statuses = []
    for change in ("--disable", "--enable"):
        run_json("token", "update", token["id"], change, *options)
        statuses.append(ask(gateway.port, "GET", "/api/v1/whoami", token=token["token"]).status)
    assert [401, 200] == statuses


def test_what_stands_beside_the_gateways_own_addresses_is_for_rules(gateway: SharedGateway) -> None:
    """An address under its prefix that is none of its own needs what the policy says, as any other address."""
    for target in ("/-/", "/-/nothing", "/-/health/more", "/%2d/nothing"):
        answer = ask(gateway.port, "GET", target)
        assert 401 == answer.status, target
        assert "missing_credentials" == answer.json()["code"]
