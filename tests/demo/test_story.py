"""`gateway demo` as its user runs it: a process of its own, real sockets, both stores."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.demo import stage
from gateway.demo.extras import INSTALL
from gateway.demo.performance import ENDING_ONCE, find_program
from tests.demo.shell import commands_in, paste
from tests.support.client import ask
from tests.support.processes import Process, free_port, is_listening, wait_until

QUICKSTART = (Path(__file__).parents[2] / "docs" / "guide" / "quickstart.md").read_text(encoding="utf-8")
DEMO = [sys.executable, "-m", "gateway", "demo"]
DEMO_SECONDS = 60
STATUSES = ["401", "200", "304", "403", "200", "200", "200", "200", "429", "200", "401"]
STATUS_LINE = re.compile(r"^ {5}([1-5][0-9]{2}) [A-Z]", re.MULTILINE)
TOKEN = re.compile(r"demo_[0-9A-Za-z]{40}")
LAST_LINE = "Press Ctrl+C to stop the demo."
TERMINAL_COLUMNS = 80

PASTED = (
    ("EXPORT=", r"\A\Z"),
    ("API=", r"\A\Z"),
    ("ADMIN=", r"\A\Z"),
    ('curl -i "$EXPORT"', r'\AHTTP/1.1 401 .*\nwww-authenticate: Bearer realm="demo"\n'),
    ("TOKEN=$(curl", r"\Ademo_[0-9A-Za-z]{40}\n\Z"),
    (
        "curl -sD- -o export.json",
        r'\AHTTP/1.1 200 .*\netag: W/".*\ncache-status: gateway; .*\nratelimit: "minute";r=5;',
    ),
    ("curl -i -H", r'\AHTTP/1.1 304 .*\ncache-status: gateway; hit; .*\nratelimit: "minute";r=4;'),
    ("curl -i -H", r"\AHTTP/1.1 403 .*insufficient_scope"),
    ("while curl", r"\A(HTTP/1.1 200 OK\n((?!HTTP).)*){4}HTTP/1.1 429 ((?!HTTP).)*\Z"),
    ("curl -i -d", r"\AHTTP/1.1 200 "),
    ("curl -i -H", r"\AHTTP/1.1 401 .*invalid_token"),
)
"""The commands of the story by their beginning, and what each prints when it is pasted."""
PASTED_WITH_REDIS = (
    ("export GATEWAY_REDIS_URL=", r"\A\Z"),
    ("export GATEWAY_POLICIES=", r"\A\Z"),
    ("/", r"\bCI job .* revoked "),
)
"""With a Redis that other processes can reach, the command line follows."""

VARIABLE = (
    (re.compile(r"\b(demo|gwa)_[0-9A-Za-z]{40}\b"), r"\1_TEXT"),
    (re.compile(r"\b[0-9a-f]{24}\b"), "ID"),
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST:PORT"),
    (re.compile(r" \(HOST:PORT is in use\)"), ""),
    (re.compile(r"(;t=|; ttl=|Retry-After +)\d+"), r"\1N"),
    (re.compile(r"^ +Now the limit is reached\. .*\n.* at once:\n", re.MULTILINE), ""),
    (re.compile(r"(embedded in this process): .*"), r"\1"),
    (re.compile(r"\S+/gateway-demo-\w+/"), "FOLDER/"),
)
"""What differs from one run to the next."""


def without_variable_parts(text: str) -> str:
    for pattern, name in VARIABLE:
        text = pattern.sub(name, text)
    return text


def run_once(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DEMO, "--once", *options],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=DEMO_SECONDS,
    )


@contextmanager
def keep_running(folder: Path, store: str, command: list[str] = DEMO) -> Iterator[Process]:
    """A demo that has told its story, and is stopped with the context."""
    options = ["--store", store, "--listen", f"127.0.0.1:{free_port()}"]
    process = Process([*command, *options], folder / "demo.log")
    try:
        wait_until(
            lambda: LAST_LINE in process.text() or process.popen.poll() is not None,
            "the demo has told its story",
            DEMO_SECONDS,
        )
        assert process.popen.poll() is None, process.text()
        yield process
    finally:
        process.stop()


def ports(text: str) -> list[int]:
    """Every port of a URL that the demo names: gateway, developer page, backend, Redis."""
    return sorted({int(port) for port in re.findall(r"//127\.0\.0\.1:([0-9]+)", text)})


@pytest.fixture(scope="module", params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest) -> str:
    """Each store in turn; a redis-server that is missing is not passed over in silence."""
    if request.param == "redis":
        request.getfixturevalue("redis_executable")
    return str(request.param)


@pytest.fixture(scope="module")
def running(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a demo has printed that keeps running, started as `make demo` starts it: by a path below its folder."""
    program = os.path.relpath(Path(sys.executable).with_name("gateway"))
    with keep_running(tmp_path_factory.mktemp("demo"), store, [program, "demo"]) as process:
        yield process.text()


