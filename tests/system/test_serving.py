"""`gateway serve` as its operator knows it: start, reload, stop, workers, what is forwarded."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.client import ask
from tests.support.processes import wait_until
from tests.support.raw import RawBackend, read_head
from tests.support.relay_thread import relay_to
from tests.system.conftest import Serve, Share, mint
from tests.system.test_bad_backends import write_policy

EXPORT = "/api/v1/projects/website/translations/export?lang=de"


def serve_and_fail(*options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A start that must fail, with what it said."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", "serve", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def test_a_port_that_is_taken_is_said(redis_url: str, policies: Path) -> None:
    """The start ends with code 2 and names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = serve_and_fail("--policies", str(policies), "--redis", redis_url, "--listen", address)
    assert 2 == ended.returncode
    assert f"gateway: listen: cannot listen on {address}: Address already in use" == ended.stderr.splitlines()[-1]


def test_a_start_without_redis_names_the_choices(policies: Path) -> None:
    """Without --redis nothing is served, and both ways to name a store are told."""
    environment = {name: "" for name in os.environ if name.startswith("GATEWAY_")}
    ended = serve_and_fail("--policies", str(policies), environment=environment)
    assert 2 == ended.returncode
    assert "--redis redis://" in ended.stderr
    assert "--redis memory://" in ended.stderr


def test_a_url_of_no_redis_is_said_before_anything_is_served(policies: Path) -> None:
    """A Redis URL without its scheme ends the start with the schemes there are."""
    ended = serve_and_fail("--policies", str(policies), "--redis", "localhost:6379", "--workers", "2")
    assert 2 == ended.returncode
    assert ended.stderr.startswith("gateway: redis: Redis URL must specify")


def test_a_start_with_mistakes_in_policies_names_all_of_them(redis_url: str, policies: Path) -> None:
    """Every mistake of every file is a line on standard error, and nothing is served."""
    (policies / "a.toml").write_text('name = "a"\nupstrem = "x"\n')
    (policies / "b.toml").write_text("name = ")
    ended = serve_and_fail("--policies", str(policies), "--redis", redis_url)
    assert 2 == ended.returncode
    assert "a.toml: $.upstrem: unknown key 'upstrem': did you mean 'upstream'?" in ended.stderr
    assert "b.toml: $: not TOML" in ended.stderr


def test_an_access_log_that_cannot_be_written_is_said(redis_url: str, policies: Path, tmp_path: Path) -> None:
    """The start ends with code 2 and names the file."""
    file = tmp_path / "absent" / "access.log"
    ended = serve_and_fail("--policies", str(policies), "--redis", redis_url, "--access-log", str(file))
    assert 2 == ended.returncode
    assert f"gateway: access log: {file}: No such file or directory\n" == ended.stderr


def test_an_unknown_policy_in_upstream_is_said(redis_url: str, policies: Path) -> None:
    """--upstream with a name that no policy has ends the start."""
    ended = serve_and_fail("--policies", str(policies), "--redis", redis_url, "--upstream", "nobody=http://127.0.0.1:1")
    assert 2 == ended.returncode
    assert "no policy is named 'nobody'" in ended.stderr


def test_the_embedded_store_has_one_worker(policies: Path) -> None:
    """Two workers would each have a store of their own: refused."""
    ended = serve_and_fail("--policies", str(policies), "--redis", "memory://", "--workers", "2")
    assert 2 == ended.returncode
    assert "--workers 1" in ended.stderr


def test_one_round_trip_before_the_verdict(serve: Serve, redis_url: str, policies: Path) -> None:
    """On the wire to Redis a proxied request, a hit and a 304 each cost exactly one round trip."""
    text = mint(redis_url, policies)["token"]
    with relay_to(urlsplit(redis_url).port or 0) as relay:
        gateway = serve(f"redis://127.0.0.1:{relay.port}/0")
        first = ask(gateway.port, "GET", EXPORT, token=text)
        tag = first.field("etag") or ""
        counts = []
        for target, fields, status in (
            ("/api/v1/whoami", [], 200),
            (EXPORT, [], 200),
            (EXPORT, [("If-None-Match", tag)], 304),
            (EXPORT, [("If-None-Match", f'"other", {tag.removeprefix("W/")}')], 304),
            ("/api/v1/whoami", [("Authorization", "Bearer sys_nonsense")], 400),
        ):
            relay.round_trips.clear()
            assert status == ask(gateway.port, "GET", target, token=text, fields=fields).status
            counts.append(len(relay.round_trips))
        assert [1, 1, 1, 1, 0] == counts


