"""Faults that are planted in the gateway: each must be found within 100 seeds, or the simulation proves little.

The last three were in the gateway until the simulation found them.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.adapters.redis import admissions, tokens
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.quota_refunds import RedisQuotaRefunds
from gateway.adapters.redis.script_connection import DirectConnection, ScriptRunner
from gateway.adapters.redis.scripts import read_script
from gateway.pipeline.recognition import Recognition

Plant = Callable[[pytest.MonkeyPatch], None]


def charge_nothing_on_retry(patch: pytest.MonkeyPatch) -> None:
    """A call that goes through redis-py, after a connection is lost, charges no quota."""
    call = ScriptRunner._call_slowly

    def call_slowly(self: ScriptRunner, keys: list[str], arguments: list[Any], *more: Any) -> None:
        free = [one.replace(b'"cost":1', b'"cost":0') if isinstance(one, bytes) else one for one in arguments]
        call(self, keys, free, *more)

    patch.setattr(ScriptRunner, "_call_slowly", call_slowly)


def use_stale_replies(patch: pytest.MonkeyPatch) -> None:
    """A worker answers an equal question within a second from memory."""
    ask = RedisAdmissions.ask

    def ask_or_recall(self: Any, question: Any, lease: str, take: Any) -> None:
        loop = asyncio.get_running_loop()
        known = self.__dict__.setdefault("known", {})
        if question in known and loop.time() - known[question][0] < 1:
            loop.call_soon(take, *known[question][1:])
            return

        def keep(now: int, reply: Any) -> None:
            if not isinstance(reply, Exception):
                known[question] = (loop.time(), now, reply)
            take(now, reply)

        ask(self, question, lease, keep)

    patch.setattr(RedisAdmissions, "ask", ask_or_recall)


def lose_releases(patch: pytest.MonkeyPatch) -> None:
    """A request that has ended stays in flight, and its lease is renewed."""
    patch.setattr(RedisQuotaRefunds, "_release", lambda self, lease: None)


def begin_windows_at_jumps(patch: pytest.MonkeyPatch) -> None:
    """A clock that was set back begins another fixed window."""
    right, wrong = "if at and at > now then", "if at and at > now and at <= now + quota[WINDOW] then"

    def read(*parts: str) -> Any:
        script = read_script(*parts)
        assert right in script.source
        script.source = script.source.replace(right, wrong)
        return script

    patch.setattr(admissions, "read_script", read)


def recognise_the_revoked(patch: pytest.MonkeyPatch) -> None:
    """The short way does not compare whether the token is revoked."""
    conclude = Recognition.conclude

    def conclude_anyway(self: Recognition, asking: Any, now: int, reply: Any) -> Any:
        allowed = asking.known.allowed
        if allowed is not None and not isinstance(reply, Exception) and reply[1] == 1:
            reply = [reply[0], allowed.revoked, 1, list(allowed.heads), "", *reply[5:]]
            reply += [0] * (allowed.length - len(reply))
        return conclude(self, asking, now, reply)

    patch.setattr(Recognition, "conclude", conclude_anyway)


def let_any_server_confirm(patch: pytest.MonkeyPatch) -> None:
    """A Redis that was restarted meanwhile confirms that it has kept a change that it has lost."""
    patch.setattr(tokens, "_run_of", lambda answer: "")


def use_old_connections(patch: pytest.MonkeyPatch) -> None:
    """Connections to a master that was demoted are used again when the new one is found."""
    patch.setattr(RedisConnection, "_retire_connections", lambda self: None)


def wait_twice(patch: pytest.MonkeyPatch) -> None:
    """A request whose connection is lost waits for the whole timeout once more."""
    patch.setattr(DirectConnection, "waited_seconds", 0.0)


BUGS: dict[Plant, str] = {
    charge_nothing_on_retry: "limit exceeded",
    use_stale_replies: "wrongly allowed",
    lose_releases: "lease lost",
    begin_windows_at_jumps: "limit exceeded: fixed",
    recognise_the_revoked: "wrongly allowed",
    let_any_server_confirm: "acknowledged",
    use_old_connections: "no recovery",
    wait_twice: "late",
}
"""What is planted, and a part of what the simulation says of it."""
