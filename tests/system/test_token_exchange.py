"""Jobs get tokens for ID tokens: real gateways with two workers, real Redis, an issuer with real keys."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import redis
from click.testing import CliRunner, Result

from gateway.cli.main import commands
from gateway.core.trust.checking import NO_TRUST
from gateway.core.trust.messages import ACCESS_TOKEN, GRANT_TYPE, MAXIMUM_CONTENT_BYTES
from tests.support.client import Answer, ask
from tests.support.command_line import run_command, run_json
from tests.support.documents import blocks, page
from tests.support.issuer import DISCOVERY, GITHUB, REQUEST_TOKEN, Issuer
from tests.support.processes import GatewayServer, wait_until
from tests.support.raw import RawBackend
from tests.support.relay_thread import relay_to
from tests.support.shared_gateway import SharedGateway
from tests.system.conftest import Serve, Share
from tests.system.test_pull import always, reply

POLICY = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["sys_"]
[scopes]
read = "Read"
write = "Write"
[plans.free]
[plans.ci]
quotas = {{ minute = "5/minute" }}
[[rules]]
match = "GET /api/v1/projects/{{project}}/translations/export"
project = "{{project}}"
scopes = ["read"]
cache = {{ fresh = "1h" }}
[[rules]]
match = "POST /**"
scopes = ["write"]
[[trust]]
issuer = "{issuer}"
audience = "https://api.example.com"
claims = {{ repository = "acme/*", ref = ["refs/heads/main", "refs/tags/*"] }}
scopes = ["read", "write"]
plan = "ci"
project = "website"
lifetime = "5m"
[[trust.tests]]
claims = {{ repository = "acme/website", ref = "refs/tags/v1" }}
expect = "granted"
[[trust.tests]]
claims = {{ repository = "evil/website", ref = "refs/heads/main" }}
expect = "refused"
"""
EXPORT = "/api/v1/projects/website/translations/export"
ADDRESS = "/-/token-exchange"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def policies(tmp_path: Path, backend_port: int, issuer: Issuer) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "system.toml").write_text(POLICY.format(backend=backend_port, issuer=issuer.url))
    return folder


@pytest.fixture
def gateway(share: Share) -> SharedGateway:
    return share("node 1")


def exchange(gateway: GatewayServer, id_token: str, **form: str) -> Answer:
    fields = {
        "grant_type": GRANT_TYPE,
        "subject_token": id_token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        **form,
    }
    content = urlencode({name: value for name, value in fields.items() if value}).encode()
    return send(gateway, content)


def send(gateway: GatewayServer, content: bytes, media_type: str = "application/x-www-form-urlencoded") -> Answer:
    return ask(gateway.port, "POST", ADDRESS, fields=[("Content-Type", media_type)], content=content)


def refused(answer: Answer, error: str, status: int = 400) -> str:
    """The description of a refusal, which must be of this kind."""
    assert (status, error) == (answer.status, answer.json().get("error")), answer
    assert "no-store" == answer.field("cache-control")
    description: str = answer.json()["error_description"]
    return description


def granted(answer: Answer) -> str:
    assert 200 == answer.status, answer
    token: str = answer.json()["access_token"]
    return token