@pytest.fixture(scope="module")
def told(store: str) -> "subprocess.CompletedProcess[str]":
    """A demo that was told to end after its story."""
    return run_once("--store", store, "--listen", f"127.0.0.1:{free_port()}")


def test_the_story_is_told_and_ends_with_0(told: "subprocess.CompletedProcess[str]") -> None:
    """Each step has its status, in order, on a terminal of 80 columns; nothing is left running."""
    assert "" == told.stderr
    assert 0 == told.returncode
    assert STATUSES == STATUS_LINE.findall(told.stdout)
    for word in ('W/"', "fwd=uri-miss; stored", "gateway; hit", "Retry-After", "insufficient_scope", "invalid_token"):
        assert word in told.stdout
    assert [] == [port for port in ports(told.stdout) if is_listening(port)]
    assert [] == [line for line in told.stdout.splitlines() if len(line) > TERMINAL_COLUMNS]


def test_once_sets_no_variables(told: "subprocess.CompletedProcess[str]") -> None:
    """Whoever pastes them when the demo has stopped gets no answer; the admin token is not printed for nothing."""
    commands = commands_in(told.stdout)
    assert 'curl -i "$EXPORT"' == commands[0].strip()
    assert [] == [line for line in commands if re.match(r" *(EXPORT|API|ADMIN)=", line)]
    assert "gwa_" not in told.stdout


def test_the_last_lines_of_once_name_nothing_that_is_gone(told: "subprocess.CompletedProcess[str]") -> None:
    """After the last step come the sentences that say how to keep the demo running: no address, token or command."""
    assert "\n\n" + ENDING_ONCE + "\n" == told.stdout[told.stdout.index("\n\nAll steps worked.") :]
    assert [] == commands_in(ENDING_ONCE)


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_every_printed_command_works_when_pasted(running: str, store: str, shell: str, tmp_path: Path) -> None:
    """In another shell, in order, as often as one likes: what comes back is what the story shows."""
    expected = PASTED + PASTED_WITH_REDIS if store == "redis" else PASTED
    pasted = paste(commands_in(running), shell, tmp_path)

    beginnings = [beginning for beginning, _ in expected]
    assert beginnings == [
        each.command.strip()[: len(beginning)] for each, beginning in zip(pasted, beginnings, strict=True)
    ]
    assert [] == [each for each in pasted if each.code != 0]
    outputs = [each.output.replace("\r", "") for each in pasted]
    assert [] == [
        f"{each.command}\n{output}"
        for each, output, (_, pattern) in zip(pasted, outputs, expected, strict=True)
        if not re.search(pattern, output, re.DOTALL)
    ]


def test_the_quickstart_has_the_story(running: str, store: str) -> None:
    """The quickstart shows what the demo prints; the steps are the same ones with each store."""
    shown = QUICKSTART.partition("\n## Run the demo instead\n")[2].partition("```text\n")[2].partition("```")[0]
    shown, told = without_variable_parts(shown), without_variable_parts(running)
    if store == "redis":
        shown, told = (text.partition("\n1. ")[2].partition("\nOpen the developer page")[0] for text in (shown, told))
    assert shown == told


def test_a_token_is_shown_once(running: str) -> None:
    """The text of the story's token is in the answer to its creation and nowhere else; commands have $TOKEN."""
    (text,) = TOKEN.findall(running)

    assert [text] == [line.strip() for line in running.splitlines() if text in line]
    assert 5 == running.count("Bearer $TOKEN")


