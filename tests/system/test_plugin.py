"""GatewayPlugin in a Litestar app (tests/examples/plugin_app.py), as its user runs it: uvicorn and a real Redis."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gateway.core.tokens.text import build_checksum
from tests.support.client import Answer, ask
from tests.support.command_line import run_command, run_json
from tests.support.processes import Process, RedisServer, free_port, is_listening, wait_until
from tests.support.redis_clock import wait_for_next_millisecond

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide" / "plugin.md"
POLICY = ROOT / "tests" / "examples" / "plugin_policy.toml"
APP = "tests.examples.plugin_app:app"
EXPORT = "/projects/website/export"
SHOP = "/projects/shop/export"

Mint = Callable[..., dict[str, Any]]


class App(Process):
    """The example app under uvicorn."""

    def __init__(self, folder: Path, redis_url: str, *options: str) -> None:
        self.port = free_port()
        self.redis_url = redis_url
        self.policy = folder / "own.toml"
        self.policy.write_text(POLICY.read_text())
        self.where = ("--policies", str(self.policy), "--redis", redis_url)
        self.environment = {"GATEWAY_REDIS_URL": redis_url, "GATEWAY_POLICIES": str(self.policy)}
        command = [sys.executable, "-m", "uvicorn", APP, "--port", str(self.port), "--app-dir", str(ROOT)]
        super().__init__([*command, *options], folder / "app.log", self.environment)
        wait_until(lambda: is_listening(self.port) or self.popen.poll() is not None, "the app listens")

    def get(self, target: str, token: str | None = None, *fields: tuple[str, str]) -> Answer:
        return ask(self.port, "GET", target, token=token, host="own.example", fields=fields)


def run_litestar(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The app's own command line."""
    command = [sys.executable, "-m", "litestar", "--app", APP, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **environment}
    )


@contextmanager
def open_events(app: App, token: str) -> Iterator[http.client.HTTPResponse]:
    """The events of a project, open until the end of the `with` block."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=15)
    connection.request("GET", "/projects/website/events", headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    assert 200 == response.status
    try:
        yield response
    finally:
        response.close()
        connection.close()


@pytest.fixture(scope="module")
def app(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    running = App(tmp_path_factory.mktemp("app"), redis_server.url)
    yield running
    running.stop()


@pytest.fixture
def mint(app: App) -> Mint:
    """Tokens, minted as the gateway's own command line does."""

    def create(*options: str, plan: str = "pro", project: str = "website") -> dict[str, Any]:
        own = ("--policy", "own", "--project", project, "--name", "CI", "--plan", plan)
        created: dict[str, Any] = run_json("token", "create", *own, *options, *app.where)
        return created

    return create


def test_a_guarded_handler_needs_a_token(app: App, mint: Mint) -> None:
    """401 with a challenge, 403 in the policy's error format, and the handler's own answer for who may."""
    missing = app.get(EXPORT)
    assert 401 == missing.status
    assert "missing_credentials" == missing.json()["code"]
    assert ['Bearer realm="own"', 'ApiKey realm="own", header="x-api-key"'] == missing.all("www-authenticate")
    writer = mint("--scope", "texts:write")["token"]
    refused = app.get(EXPORT, writer)
    assert 403 == refused.status
    assert {"error": "forbidden here"} == refused.json()
    assert 'scope="exports:read"' in refused.all("www-authenticate")[0]
    other = mint("--scope", "exports:read", project="other")["token"]
    assert 403 == app.get(EXPORT, other).status
    reader = mint("--scope", "exports:read")["token"]
    answer = app.get(EXPORT, reader)
    assert 200 == answer.status
    assert "website" == answer.json()["project"]
    assert 200 == app.get(EXPORT, None, ("X-API-Key", reader)).status
    assert 400 == app.get(EXPORT, reader, ("X-API-Key", writer)).status


def test_the_handler_is_told_who_asks(app: App, mint: Mint) -> None:
    """By the parameter `principal`; the credential itself it does not get, nor what a client says of itself."""
    created = mint("--scope", "exports:read")
    expected = {
        "token_id": created["id"],
        "token_name": "CI",
        "project": "website",
        "owner": "",
        "scopes": ["exports:read"],
    }
    assert expected == app.get("/whoami", created["token"]).json()
    forged = [("X-Gateway-Owner", "root"), ("X_Gateway_Token_Id", "root"), ("X-Request-Id", "build-42")]
    seen = app.get("/request?a=%2Fb", created["token"], *forged)
    assert "http://own.example/request?a=%2Fb" == seen.json()["url"]
    assert created["token"] not in seen.content.decode()
    assert "root" not in seen.content.decode()
    fields = dict(seen.json()["fields"])
    assert "own.example" == fields["host"]
    assert "build-42" == fields["x-request-id"]
    assert {"via", "x-forwarded-for"}.isdisjoint(fields)


