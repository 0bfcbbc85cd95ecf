"""A last use is noted with the admission itself: it is in Redis before the answer is on its way."""

import signal
from pathlib import Path

from tests.support.client import ask
from tests.support.command_line import run_json
from tests.system.conftest import Serve, mint


def test_a_killed_worker_loses_no_last_use(serve: Serve, redis_url: str, policies: Path) -> None:
    """SIGKILL right after the answer, again and again: each time the use of that one request is there."""
    for _ in range(3):
        created, gateway = mint(redis_url, policies), serve(redis_url)
        answer = ask(gateway.port, "GET", "/api/v1/whoami", token=created["token"])
        gateway.send(signal.SIGKILL)
        assert 200 == answer.status
        assert -signal.SIGKILL == gateway.popen.wait()
        shown = run_json("token", "show", created["id"], "--redis", redis_url)
        assert created["last_used_at"] is None
        assert shown["last_used_at"] >= created["created_at"]