def test_a_program_without_a_script_is_named_by_its_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m gateway demo` prints commands that begin like this, with the interpreter's full path."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/gateway/__main__.py", "demo"])
    assert f"{sys.executable} -m gateway" == find_program()


def test_a_port_in_use_is_said_and_another_one_taken() -> None:
    """A busy port does not stop the demo: the gateway takes another one, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        told = run_once("--store", "memory", "--listen", address)

    assert 0 == told.returncode
    assert f"({address} is in use)" in told.stdout
    assert f"http://{address}" not in told.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_demo_cleanly(store: str, number: signal.Signals, tmp_path: Path) -> None:
    """Exit code 0, no complaint, and none of gateway, developer page, backend and redis-server is left."""
    with keep_running(tmp_path, store) as process:
        listening = [port for port in ports(process.text()) if is_listening(port)]
        code = process.stop(number)

    assert (4 if store == "redis" else 3) == len(listening)
    assert 0 == code
    assert [] == [port for port in ports(process.text()) if is_listening(port)]
    ending = process.text().partition(LAST_LINE)[2]
    assert "\n\nThe demo has stopped. Nothing that it started is still running.\n" == ending


def test_the_developer_page_can_be_signed_in_to(running: str) -> None:
    """With the admin token that the demo prints below its address."""
    page = re.search(r"^ +http://127\.0\.0\.1:([0-9]+)\n +(gwa_[0-9A-Za-z]{40})$", running, re.MULTILINE)
    assert page is not None
    form = ("Content-Type", "application/x-www-form-urlencoded")
    answer = ask(int(page[1]), "POST", "/sign-in", fields=[form], content=f"token={page[2]}".encode())

    assert 303 == answer.status
    assert "/" == answer.field("location")


def test_a_step_that_fails_is_named_and_ends_with_1(tmp_path: Path) -> None:
    """A gateway that sets no limit fails the story at the step that meets it."""
    generous = tmp_path / "policy.toml"
    generous.write_text(stage.POLICY.read_text().replace('"6/minute"', '"6000/minute"'))
    # In a process of its own: the demo sets up logging and signals for the whole process.
    program = f"from gateway.demo import stage, story; stage.POLICY = stage.Path({str(generous)!r}); story.demo()"
    options = ["--once", "--store", "memory", "--listen", f"127.0.0.1:{free_port()}"]
    command = [sys.executable, "-c", program, *options]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEMO_SECONDS)

    assert 1 == told.returncode
    assert "step 6 (Pull until the limit is reached) failed: 50 pulls did not reach the limit" in told.stderr
    assert "7. " not in told.stdout


def test_a_missing_package_is_named_with_its_remedy() -> None:
    """Without the extra the command says what to install, before anything is started or printed."""
    # In a process of its own, as above; None in sys.modules is a module that cannot be imported.
    program = "import sys; sys.modules['babel'] = None; from gateway.cli.main import main; main()"
    command = [sys.executable, "-c", program, "demo", "--once", "--listen", f"127.0.0.1:{free_port()}"]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEMO_SECONDS)

    assert 2 == told.returncode
    assert "" == told.stdout
    assert f"gateway: demo: not installed: babel. The example backend needs it; run: {INSTALL}\n" == told.stderr


def test_the_store_is_chosen_by_a_variable_too() -> None:
    """A Redis that is asked for and missing is one line on standard error, and exit code 2."""
    told = run_once("--listen", f"127.0.0.1:{free_port()}", PATH="/nonexistent", GATEWAY_DEMO_STORE="redis")

    assert 2 == told.returncode
    assert "" == told.stdout
    assert re.fullmatch("gateway: demo: redis-server is not on the PATH; .*\n", told.stderr)


def test_a_machine_without_redis_gets_the_whole_story() -> None:
    """Without redis-server, and without an option, the embedded store takes its place."""
    told = run_once("--listen", f"127.0.0.1:{free_port()}", PATH="/nonexistent")

    assert 0 == told.returncode
    assert "     store     embedded in this process: redis-server is not on the PATH\n" in told.stdout
    assert STATUSES == STATUS_LINE.findall(told.stdout)