def test_an_export_is_made_once_and_then_not_modified(app: App, mint: Mint) -> None:
    """The policy's cache keeps the handler's answer under a weak tag; a handler that writes ends it by its group."""
    reader = mint("--scope", "exports:read", project="shop")["token"]
    writer = mint("--scope", "texts:write", project="shop")["token"]
    first, second = app.get(SHOP, reader), app.get(SHOP, reader)
    tag = first.field("etag") or ""
    assert tag.startswith('W/"')
    assert tag == second.field("etag")
    assert "gateway; fwd=uri-miss; stored" == first.field("cache-status")
    assert (second.field("cache-status") or "").startswith("gateway; hit")
    unchanged = app.get(SHOP, reader, ("If-None-Match", tag))
    assert 304 == unchanged.status
    assert b"" == unchanged.content
    assert tag == unchanged.field("etag")
    assert "gzip" == app.get(SHOP, reader, ("Accept-Encoding", "gzip")).field("content-encoding")
    assert first.content == second.content
    for answer in (first, second, unchanged):
        assert 1 == len(answer.all("date"))
        assert [] == answer.all("via")
    content = b'{"greeting": "hello"}'
    fields = [("Content-Type", "application/json")]
    changed = ask(app.port, "POST", "/projects/shop/texts", token=writer, fields=fields, content=content)
    assert 201 == changed.status
    assert {"changed": 1, "by": "CI"} == changed.json()
    wait_for_next_millisecond(app.redis_url)
    assert "gateway; fwd=uri-miss; stored" == app.get(SHOP, reader).field("cache-status")


def test_a_handler_is_asked_once_for_all(app: App, mint: Mint) -> None:
    """Twenty who pull the same at once are one call of the handler."""
    text = mint("--scope", "exports:read", project="crowd")["token"]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: app.get("/projects/crowd/export", text), range(20)))
    assert [200] * 20 == [answer.status for answer in answers]
    assert 1 == len({answer.content for answer in answers})
    assert 1 == app.get("/made").json()["crowd"]


def test_a_document_of_a_handler_has_variants(app: App, mint: Mint) -> None:
    """The handler gives the document, and the gateway what is asked for; what is not offered is a 400."""
    text = mint("--scope", "exports:read")["token"]
    answer = app.get("/projects/website/texts?format=csv&lang=de", text)
    assert 200 == answer.status
    assert b'"key","de"\r\n"greeting","Hallo"\r\n' == answer.content
    assert "Hello" in app.get("/projects/website/texts", text).content.decode()
    refused = app.get("/projects/website/texts?format=xls", text)
    assert 400 == refused.status
    assert "invalid_option" == refused.json()["code"]


def test_quotas_are_the_plans(app: App, mint: Mint) -> None:
    """RateLimit fields on every answer, and 429 with Retry-After when they are used up, over all handlers."""
    text = mint("--scope", "exports:read", plan="free")["token"]
    answers = [app.get(target, text) for target in ("/whoami", EXPORT, EXPORT, "/ruled", "/request", "/whoami")]
    assert [200] * 5 + [429] == [answer.status for answer in answers]
    assert ['"minute";q=5;w=60'] * 6 == [answer.field("ratelimit-policy") for answer in answers]
    left = [(answer.field("ratelimit") or "").partition(";t=")[0] for answer in answers]
    assert [f'"minute";r={number}' for number in (4, 3, 2, 1, 0, 0)] == left
    assert int(answers[-1].field("retry-after") or 0) >= 1


def test_a_revoked_token_is_refused_on_the_next_request(app: App, mint: Mint) -> None:
    """Also for what is in the cache."""
    created = mint("--scope", "exports:read")
    assert 200 == app.get(EXPORT, created["token"]).status
    assert 0 == run_command("token", "revoke", created["id"], *app.where[2:]).exit_code
    refused = app.get(EXPORT, created["token"])
    assert 401 == refused.status
    assert "invalid_token" == refused.json()["code"]


