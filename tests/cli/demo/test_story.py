"""`gateway demo` as its user runs it: a process of its own, real sockets, both stores."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.demo import stage, story
from gateway.core.errors import ConfigurationError
from tests.support.client import ask
from tests.support.processes import Process, free_port, is_listening, wait_until

DEMO = [sys.executable, "-m", "gateway", "demo"]
DEMO_SECONDS = 60
STATUSES = ["401", "200", "304", "403", "200", "200", "200", "200", "429", "401"]
STATUS_LINE = re.compile(r"^ {3}([1-5][0-9]{2}) [A-Z]", re.MULTILINE)
TOKEN = re.compile(r"demo_[0-9A-Za-z]{40}")
REDIS_PORT = re.compile(r"redis://127\.0\.0\.1:([0-9]+)/0")


def run_once(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DEMO, "--once", *options],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=DEMO_SECONDS,
    )


def start(folder: Path, *options: str) -> Process:
    """A demo that stays up, its story told."""
    process = Process([*DEMO, "--listen", f"127.0.0.1:{free_port()}", *options], folder / "demo.log")
    wait_until(
        lambda: "Ctrl+C ends all of it." in process.text() or process.popen.poll() is not None,
        "the demo has told its story",
        DEMO_SECONDS,
    )
    assert process.popen.poll() is None, process.text()
    return process


def ports(text: str) -> list[int]:
    """Every port of the loopback interface that the demo names: gateway, backend, Redis."""
    return sorted({int(port) for port in re.findall(r"127\.0\.0\.1:([0-9]+)", text)})


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest) -> str:
    """Each store in turn; a redis-server that is missing is not passed over in silence."""
    if request.param == "redis":
        request.getfixturevalue("redis_executable")
    return str(request.param)


def test_the_story_goes_as_told_and_ends_with_0(store: str) -> None:
    """Each step has its status, in order; nothing else is printed between them, and nothing is left running."""
    port = free_port()
    told = run_once("--store", store, "--listen", f"127.0.0.1:{port}")

    assert (told.returncode, told.stderr) == (0, "")
    assert STATUS_LINE.findall(told.stdout) == STATUSES
    for word in ('W/"', "fwd=uri-miss; stored", "gateway; hit", "Retry-After", "insufficient_scope", "invalid_token"):
        assert word in told.stdout
    assert port in ports(told.stdout)
    assert [number for number in ports(told.stdout) if is_listening(number)] == []
    assert len(told.stdout.splitlines()) <= 60


def test_a_token_is_shown_once_where_the_story_says_so(store: str) -> None:
    """The text of the token is in the line that says TOKEN= and nowhere else; curl lines have $TOKEN."""
    told = run_once("--store", store, "--listen", f"127.0.0.1:{free_port()}")

    (text,) = TOKEN.findall(told.stdout + told.stderr)
    assert [line.strip() for line in told.stdout.splitlines() if text in line] == [f"TOKEN={text}"]
    assert told.stdout.count("Bearer $TOKEN") == 5


@pytest.mark.redis
def test_the_redis_of_the_demo_is_named_for_other_commands(redis_executable: str) -> None:
    """With a real Redis the transcript has the commands that do the same, and one to look around."""
    told = run_once("--store", "redis", "--listen", f"127.0.0.1:{free_port()}")

    (port,) = set(REDIS_PORT.findall(told.stdout))
    for command in ("token create --policy demo", "token revoke", f"token list --redis redis://127.0.0.1:{port}/0"):
        assert f"$ gateway {command}" in told.stdout


def test_a_port_that_is_taken_is_said_and_another_one_used() -> None:
    """The demo does not fail over a busy port: it moves, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        told = run_once("--store", "memory", "--listen", address)

    assert told.returncode == 0
    assert f"{address} is taken" in told.stdout
    assert f"http://{address}" not in told.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_demo_cleanly(store: str, number: signal.Signals, tmp_path: Path) -> None:
    """Exit code 0, no complaint, and none of gateway, developer page, backend and redis-server is left."""
    process = start(tmp_path, "--store", store)
    listening = [port for port in ports(process.text()) if is_listening(port)]

    assert len(listening) == (4 if store == "redis" else 3)
    assert process.stop(number) == 0
    assert [port for port in ports(process.text()) if is_listening(port)] == []
    assert process.text().endswith("The demo has ended; nothing of it is left running.\n")


def test_the_second_token_is_live(tmp_path: Path) -> None:
    """Who keeps the demo running gets a token that works, beside the one the story revoked."""
    process = start(tmp_path, "--store", "memory")
    try:
        told, live = TOKEN.findall(process.text())
        export = re.search(r"EXPORT=http://127\.0\.0\.1:([0-9]+)(/\S+)", process.text())
        assert export is not None
        answers = [ask(int(export[1]), "GET", export[2], token=token) for token in (told, live)]
        assert [answer.status for answer in answers] == [401, 200]
        assert re.search(r"CI job +[0-9a-f]{24} +revoked\n +yours +[0-9a-f]{24} +active\n", process.text())
    finally:
        process.stop()


def test_the_developer_page_can_be_signed_in_to(tmp_path: Path, store: str) -> None:
    """With the admin token that the demo prints beside its address."""
    process = start(tmp_path, "--store", store)
    try:
        page = re.search(r"page +http://127\.0\.0\.1:([0-9]+) \(sign in with (gwa_[0-9A-Za-z]{40})\)", process.text())
        assert page is not None
        form = ("Content-Type", "application/x-www-form-urlencoded")
        answer = ask(int(page[1]), "POST", "/sign-in", fields=[form], content=f"token={page[2]}".encode())
        assert (303, "/") == (answer.status, answer.field("location"))
    finally:
        process.stop()


def test_a_step_that_goes_otherwise_is_named_and_ends_with_1(tmp_path: Path) -> None:
    """A gateway that sets no limit fails the story at the step that meets it."""
    generous = tmp_path / "policy.toml"
    generous.write_text(stage.POLICY.read_text().replace('"6/minute"', '"6000/minute"'))
    # In a process of its own: the demo sets up logging and signals for the whole process.
    program = f"from gateway.cli.demo import stage, story; stage.POLICY = stage.Path({str(generous)!r}); story.demo()"
    options = ["--once", "--store", "memory", "--listen", f"127.0.0.1:{free_port()}"]
    command = [sys.executable, "-c", program, *options]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEMO_SECONDS)

    assert told.returncode == 1
    assert "step 6 (Pull until the limit) went otherwise: no limit in 50 pulls" in told.stderr
    assert "7. " not in told.stdout


@pytest.mark.parametrize(("module", "store"), [("babel", "auto"), ("fakeredis", "memory")])
def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, module: str, store: str) -> None:
    """Without the extra the command says what to install, before anything is started."""
    monkeypatch.setitem(sys.modules, module, None)
    told = CliRunner().invoke(story.demo, ["--once", "--store", store])

    assert isinstance(told.exception, ConfigurationError)
    assert "pip install 'token-gateway[demo]'" in str(told.exception)
    assert told.stdout == ""


def test_a_redis_that_is_asked_for_and_missing_is_an_error() -> None:
    """`--store redis` never falls back to the embedded store; as a variable it is the same option."""
    told = run_once("--listen", f"127.0.0.1:{free_port()}", PATH="/nonexistent", GATEWAY_DEMO_STORE="redis")

    assert (told.returncode, told.stdout) == (2, "")
    assert "no redis-server on the PATH" in told.stderr
    assert "Traceback" not in told.stderr
