"""Gateways whose backend is a gateway: in a circle, which is refused, and in series, which is not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.processes import GatewayServer, free_port, wait_until

pytestmark = pytest.mark.redis

POLICY = """
name = "{name}"
hosts = ["{name}.example"]
upstream = {{ url = "http://127.0.0.1:{port}", host = "{host}.example" }}
[token]
prefixes = ["sys_"]
[[rules]]
match = "* /**"
public = true
[[rules]]
match = "GET /cached"
public = true
cache = {{ fresh = "1m", shared_by = "public" }}
"""


class Fleet:
    """Gateways on one Redis; `policies` is a name, the backend's port, and the host that it is asked for."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.gateways: list[GatewayServer] = []
        self._folder = folder
        self._redis_url = redis_url

    def start(
        self, *policies: tuple[str, int, str], port: int | None = None, instance: str = "", workers: int = 1
    ) -> GatewayServer:
        folder = self._folder / str(len(self.gateways))
        folder.mkdir()
        for name, backend, host in policies:
            (folder / f"{name}.toml").write_text(POLICY.format(name=name, port=backend, host=host))
        options = ("--policies", str(folder), "--redis", self._redis_url, "--workers", str(workers))
        environment = {"GATEWAY_INSTANCE": instance} if instance else None
        self.gateways.append(GatewayServer(folder, *options, port=port, environment=environment))
        return self.gateways[-1].wait()


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, redis_url)
    yield fleet
    for gateway in fleet.gateways:
        gateway.stop()


@pytest.mark.parametrize(("method", "target"), [("GET", "/a"), ("POST", "/a"), ("GET", "/cached"), ("HEAD", "/cached")])
def test_a_gateway_that_is_its_own_backend(fleet: Fleet, method: str, target: str) -> None:
    """One request is passed on once, whichever worker it comes back to, and the answer is 508 (RFC 5842 7.2)."""
    port = free_port()
    gateway = fleet.start(("loop", port, "loop"), port=port, workers=2)
    assert 508 == ask(port, method, target, host="loop.example").status
    wait_until(lambda: gateway.access_log.read_text().count("\n") >= 2, "both requests are logged")
    gateway.stop()
    records = [json.loads(line) for line in gateway.access_log.read_text().splitlines()]
    assert ["loop_detected"] == [record["reason"] for record in records if record.get("reason")]
    assert 2 == len(records)


def test_a_circle_of_two_policies(fleet: Fleet) -> None:
    """Each of them passes the request on once."""
    port = free_port()
    gateway = fleet.start(("first", port, "second"), ("second", port, "first"), port=port)
    assert 508 == ask(port, "GET", "/a", host="first.example").status
    wait_until(lambda: gateway.access_log.read_text().count("\n") >= 3, "three requests are logged")
    gateway.stop()
    assert 3 == gateway.access_log.read_text().count("\n")


def test_a_policy_whose_backend_is_another_policy_of_the_same_gateway(fleet: Fleet, backend_port: int) -> None:
    """No loop: the second one has a backend of its own."""
    port = free_port()
    fleet.start(("first", port, "second"), ("second", backend_port, "app"), port=port)
    assert 200 == ask(port, "GET", "/api/v1/whoami", host="first.example").status


@pytest.mark.parametrize(("name", "instance"), [("second", "shared"), ("first", "")])
def test_two_gateways_in_series(fleet: Fleet, backend_port: int, name: str, instance: str) -> None:
    """Whether they are one installation with two policies, or two that have the same policy."""
    inner = fleet.start((name, backend_port, "app"), instance=instance)
    outer = fleet.start(("first", inner.port, name), instance=instance)
    answer = ask(outer.port, "GET", "/api/v1/whoami", host="first.example")
    assert 200 == answer.status
    assert 2 == len([value for field, value in answer.json()["fields"] if field == "cdn-loop"])