@pytest.mark.parametrize(("target", "first"), [("/ticks", b"tick 0\n"), ("/events", b"data: hello\r\n")])
def test_an_open_stream_ends_with_its_token(app: App, mint: Mint, target: str, first: bytes) -> None:
    """A handler that streams without end, or is silent, is cut when the token is revoked, and never ended cleanly."""
    created = mint("--scope", "exports:read")
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=15)
    connection.request("GET", target, headers={"Authorization": f"Bearer {created['token']}"})
    response = connection.getresponse()
    assert 200 == response.status
    assert first == response.readline()
    assert 0 == run_command("token", "revoke", created["id"], *app.where[2:]).exit_code
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()


def test_a_client_that_leaves_ends_its_stream(app: App, mint: Mint) -> None:
    """The handler is told, as it would be without the gateway; the log has no mistake."""
    text = mint("--scope", "exports:read")["token"]
    before, log = app.get("/ended").json(), app.text()
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=15)
    connection.request("GET", "/ticks", headers={"Authorization": f"Bearer {text}"})
    response = connection.getresponse()
    assert b"tick 0\n" == response.readline()
    response.close()
    connection.close()
    wait_until(lambda: app.get("/ended").json() > before, "the handler ends")
    said = app.text().removeprefix(log)
    assert "Traceback" not in said
    assert "broke off" not in said


def test_events_are_nobodys_export(app: App, mint: Mint) -> None:
    """Under a rule with a cache: two who ask get each a stream, and who leaves ends one of them."""
    text = mint("--scope", "exports:read")["token"]
    before = app.get("/ended").json()
    with open_events(app, text) as first:
        with open_events(app, text) as second:
            assert [b"data: website\r\n"] * 2 == [stream.readline() for stream in (first, second)]
        wait_until(lambda: app.get("/ended").json() > before, "the handler of the second ends")
        assert [b"\r\n", b"data: website\r\n"] == [first.readline(), first.readline()]
    wait_until(lambda: app.get("/ended").json() == before + 2, "the handler of the first ends")


def test_events_whose_client_has_left_hold_up_no_stop(redis_url: str, tmp_path: Path) -> None:
    """uvicorn waits for what is under way: for nothing, as soon as nobody is there any more."""
    app = App(tmp_path, redis_url)
    try:
        own = ("--policy", "own", "--project", "website", "--name", "CI", "--plan", "pro")
        text = run_json("token", "create", *own, "--scope", "exports:read", *app.where)["token"]
        with open_events(app, text) as stream:
            assert b"data: website\r\n" == stream.readline()
        app.send(signal.SIGTERM)
        app.popen.wait(20)
        assert "Finished server process" in app.text()
        assert "Traceback" not in app.text()
    finally:
        app.stop()


def test_a_rule_guards_whatever_handles_its_path(app: App, mint: Mint) -> None:
    """Without a guard, and below a mount; in every spelling that the router would take for it."""
    text = mint("--scope", "exports:read")["token"]
    for target in ("/ruled", "/ruled/", "/%72uled", "/mounted", "/mounted/", "/mounted/x/y", "/%6dounted/x"):
        assert 401 == app.get(target).status, target
        assert 200 == app.get(target, text).status, target
    for target in ("//ruled", "/./ruled", "/x/../ruled", "/ruled%2F", "//mounted/x"):
        assert app.get(target).status in (400, 404), target


def test_what_has_neither_guard_nor_rule_is_left_alone(app: App) -> None:
    """No token is asked for, nothing is counted or added but that nobody says who he is; 404 and 405 are the app's."""
    answer = app.get("/open", "own_nonsense", ("X-Gateway-Owner", "root"))
    assert 200 == answer.status
    assert b"nobody" == answer.content
    assert {"date", "server", "content-type", "content-length"} == {name for name, _ in answer.fields}
    assert [404, 405] == [app.get("/nowhere").status, ask(app.port, "DELETE", "/open").status]


def test_a_handlers_mistake_is_the_apps_own(app: App, mint: Mint) -> None:
    """500 as the app answers it, and the next request is answered."""
    text = mint()["token"]
    broken = app.get("/broken", text)
    assert 500 == broken.status
    assert {"status_code": 500, "detail": "Internal Server Error"} == broken.json()
    assert 200 == app.get("/whoami", text).status


