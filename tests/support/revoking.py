"""Many revocations, by the command, in a process of their own: nothing in it is in the way of the clients."""

import time
from collections.abc import Sequence

from tests.support.command_line import run_command


def revoke_all(redis_url: str, identities: Sequence[str]) -> list[tuple[float, float]]:
    """Revoke tokens one by one; return when each command began and returned, by the clock that processes share."""
    times = []
    for identity in identities:
        begun_at = time.monotonic()
        result = run_command("token", "revoke", identity, "--redis", redis_url)
        times.append((begun_at, time.monotonic()))
        assert 0 == result.exit_code, result.output
    return times
