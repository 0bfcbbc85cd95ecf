"""`gateway verify-backend`: backends that are reached past the gateway, and what they believe."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.command_line import run_command
from tests.support.processes import free_port
from tests.support.raw import RawBackend, read_head

pytestmark = pytest.mark.system


def backend(answer: Callable[[bytes], bytes]) -> RawBackend:
    """Answer each request by its head, in lower case."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(answer(read_head(connection).lower()))

    return RawBackend(behave)


def reply(status: str, content: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def verify(port: int) -> tuple[int, Any]:
    """Return the exit code, and the verdict on the backend."""
    result = run_command("verify-backend", f"http://127.0.0.1:{port}/export?lang=de", "--json")
    assert result.exit_code in (0, 1), result.output
    (verdict,) = json.loads(result.stdout).values()
    return result.exit_code, verdict


def test_a_backend_that_nobody_reaches_is_as_it_should_be() -> None:
    """The exit code is 0; why it was not reached is told."""
    port = free_port()
    result = run_command("verify-backend", f"http://127.0.0.1:{port}/export")
    assert (0, True) == (result.exit_code, "cannot be reached from here (" in result.stdout)


def test_a_backend_that_closes_without_an_answer_is_not_reached() -> None:
    """As one that wants a client certificate does."""
    with backend(lambda _: b"") as running:
        code, verdict = verify(running.port)
    assert (0, ["reason"]) == (code, list(verdict))


def test_a_backend_that_answers_is_told_of() -> None:
    """Also if it believes nothing."""
    with backend(lambda _: reply("401 No")) as running:
        code, verdict = verify(running.port)
    assert (1, ["answers 401 to a client that comes past the gateway"]) == (code, [one["what"] for one in verdict])


@pytest.mark.parametrize(
    ("field", "what"),
    [
        (b"x-gateway-owner: operator", "X-Gateway-Owner, -Project and -Scopes"),
        (b"x-gateway-assertion: eyj", "an X-Gateway-Assertion that nobody signed"),
        (b"x-real-ip: 127.0.0.1", "X-Forwarded-For and X-Real-IP"),
        (b"x-forwarded-host: localhost", "X-Forwarded-Host"),
        (b"x-rewrite-url: /admin", "X-Original-URL and X-Rewrite-URL"),
    ],
)
def test_a_backend_that_believes_a_forged_field_is_told_of(field: bytes, what: str) -> None:
    """By its status, or by its content, with the field that it believes and no other."""
    with backend(lambda head: reply("200 OK") if field in head else reply("403 No")) as running:
        code, verdict = verify(running.port)
    assert (1, f"believes {what}: it answers 200 and not 403") == (code, verdict[1]["what"])
    assert 2 == len(verdict)
    with backend(lambda head: reply("200 OK", b"secret" if field in head else b"public")) as running:
        assert [f"believes {what}: its content differs"] == [one["what"] for one in verify(running.port)[1][1:]]


def test_content_that_always_differs_says_nothing() -> None:
    """As one with the time in it."""
    numbers = iter(range(100))
    with backend(lambda _: reply("200 OK", str(next(numbers)).encode())) as running:
        assert 1 == len(verify(running.port)[1])


def test_the_example_backend_believes_the_gateway_as_it_says(backend_port: int) -> None:
    """It checks no credential, so nobody else may reach it: the command says so."""
    url = f"http://127.0.0.1:{backend_port}/api/v1/tokensets/acme-core/modes/light/export?format=css"
    result = run_command("verify-backend", url, "--owner", "acme")
    assert 1 == result.exit_code
    assert "believes X-Gateway-Owner, -Project and -Scopes: it answers 200 and not 4" in result.stdout


def test_what_is_no_url_is_refused() -> None:
    """Before anything is sent."""
    result = run_command("verify-backend", "backend:9001")
    assert (2, True) == (result.exit_code, "is no URL such as" in result.output)