def test_a_websocket_is_authorized_when_it_is_opened(app: App, mint: Mint) -> None:
    """The handler is told who asks; without a token the answer is that of any request."""
    url = f"ws://127.0.0.1:{app.port}/talk"
    text = mint("--scope", "exports:read")["token"]
    with connect(url, additional_headers={"Authorization": f"Bearer {text}"}) as socket:
        assert "CI and no credential" == socket.recv()
    with pytest.raises(InvalidStatus) as refused, connect(url):
        pass
    response = refused.value.response
    assert 401 == response.status_code
    assert "missing_credentials" == json.loads(response.body or b"{}")["code"]


@pytest.mark.parametrize("is_lost", [False, True])
def test_an_open_websocket_is_in_flight(app: App, mint: Mint, is_lost: bool) -> None:
    """Where one at a time is allowed the second is refused, until the first is closed or its connection is lost."""
    token = mint("--scope", "exports:read", plan="single")["token"]
    url, fields = f"ws://127.0.0.1:{app.port}/echo", {"Authorization": f"Bearer {token}"}

    def may_open() -> bool:
        try:
            with connect(url, additional_headers=fields) as socket:
                socket.send("hello")
                return socket.recv() == "hello"
        except InvalidStatus as refused:
            assert 429 == refused.response.status_code
            assert ["open"] == json.loads(refused.response.body or b"{}")["violated-policies"]
            return False

    with connect(url, additional_headers=fields) as first:
        assert not may_open()
        first.send("still here")
        assert "still here" == first.recv()
        assert not may_open()
        if is_lost:
            first.socket.shutdown(SHUT_RDWR)
    wait_until(may_open, "the next is let in")
    wait_until(may_open, "and the one after that")


@pytest.mark.parametrize("target", ["/echo", "/ticking"])
@pytest.mark.parametrize("is_child", [False, True])
def test_an_open_websocket_ends_with_its_token(app: App, mint: Mint, target: str, is_child: bool) -> None:
    """Closed with 1008 when the token or its parent is revoked, and its handler ends; another token's goes on."""
    revoked, kept = mint("--scope", "exports:read"), mint("--scope", "exports:read")
    child = run_json("token", "create", "--parent", revoked["id"], "--name", "actor", *app.where)
    before, log = app.get("/ended").json(), app.text()

    def open_websocket(path: str, token: str) -> AbstractContextManager[ClientConnection]:
        return connect(f"ws://127.0.0.1:{app.port}{path}", additional_headers={"Authorization": f"Bearer {token}"})

    text = (child if is_child else revoked)["token"]
    with open_websocket(target, text) as cut, open_websocket("/echo", kept["token"]) as going:
        cut.send("tick")
        assert "tick" == cut.recv()
        assert 0 == run_command("token", "revoke", revoked["id"], *app.where[2:]).exit_code
        with pytest.raises(ConnectionClosedError):
            while cut.recv(timeout=15) == "tick":
                pass
        assert 1008 == cut.close_code
        assert "invalid_token" == cut.close_reason
        wait_until(lambda: app.get("/ended").json() > before, "the handler ends")
        going.send("still here")
        assert "still here" == going.recv()
        assert before + 1 == app.get("/ended").json()
    wait_until(lambda: "the WebSocket was closed" in app.text().removeprefix(log), "the log tells of it")
    assert "Traceback" not in app.text().removeprefix(log)


@pytest.mark.parametrize(
    "change",
    [("token", "update", "--disable"), ("token", "update", "--expires", "2s"), ("token", "rotate", "--overlap", "1s")],
    ids=["disabled", "expired", "rotated"],
)
def test_what_is_open_ends_when_its_token_may_no_longer(app: App, mint: Mint, change: tuple[str, ...]) -> None:
    """A WebSocket with 1008, events without their last chunk, and the handlers of both."""
    token = mint("--scope", "exports:read")
    before, log = app.get("/ended").json(), app.text()
    fields = {"Authorization": f"Bearer {token['token']}"}
    with (
        open_events(app, token["token"]) as events,
        connect(f"ws://127.0.0.1:{app.port}/echo", additional_headers=fields) as socket,
    ):
        socket.send("hello")
        assert "hello" == socket.recv()
        assert 0 == run_command(*change[:2], token["id"], *change[2:], *app.where).exit_code
        with pytest.raises(ConnectionClosedError):
            socket.recv(timeout=15)
        assert (1008, "invalid_token") == (socket.close_code, socket.close_reason)
        with pytest.raises(http.client.IncompleteRead):
            events.read()
        wait_until(lambda: app.get("/ended").json() == before + 2, "both handlers end")
    assert "Traceback" not in app.text().removeprefix(log)


