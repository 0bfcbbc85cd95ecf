"""A replay of the access log decides as the gateway did, request by request."""

import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.adapters.policy_files import read_policies
from gateway.core.simulation.ordering import Ordering
from gateway.core.simulation.replay import Replay
from gateway.core.simulation.requests import read_own
from tests.support.processes import wait_until
from tests.support.raw import TIMEOUT_SECONDS
from tests.system.conftest import Serve, mint

QUOTAS = """
name = "system"
upstream = "none"
token = { prefixes = ["sys_"] }
scopes = { read = "Read" }

[quotas]
burst = { limit = "40/second", algorithm = "token-bucket", burst = 60 }
second = "70/second"
sliding = { limit = "120/2 second", algorithm = "sliding-window-counter" }
moving = { limit = "200/5 second", algorithm = "moving-window" }
team = { limit = "1500/10 second", per = "project" }
near = { limit = "50/second", shadow = true }

[[rules]]
match = "GET /free/**"
scopes = ["read"]

[[rules]]
match = "GET /dear/**"
scopes = ["read"]
cost = 3
quotas = { dear = "20/second" }
"""
REQUESTS = int(os.environ.get("SIMULATED_REQUESTS", "20000"))
"""100,000 of them are compared before a release: see docs/development/testing.md."""
TOKENS, CLIENTS = 12, 8


def pull(port: int, tokens: list[str], requests: int, seed: int) -> None:
    """Ask over one connection, one request after the other."""
    chance = random.Random(seed)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        for _ in range(requests):
            token, path = chance.choice(tokens), chance.choice(("/free/a", "/free/b", "/dear/x"))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            head, _, content = received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(content) < length:
                content += connection.recv(65536)


def test_a_replay_decides_as_the_gateway_did(serve: Serve, redis_url: str, policies: Path) -> None:
    """Two workers, all algorithms, shared and shadow quotas, costs: not one verdict differs."""
    (policies / "system.toml").write_text(QUOTAS)
    tokens = [mint(redis_url, policies)["token"] for _ in range(TOKENS)]
    gateway = serve(redis_url, "--workers", "2")
    with ThreadPoolExecutor(CLIENTS) as clients:
        for one in [clients.submit(pull, gateway.port, tokens, REQUESTS // CLIENTS, seed) for seed in range(CLIENTS)]:
            one.result()
    wait_until(lambda: gateway.access_log.read_bytes().count(b"\n") >= REQUESTS, "all are on record")
    replay, ordering, verdicts = Replay(read_policies(policies, {})), Ordering(), list[tuple[str, str]]()
    with gateway.access_log.open("rb") as log:
        for request in ordering.sort([map(read_own, log)]):
            refused = request.reason if request.reason == "quota_exceeded" else ""
            verdicts.append((refused, replay.decide(request)[0].reason))
    assert 0 == ordering.late
    assert len(verdicts) >= REQUESTS
    assert {"", "quota_exceeded"} == {refused for refused, _ in verdicts}
    assert [] == [(index, *one) for index, one in enumerate(verdicts) if one[0] != one[1]]