def test_a_job_gets_a_token_for_its_id_token(
    gateway: SharedGateway, issuer: Issuer, policies: Path, redis_url: str
) -> None:
    """It is an ordinary token with what the policy grants, for some minutes; its name and its history are the job's."""
    id_token = issuer.sign()
    answer = exchange(gateway, id_token)
    token = granted(answer)
    described = {name: value for name, value in answer.json().items() if name != "access_token"}
    expected = {"issued_token_type": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": "read write"}
    assert expected == described
    assert "no-store" == answer.field("cache-control")
    assert 200 == ask(gateway.port, "GET", EXPORT, token=token).status
    assert 403 == ask(gateway.port, "GET", EXPORT.replace("website", "shop"), token=token).status
    identity = ask(gateway.port, "GET", "/-/whoami", token=token).json()
    assert ("acme/website build 7.1", "ci", "website") == (identity["name"], identity["plan"], identity["project"])
    where = ("--policies", str(policies), "--redis", redis_url)
    (entry,) = run_json("audit", "search", "--token", identity["id"], *where)
    assert ("token.exchange", "acme/website build 7.1") == (entry["action"], entry["name"])
    assert id_token not in gateway.text()
    assert token not in gateway.text()
    wait_until(lambda: gateway.records_of(identity["id"]) != [], "the access log has the exchange")
    assert "POST /-/token-exchange" == gateway.records_of(identity["id"])[0]["rule"]


def test_a_job_is_named_on_one_line(gateway: SharedGateway, issuer: Issuer) -> None:
    """A workflow may be called what its author likes; a name of a token is short, and has no line breaks."""
    token = granted(exchange(gateway, issuer.sign(workflow="a\nb" + "x" * 300)))
    name = ask(gateway.port, "GET", "/-/whoami", token=token).json()["name"]
    assert (255, "acme/website a bx") == (len(name), name[:17])


def test_tokens_of_one_repository_share_their_quotas(gateway: SharedGateway, issuer: Issuer) -> None:
    """Ten jobs of it have five requests a minute together; another repository has its own."""
    tokens = [granted(exchange(gateway, issuer.sign(run_number=str(number)))) for number in range(6)]
    statuses = [ask(gateway.port, "GET", EXPORT, token=token).status for token in tokens]
    assert [200] * 5 + [429] == statuses
    other = granted(exchange(gateway, issuer.sign(repository="acme/shop")))
    assert 200 == ask(gateway.port, "GET", EXPORT, token=other).status


def test_an_id_token_is_exchanged_once(gateway: SharedGateway, issuer: Issuer) -> None:
    """Of many workers and connections at once exactly one gets a token; later ones are told why not."""
    id_token = issuer.sign()
    exchange(gateway, issuer.sign())  # the keys are known from now on
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: exchange(gateway, id_token), range(16)))
    assert [200] + [400] * 15 == sorted(answer.status for answer in answers)
    told = refused(exchange(gateway, id_token), "invalid_grant")
    assert "The ID token was exchanged already: each is good for one token." == told


def test_a_second_writing_of_an_id_token_is_the_same(gateway: SharedGateway, issuer: Issuer) -> None:
    """The signature of a curve has two forms, which are both valid: neither gives a second token."""
    issuer.rotate("curve", "ES256")
    id_token = issuer.sign("curve")
    granted(exchange(gateway, id_token))
    head, _, signature = id_token.rpartition(".")
    padded = f"{head}.{signature}="
    assert {400} == {exchange(gateway, text).status for text in (id_token, padded, mirror(id_token))}
    told = refused(exchange(gateway, mirror(id_token)), "invalid_grant")
    assert "The ID token was exchanged already: each is good for one token." == told