def test_a_stop_gives_websockets_time(redis_url: str, tmp_path: Path) -> None:
    """With the page's option for uvicorn they go on like requests, and are closed with 1001 when that is over."""
    (option,) = re.findall(r"--ws \S+ --timeout-graceful-shutdown \d+", PAGE.read_text(encoding="utf-8"))
    app = App(tmp_path, redis_url, *option.split()[:-1], "2")
    try:
        own = ("--policy", "own", "--project", "website", "--name", "CI", "--plan", "pro")
        text = run_json("token", "create", *own, "--scope", "exports:read", *app.where)["token"]
        url, fields = f"ws://127.0.0.1:{app.port}/echo", {"Authorization": f"Bearer {text}"}
        with connect(url, additional_headers=fields) as ending, connect(url, additional_headers=fields) as lasting:
            app.send(signal.SIGTERM)
            wait_until(lambda: not is_listening(app.port), "the server stops")
            for socket in (ending, lasting):
                socket.send("still here")
                assert "still here" == socket.recv()
            ending.close()
            assert 1000 == ending.close_code
            with pytest.raises(ConnectionClosedOK):
                lasting.recv(timeout=15)
            assert 1001 == lasting.close_code
        app.popen.wait(20)
        assert "Finished server process" in app.text()
        assert "Traceback" not in app.text()
    finally:
        app.stop()


def test_the_document_tells_of_tokens(app: App) -> None:
    """OpenAPI has the schemes of the policy, which scopes a handler needs, and how it refuses."""
    document = app.get("/schema/openapi.json").json()
    assert {
        "gateway-bearer": ("http", "bearer"),
        "gateway-x-api-key": ("apiKey", "x-api-key"),
    } == {
        name: (scheme["type"], scheme.get("scheme") or scheme.get("name"))
        for name, scheme in document["components"]["securitySchemes"].items()
    }
    operation = document["paths"]["/projects/{project}/export"]["get"]
    assert [{"gateway-bearer": ["exports:read"]}, {"gateway-x-api-key": ["exports:read"]}] == operation["security"]
    assert {"200", "401", "403", "429"} <= operation["responses"].keys()
    assert ["project"] == [parameter["name"] for parameter in operation["parameters"]]
    assert "security" not in document["paths"]["/open"]["get"]


def test_the_apps_command_line_has_the_tokens(app: App) -> None:
    """Minted, and listed without their text, in this app's Redis; what is wrong is said in words."""
    own = ("--policy", "own", "--project", "website", "--name", "CI", "--plan", "pro", "--json")
    minted = run_litestar(app.environment, "token", "create", *own, "--scope", "exports:read")
    assert 0 == minted.returncode, minted.stderr
    created = json.loads(minted.stdout)
    assert 200 == app.get(EXPORT, created["token"]).status
    listed = run_litestar(app.environment, "token", "list", "--policy", "own")
    assert 0 == listed.returncode
    assert created["id"] in listed.stdout
    assert created["token"] not in listed.stdout
    wrong = run_litestar(app.environment, "token", "create", "--policy", "mine", "--project", "x", "--name", "y")
    assert wrong.returncode != 0
    assert "no policy is named 'mine'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_apps_command_line_has_policies_exports_and_history(app: App, mint: Mint) -> None:
    """Beside tokens and owners, with this app's settings."""
    created = mint("--scope", "exports:read")
    assert 200 == app.get(EXPORT, created["token"]).status
    for arguments, said in (
        (("policy", "check"), "own"),
        (("cache", "purge", "--policy", "own", "--all"), "own"),
        (("audit", "search", "--policy", "own"), created["id"]),
    ):
        done = run_litestar(app.environment, *arguments)
        assert 0 == done.returncode, done.stderr
        assert said in done.stdout + done.stderr