def test_a_changed_policy_is_served_and_a_wrong_one_is_not(serve: Serve, redis_url: str, policies: Path) -> None:
    """A rule that is added works without a restart; a mistake leaves the last good set and health says so."""
    gateway = serve(redis_url)
    text = mint(redis_url, policies)["token"]
    file = policies / "system.toml"
    good = file.read_text().replace('match = "* /**"', 'match = "* /api/**"')
    assert 404 != ask(gateway.port, "GET", "/healthz", token=text).status
    file.write_text(good)
    wait_until(lambda: ask(gateway.port, "GET", "/healthz", token=text).status == 404, "the narrower rule is served")
    file.write_text(good.replace("[token]", "[tokens]"))

    def health() -> str:
        answer: dict[str, str] = ask(gateway.port, "GET", "/-/health").json()
        return answer["policies"]

    wait_until(lambda: health() == "older than the files", "health knows of the mistake")
    assert 200 == ask(gateway.port, "GET", "/api/v1/whoami", token=text).status
    wait_until(lambda: "$.tokens: unknown key 'tokens': did you mean 'token'?" in gateway.text(), "the log says so")
    file.write_text(good)
    wait_until(lambda: health() == "current", "the files are served again")


def test_a_stop_lets_requests_under_way_end(serve: Serve, redis_url: str, policies: Path) -> None:
    """After SIGTERM the request that the backend still works on is answered, and the gateway ends with code 0."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def answer_late(connection: socket.socket) -> None:
        read_head(connection)
        is_asked.set()
        assert may_answer.wait(20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    with RawBackend(answer_late) as backend:
        write_policy(policies, backend.port, response_timeout="20s")
        gateway = serve(redis_url)
        text = mint(redis_url, policies)["token"]
        answers = []
        asking = threading.Thread(target=lambda: answers.append(ask(gateway.port, "GET", "/work", token=text)))
        asking.start()
        assert is_asked.wait(10)
        gateway.send(signal.SIGTERM)
        wait_until(lambda: "Waiting for connections to close" in gateway.text(), "the gateway is stopping")
        may_answer.set()
        asking.join(20)
        assert [(200, b"done")] == [(answer.status, answer.content) for answer in answers]
        assert 0 == gateway.stop()


def test_all_workers_serve_and_one_that_is_killed_is_replaced(serve: Serve, redis_url: str, policies: Path) -> None:
    """Requests go on while a worker dies by SIGKILL."""
    gateway = serve(redis_url, "--workers", "2")
    text = mint(redis_url, policies)["token"]
    wait_until(lambda: gateway.text().count("Application startup complete") == 2, "both workers are up")
    children = subprocess.run(["pgrep", "-P", str(gateway.popen.pid)], capture_output=True, text=True, check=True)
    workers = [int(line) for line in children.stdout.split() if b"spawn_main" in command_line(int(line))]
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: gateway.text().count("Application startup complete") == 3, "a new worker is up")
    assert {200} == {ask(gateway.port, "GET", "/api/v1/whoami", token=text).status for _ in range(20)}


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_token_bucket_admits_its_burst(share: Share, redis_url: str, policies: Path) -> None:
    """Three at once and no fourth; the fields say so, and Retry-After is when one unit is back."""
    file = policies / "system.toml"
    bucket = 'minute = { limit = "1/hour", algorithm = "token-bucket", burst = 3 }'
    file.write_text(file.read_text().replace('minute = "1000/minute"', bucket))
    gateway = share()
    text = mint(redis_url, policies)["token"]
    answers = [ask(gateway.port, "GET", "/api/v1/whoami", token=text) for _ in range(4)]
    assert [200, 200, 200, 429] == [answer.status for answer in answers]
    assert {'"minute";q=3;w=10800'} == {answer.field("ratelimit-policy") for answer in answers}
    left = [(answer.field("ratelimit") or "").split(";")[1] for answer in answers]
    assert ["r=2", "r=1", "r=0", "r=0"] == left
    assert 3500 < int(answers[-1].field("retry-after") or 0) <= 3600 + 360


def test_what_the_backend_receives(share: Share, redis_url: str, policies: Path) -> None:
    """The token's identity and the request as it came; no credential, no hop-by-hop field, nothing a client made up."""
    gateway = share()
    token = mint(redis_url, policies)
    sent: list[tuple[str, str | bytes]] = [
        ("Accept", "a"),
        ("accept", "b"),
        ("Connection", "keep-alive, X-Private"),
        ("X-Private", "secret"),
        ("TE", "trailers"),
        ("X-Gateway-Owner", "mallory"),
        ("x_gateway_project", "other"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Request-Id", "build-42"),
        ("X-Name", b"caf\xe9"),
    ]
    answer = ask(
        gateway.port, "GET", "/api/v1/whoami?a=%2F&b", token=token["token"], fields=sent, host="Site.example:8443"
    )
    received = answer.json()
    assert "/api/v1/whoami?a=%2F&b" == received["target"]
    fields = [tuple(pair) for pair in received["fields"]]
    assert [
        ("host", "site.example:8443"),
        ("accept", "a"),
        ("accept", "b"),
        ("x-name", "caf\xe9"),
        ("via", "1.1 gateway"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "site.example:8443"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "build-42"),
        ("traceparent", dict(fields)["traceparent"]),
        ("x-gateway-token-id", token["id"]),
        ("x-gateway-token-name", "CI"),
        ("x-gateway-project", "website"),
        ("x-gateway-owner", ""),
        ("x-gateway-scopes", "read"),
        ("cdn-loop", dict(fields)["cdn-loop"]),
    ] == fields
    assert "build-42" == answer.field("x-request-id")


def test_a_trusted_proxy_tells_the_client(share: Share, redis_url: str, policies: Path) -> None:
    """Its X-Forwarded-For and -Proto are passed on, with its own address added; the access log names the client."""
    gateway = share("trusting")
    text = mint(redis_url, policies)["token"]
    sent = [("X-Forwarded-For", "1.1.1.1, 203.0.113.9"), ("X-Forwarded-Proto", "https")]
    answer = ask(gateway.port, "GET", "/api/v1/whoami", token=text, fields=sent)
    received = dict(answer.json()["fields"])
    assert "1.1.1.1, 203.0.113.9, 127.0.0.1" == received["x-forwarded-for"]
    assert "https" == received["x-forwarded-proto"]
    assert "203.0.113.9" == gateway.record_of(answer)["client"]


def test_content_streams_to_the_backend_and_back(share: Share, redis_url: str, policies: Path) -> None:
    """Eight megabytes go out and come back unchanged, with a length and in chunks."""
    gateway = share()
    text = mint(redis_url, policies)["token"]
    content = bytes(range(256)) * 32768
    answer = ask(gateway.port, "POST", "/api/v1/echo", token=text, content=content)
    assert 200 == answer.status
    assert content == answer.content
    command = ["curl", "-s", "-H", f"Authorization: Bearer {text}", "-H", "Transfer-Encoding: chunked"]
    url = f"http://127.0.0.1:{gateway.port}/api/v1/echo"
    echoed = subprocess.run([*command, "--data-binary", "@-", url], input=content, capture_output=True, check=True)
    assert content == echoed.stdout


def test_head_and_empty_answers(share: Share, redis_url: str, policies: Path) -> None:
    """HEAD has the fields of GET and no content, from the backend and from the cache."""
    gateway = share()
    text = mint(redis_url, policies)["token"]
    first = ask(gateway.port, "HEAD", EXPORT, token=text)
    whole = ask(gateway.port, "GET", EXPORT, token=text)
    cached = ask(gateway.port, "HEAD", EXPORT, token=text)
    lengths = {answer.field("content-length") for answer in (first, whole, cached)}
    assert {str(len(whole.content))} == lengths
    assert b"" == first.content
    assert b"" == cached.content
    assert (cached.field("cache-status") or "").startswith("gateway; hit; ttl=")
    assert whole.field("etag") == cached.field("etag")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_content_passes(share: Share, redis_url: str, policies: Path, status: bytes) -> None:
    """204 and 304 of the backend reach the client without content, also where the backend announces a length."""

    def answer(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 " + status + b'\r\nContent-Length: 10\r\nETag: "a"\r\n\r\n')

    with RawBackend(answer) as backend:
        write_policy(policies, backend.port)
        gateway = share()
        text = mint(redis_url, policies)["token"]
        got = ask(gateway.port, "GET", "/plain", token=text, fields=[("If-None-Match", '"a"')])
        assert int(status[:3]) == got.status
        assert b"" == got.content
        assert got.field("content-length") is None
        assert '"a"' == got.field("etag")
        assert "Traceback" not in gateway.text()


def test_an_export_is_fetched_once_and_shared_by_its_project(share: Share, redis_url: str, policies: Path) -> None:
    """Another worker and another token of the project get the stored answer; what a 304 must carry is there."""
    gateway = share("node 1")
    first, second = (mint(redis_url, policies)["token"] for _ in range(2))
    stored = ask(gateway.port, "GET", EXPORT, token=first)
    assert "gateway; fwd=uri-miss; stored" == stored.field("cache-status")
    for _ in range(6):
        hit = ask(gateway.port, "GET", EXPORT, token=second)
        assert stored.content == hit.content
        assert stored.field("etag") == hit.field("etag")
        assert (hit.field("cache-status") or "").startswith("gateway; hit; ttl=")
        assert hit.field("age") is not None
    unchanged = ask(gateway.port, "GET", EXPORT, token=second, fields=[("If-None-Match", stored.field("etag") or "")])
    assert 304 == unchanged.status
    assert b"" == unchanged.content
    assert stored.field("etag") == unchanged.field("etag")
    assert "private, no-cache" == unchanged.field("cache-control")
    assert unchanged.field("date") == hit.field("date")
    assert unchanged.field("ratelimit") is not None


def test_the_pepper_is_part_of_the_digest(
    share: Share, serve: Serve, redis_url: str, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token minted under a pepper works only where the gateway has the same one."""
    with monkeypatch.context() as patched:
        patched.setenv("GATEWAY_TOKEN_PEPPER", "s3cret")
        peppered = mint(redis_url, policies)["token"]
    plain, secret = share(), serve(redis_url, environment={"GATEWAY_TOKEN_PEPPER": "s3cret"})
    statuses = [ask(gateway.port, "GET", "/api/v1/whoami", token=peppered).status for gateway in (plain, secret)]
    assert [401, 200] == statuses
    assert "s3cret" not in plain.text() + secret.text()