def mirror(id_token: str) -> str:
    """The same ID token with the other signature that is valid, (r, n - s)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, _, signature = id_token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    mirrored = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    return f"{head}.{base64.urlsafe_b64encode(mirrored).rstrip(b'=').decode()}"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("changes", "logged", "told"),
    [
        ({"repository": "evil/website"}, "repository of the ID token is 'evil/website'", NO_TRUST),
        ({"repository": None}, "repository of the ID token is absent", NO_TRUST),
        ({"ref": "refs/heads/feature"}, "ref of the ID token is 'refs/heads/feature'", NO_TRUST),
        ({"aud": "https://other.example"}, "aud of the ID token", "The ID token is for another audience (aud)."),
        ({"aud": None}, "aud of the ID token is absent", "The ID token is for another audience (aud)."),
        ({"iss": "https://evil.example"}, "iss of the ID token is 'https://evil.example'", NO_TRUST),
        ({"exp": NOW - 3600}, "exp of the ID token", "The ID token has expired."),
        ({"exp": None}, "exp of the ID token is absent", "Its exp is missing or no time."),
        ({"iat": NOW + 7200, "nbf": None}, "iat of the ID token", "The ID token is from the future"),
        ({"nbf": NOW + 7200}, "nbf of the ID token", "The ID token is from the future"),
        ({"iat": NOW - 3 * 86400}, "iat of the ID token", "The ID token is older than a day."),
    ],
)
def test_each_wrong_claim_is_refused(
    gateway: SharedGateway, issuer: Issuer, changes: dict[str, Any], logged: str, told: str
) -> None:
    """The log names the claim and its value; the client learns nothing of what the policy trusts."""
    id_token = issuer.sign(**changes)
    description = refused(exchange(gateway, id_token), "invalid_grant")
    assert description.startswith(told)
    assert "acme" not in description
    wait_until(lambda: logged in gateway.text(), f"the log has {logged!r}")
    assert id_token not in gateway.text()


def test_what_another_key_has_signed_is_refused(gateway: SharedGateway, issuer: Issuer) -> None:
    """A signature of somebody else, a key that the issuer does not have, and no signature at all."""
    with Issuer() as forger:
        forged = forger.sign(iss=issuer.url)
    told = "The signature of the ID token is not valid."
    assert told == refused(exchange(gateway, forged), "invalid_grant")
    head, payload, _ = issuer.sign().split(".")
    assert told == refused(exchange(gateway, f"{head}.{payload}."), "invalid_grant")
    assert told == refused(exchange(gateway, issuer.sign(headers={"kid": "unknown"})), "invalid_grant")


def test_a_rotated_key_is_taken_and_the_old_one_is_not(serve: Serve, redis_url: str, issuer: Issuer) -> None:
    """A gateway that does not know the keys yet takes those that the issuer has now."""
    old = issuer.sign()
    issuer.rotate("second", "ES256")
    gateway = serve(redis_url)
    granted(exchange(gateway, issuer.sign("second")))
    assert "The signature of the ID token is not valid." == refused(exchange(gateway, old), "invalid_grant")


def test_an_issuer_that_is_away_is_no_verdict(gateway: SharedGateway, issuer: Issuer) -> None:
    """The answer is 503 with Retry-After, as the same ID token may be good in a moment."""
    document = issuer.documents.pop(DISCOVERY)
    id_token = issuer.sign()
    answer = exchange(gateway, id_token)
    refused(answer, "temporarily_unavailable", 503)
    assert "10" == answer.field("retry-after")
    issuer.documents[DISCOVERY] = document


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token_type": ""}, "invalid_request"),
        ({"subject_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"resource": "https://api.example.com"}, "invalid_target"),
        ({"audience": "another"}, "invalid_target"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"subject_token": "x"}, "invalid_grant"),
    ],
)
def test_each_mistake_has_its_error_code(
    gateway: SharedGateway, issuer: Issuer, form: dict[str, str], error: str
) -> None:
    """RFC 6749 5.2 and RFC 8693 2.2.2."""
    refused(exchange(gateway, issuer.sign(), **form), error)


def test_a_mistake_costs_no_id_token(gateway: SharedGateway, issuer: Issuer) -> None:
    """One that was refused for the request around it can still be exchanged, with fewer scopes too."""
    id_token = issuer.sign()
    refused(exchange(gateway, id_token, scope="admin"), "invalid_scope")
    answer = exchange(gateway, id_token, scope="read", audience="system")
    assert "read" == answer.json()["scope"]
    assert 403 == ask(gateway.port, "POST", "/x", token=granted(answer), content=b"").status


def test_an_id_token_in_the_place_of_a_scope_is_in_no_log(gateway: SharedGateway, issuer: Issuer) -> None:
    """Not even its beginning, which has the claims."""
    id_token = issuer.sign()
    refused(exchange(gateway, id_token, scope=id_token), "invalid_scope")
    wait_until(lambda: "a scope that the policy does not have is not granted" in gateway.text(), "it is in the log")
    assert id_token[:20] not in gateway.text()


def test_requests_of_another_form_are_refused(gateway: SharedGateway, issuer: Issuer) -> None:
    """JSON, repeated parameters, other methods, and more than an ID token needs."""
    repeated = urlencode([("grant_type", GRANT_TYPE)] * 2).encode()
    refused(send(gateway, repeated), "invalid_request")
    refused(send(gateway, json.dumps({"grant_type": GRANT_TYPE}).encode(), "application/json"), "invalid_request")
    refused(send(gateway, b"\xff=\xfe"), "invalid_request")
    refused(send(gateway, b"&".join(b"a%d=1" % number for number in range(100))), "invalid_request")
    refused(send(gateway, b"x" * (MAXIMUM_CONTENT_BYTES + 1)), "invalid_request", 413)
    answer = ask(gateway.port, "GET", ADDRESS)
    assert (405, "POST") == (answer.status, answer.field("allow"))


def test_whoever_sends_many_forged_ones_is_stopped(serve: Serve, redis_url: str, issuer: Issuer) -> None:
    """They count as failed credentials of the address; ID tokens that the issuer has signed do not."""
    gateway = serve(redis_url, environment={"GATEWAY_FAILED_CREDENTIALS": "3/hour"})
    for _ in range(4):
        refused(exchange(gateway, issuer.sign(repository="evil/website")), "invalid_grant")
    for _ in range(3):
        refused(exchange(gateway, "forged"), "invalid_grant")
    answer = exchange(gateway, issuer.sign())
    assert 429 == answer.status
    assert answer.field("retry-after") is not None


def test_without_redis_there_is_no_token(serve: Serve, redis_url: str, issuer: Issuer) -> None:
    """503 with Retry-After, never a token that nobody could revoke."""
    with relay_to(urlsplit(redis_url).port or 0) as relay:
        gateway = serve(f"redis://127.0.0.1:{relay.port}/0")
        granted(exchange(gateway, issuer.sign()))
    answer = exchange(gateway, issuer.sign())
    assert (503, "store_unavailable", "1") == (answer.status, answer.json()["code"], answer.field("retry-after"))


def test_a_job_token_ends_and_leaves_nothing(
    gateway: SharedGateway, issuer: Issuer, policies: Path, redis_url: str
) -> None:
    """Its record goes a day after its end; the lists of its project lose it with a later exchange."""
    token = granted(exchange(gateway, issuer.sign()))
    identity = ask(gateway.port, "GET", "/-/whoami", token=token).json()["id"]
    with redis.Redis.from_url(redis_url) as client:
        (record,) = client.keys(f"gw1:*:token:{identity}")
        assert 86400 < client.ttl(record) <= 86400 + 300
        assert client.hexists("gw1:project:system:website:tokens", identity)
        (jobs,) = client.keys("gw1:*:jobs:*")
        client.zincrby(jobs, -3 * 86400, client.zrange(jobs, 0, 0)[0])  # as if three days had passed
        client.delete(record)
        granted(exchange(gateway, issuer.sign()))
        assert not client.hexists("gw1:project:system:website:tokens", identity)
        assert 1 == client.hlen("gw1:project:system:website:tokens") == client.zcard(jobs)


def test_a_store_that_was_emptied_exchanges_nothing(
    gateway: SharedGateway, issuer: Issuer, policies: Path, redis_url: str
) -> None:
    """It has forgotten which ID tokens were used, and a job cannot say that it is meant to be empty."""
    id_token = issuer.sign()
    token = granted(exchange(gateway, id_token))
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        for presented in (id_token, issuer.sign()):
            answer = exchange(gateway, presented)
            assert (503, "1") == (answer.status, answer.field("retry-after"))
        assert 503 == ask(gateway.port, "GET", EXPORT, token=token).status
        assert not client.exists("gw1:marker")
        assert not client.exists("gw1:project:system:website:tokens")
    assert 0 == run_command("redis", "init", "--redis", redis_url).exit_code
    granted(exchange(gateway, issuer.sign()))


def test_a_job_token_is_managed_like_any_other(
    gateway: SharedGateway, issuer: Issuer, policies: Path, redis_url: str
) -> None:
    """It is listed and revoked; but nobody makes it live longer, by a change or by rotation."""
    token = granted(exchange(gateway, issuer.sign()))
    identity = ask(gateway.port, "GET", "/-/whoami", token=token).json()["id"]
    where = ("--policies", str(policies), "--redis", redis_url)
    listed = run_json("token", "list", "--policy", "system", "--project", "website", *where)
    assert [identity] == [one["id"] for one in listed]
    assert 0 != run_command("token", "update", identity, "--expires", "30d", *where).exit_code
    assert 0 != run_command("token", "rotate", identity, "--overlap", "1h", *where).exit_code
    assert 0 == run_command("token", "update", identity, "--name", "renamed", *where).exit_code
    with redis.Redis.from_url(redis_url) as client:
        (record,) = client.keys(f"gw1:*:token:{identity}")
        assert 0 < client.ttl(record)
    assert 0 == run_command("token", "revoke", identity, "--yes", *where).exit_code
    assert 401 == ask(gateway.port, "GET", EXPORT, token=token).status


JOB = dict.fromkeys(("GITHUB_ACTIONS", "GITLAB_CI", "GATEWAY_TOKEN", "http_proxy", "https_proxy", "SSL_CERT_FILE"))


def pull(gateway: GatewayServer, file: Path, *options: str, **environment: str) -> Result:
    """Run `gateway pull` in this process, as a job without a stored token does."""
    command = ["pull", f"http://127.0.0.1:{gateway.port}{EXPORT}", "-o", str(file), *options]
    return CliRunner().invoke(commands, command, env={**JOB, **environment})


def github(issuer: Issuer) -> dict[str, str]:
    """What GitHub gives a job with `permissions: id-token: write`."""
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}{GITHUB}?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
    }


AUDIENCE = ("--audience", "https://api.example.com")


def test_a_job_on_github_pulls_without_a_stored_secret(gateway: SharedGateway, issuer: Issuer, tmp_path: Path) -> None:
    """It pulls the export, then gets a 304 with another token and leaves the file; nothing secret is printed."""
    file = tmp_path / "export.json"
    first = pull(gateway, file, *AUDIENCE, **github(issuer))
    assert (0, f"{file}: changed (200") == (first.exit_code, first.output[: len(f"{file}: changed (200")]), first.output
    before = file.stat().st_mtime_ns
    second = pull(gateway, file, *AUDIENCE, "--exit-code", **github(issuer))
    assert (0, f"{file}: unchanged (304, 0 bytes received)") == (second.exit_code, second.output.strip())
    assert before == file.stat().st_mtime_ns
    assert "sys_" not in first.output + second.output
    assert "expires" not in first.output
    assert any("api-version=2.0&audience=https%3A%2F%2Fapi.example.com" in path for path in issuer.asked)


@pytest.mark.parametrize("variable", ["GATEWAY_ID_TOKEN", "CIRCLE_OIDC_TOKEN_V2", "OWN"])
def test_a_job_shows_the_id_token_of_a_variable(
    gateway: SharedGateway, issuer: Issuer, tmp_path: Path, variable: str
) -> None:
    """GitLab and CircleCI put it into one. A second run with the same one is told why it gets nothing."""
    file, options = tmp_path / "export.json", ("--id-token-variable", "OWN") if variable == "OWN" else ()
    environment = {variable: issuer.sign()}
    assert 0 == pull(gateway, file, *options, **environment).exit_code
    again = pull(gateway, tmp_path / "second.json", *options, **environment)
    assert 3 == again.exit_code
    assert "The ID token was exchanged already" in again.output
    assert "pull all exports in one" in again.output
    assert environment[variable] not in again.output
    assert not (tmp_path / "second.json").exists()


def test_a_job_on_buildkite_asks_the_agent(gateway: SharedGateway, issuer: Issuer, tmp_path: Path) -> None:
    """The agent gives an ID token for the audience."""
    agent = tmp_path / "buildkite-agent"
    agent.write_text(f"#!/bin/sh\necho $* > {tmp_path}/asked\necho {issuer.sign()}\n")
    agent.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = pull(gateway, tmp_path / "export.json", *AUDIENCE, BUILDKITE="true", PATH=path)
    assert 0 == done.exit_code, done.output
    assert "oidc request-token --audience https://api.example.com" == (tmp_path / "asked").read_text().strip()


def test_the_guide_exchanges_by_curl(gateway: SharedGateway, issuer: Issuer) -> None:
    """The lines of the page get a token that pulls; no secret is an argument."""
    (lines,) = blocks(page("guide/ci-without-secrets.md"), "sh")
    lines = lines.replace("https://api.example.com/-/", f"http://127.0.0.1:{gateway.port}/-/")
    environment = {**os.environ, **github(issuer)}
    done = subprocess.run(
        ["sh", "-euc", f'{lines}\nprintf %s "$EXAMPLE_API_TOKEN"'],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 200 == ask(gateway.port, "GET", EXPORT, token=done.stdout).status


def test_a_stored_token_goes_first(gateway: SharedGateway, issuer: Issuer, tmp_path: Path) -> None:
    """Whoever has a token uses it: no ID token is asked for."""
    done = pull(gateway, tmp_path / "export.json", GATEWAY_TOKEN="sys_unknown", **github(issuer))
    assert 3 == done.exit_code
    assert [] == [path for path in issuer.asked if path.startswith(GITHUB)]


def test_a_job_that_nobody_trusts_is_told_what_to_do(gateway: SharedGateway, issuer: Issuer, tmp_path: Path) -> None:
    """By the default audience, the server's own address, which this policy does not have."""
    done = pull(gateway, tmp_path / "export.json", **github(issuer))
    assert 3 == done.exit_code
    assert "The ID token is for another audience" in done.output
    assert "[[trust]]" in done.output
    unasked = pull(gateway, tmp_path / "export.json", **{**github(issuer), "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "other"})
    assert (3, True) == (unasked.exit_code, "permissions: id-token: write" in unasked.output)


def test_an_issuer_that_is_away_makes_a_job_wait(gateway: SharedGateway, issuer: Issuer, tmp_path: Path) -> None:
    """It tries again as late as Retry-After says, and gives up at the end of its time."""
    issuer.documents.pop(DISCOVERY)
    done = pull(gateway, tmp_path / "export.json", *AUDIENCE, "--total-time", "2s", **github(issuer))
    assert 4 == done.exit_code
    assert "503" in done.output


def test_a_server_that_sends_an_id_token_back_does_not_show_it(issuer: Issuer, tmp_path: Path) -> None:
    """Whatever stands in for the gateway: no line of the job's log has the ID token."""
    id_token = issuer.sign()
    told = json.dumps({"error": "invalid_grant", "error_description": id_token[:200]}).encode()
    with RawBackend(always(reply(told, "Content-Type: application/json", status="400 Bad Request"))) as server:
        command = ["pull", f"http://127.0.0.1:{server.port}{EXPORT}", "-o", str(tmp_path / "x")]
        done = CliRunner().invoke(commands, command, env={**JOB, "GATEWAY_ID_TOKEN": id_token[:200]})
    assert (3, True) == (done.exit_code, "***" in done.output)
    assert id_token[:200] not in done.output


@pytest.mark.parametrize("content", [b'{"a":' + b"[" * 60_000, b'{"error":"\xff"}', b'{"error":5}', b"[]", b""])
def test_an_answer_of_another_form_is_a_refusal(content: bytes, tmp_path: Path) -> None:
    """Whatever answers, the gateway or GitHub's address, the job fails with a sentence and not with a traceback."""
    with RawBackend(always(reply(content, "Content-Type: application/json"))) as server:
        url = f"http://127.0.0.1:{server.port}"
        command = ["pull", f"{url}{EXPORT}", "-o", str(tmp_path / "x")]
        answered = CliRunner().invoke(commands, command, env={**JOB, "GATEWAY_ID_TOKEN": "id-token-of-the-job"})
        request = {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN}
        asked = CliRunner().invoke(commands, command, env={**JOB, **request})
    for done, told in ((answered, "the gateway gives no token"), (asked, "GitHub gives no ID token")):
        assert (3, True) == (done.exit_code, told in done.output), (done.output, done.exception)


def test_a_job_without_anything_is_told_of_both_ways(gateway: SharedGateway, tmp_path: Path) -> None:
    """A token in a secret, or an ID token of the job."""
    done = pull(gateway, tmp_path / "export.json")
    assert 2 == done.exit_code
    assert "GATEWAY_TOKEN" in done.output
    assert "id-token: write" in done.output