def test_a_refused_handshake_is_no_mistake_of_the_server(app: App) -> None:
    """Its log has neither an error nor a traceback."""
    log = app.text()
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{app.port}/talk"):
        pass
    wait_until(lambda: "/talk" in app.text().removeprefix(log), "the server logs it")
    said = app.text().removeprefix(log)
    assert "ERROR" not in said
    assert "Traceback" not in said


def test_a_stop_waits_for_background_work(redis_url: str, tmp_path: Path) -> None:
    """uvicorn knows of it: the handler runs in the request's own call."""
    app = App(tmp_path, redis_url)
    try:
        own = ("--policy", "own", "--project", "website", "--name", "CI", "--plan", "pro")
        text = run_json("token", "create", *own, *app.where)["token"]
        assert b"begun" == app.get("/work", text).content
        app.send(signal.SIGTERM)
        app.popen.wait(20)
        assert "the work is done" in app.text()
    finally:
        app.stop()


def test_policies_are_reloaded(app: App) -> None:
    """A changed file counts without a restart: here the rule for an unguarded handler goes."""
    assert 401 == app.get("/ruled").status
    text = app.policy.read_text()
    app.policy.write_text(text.replace('match = "GET /ruled"', 'match = "GET /elsewhere"'))
    wait_until(lambda: app.get("/ruled").status == 500, "the rule is gone, and with it the principal")
    app.policy.write_text(text)
    wait_until(lambda: app.get("/ruled").status == 401, "the rule is back")


def test_redis_away_is_503(own_redis: RedisServer, tmp_path: Path) -> None:
    """Never allow, and never 401; what is unguarded goes on."""
    app = App(tmp_path, own_redis.url)
    try:
        own_redis.stop()
        text = "own_" + "0" * 34
        text += build_checksum(text)
        answer = app.get("/whoami", text)
        assert 503 == answer.status
        assert "1" == answer.field("retry-after")
        assert 200 == app.get("/open").status
    finally:
        app.stop()


def test_an_unknown_scope_is_found_at_the_start(redis_url: str, tmp_path: Path) -> None:
    """A guard that asks for what the policy does not know ends the start, with what was meant."""
    (tmp_path / "own.toml").write_text(POLICY.read_text().replace('"texts:write"', '"texts:rite"'))
    environment = {"GATEWAY_REDIS_URL": redis_url, "GATEWAY_POLICIES": str(tmp_path / "own.toml")}
    done = run_litestar(environment, "info")
    assert done.returncode != 0
    assert "unknown scope 'texts:write': did you mean 'texts:rite'?" in done.stdout + done.stderr


def test_the_sample_repository_passes_its_own_tests(tmp_path: Path) -> None:
    """As its author runs them: in its folder, without Redis, with nothing but the package."""
    sample = tmp_path / "litestar_app"
    shutil.copytree(ROOT / "tests" / "examples" / "litestar_app", sample)
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "PYTEST"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=sample, env=environment)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_the_app_of_the_docs_runs(redis_url: str, tmp_path: Path) -> None:
    """The app of the plugin's page with its policy, by its commands."""
    part = PAGE.read_text(encoding="utf-8").partition("## A complete app")[2]
    (tmp_path / "app.py").write_text(part.partition("```python\n")[2].partition("```")[0])
    (tmp_path / "own.toml").write_text(part.partition("```toml\n")[2].partition("```")[0])
    environment = {"GATEWAY_REDIS_URL": redis_url, "GATEWAY_POLICIES": str(tmp_path / "own.toml")}
    port = free_port()
    command = [sys.executable, "-m", "litestar", "--app-dir", str(tmp_path), "--app", "app:app"]
    running = Process([*command, "run", "--port", str(port)], tmp_path / "app.log", environment)
    try:
        wait_until(lambda: is_listening(port), "the app listens")
        own = ("--policy", "own", "--project", "website", "--name", "CI", "--scope", "exports:read")
        where = ("--policies", str(tmp_path / "own.toml"), "--redis", redis_url)
        text = run_json("token", "create", *own, *where)["token"]
        answer = ask(port, "GET", "/projects/website/export", token=text)
        assert 200 == answer.status
        assert "gateway; fwd=uri-miss; stored" == answer.field("cache-status")
        again = ask(
            port,
            "GET",
            "/projects/website/export",
            token=text,
            fields=[("If-None-Match", answer.field("etag") or "")],
        )
        assert 304 == again.status
        assert b"CI of website" == ask(port, "GET", "/me", token=text).content
    finally:
        running.stop()
