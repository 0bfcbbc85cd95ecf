"""Failed credentials per client address, counted in this worker by `limits`' own storage.

A guard against guessing, off unless it is asked for. Minted tokens need none: 160 random bits cannot be guessed at any
rate. Imported tokens that are short may. Its price is that who shares an address with a guesser is refused as well.
"""

import math
import time

import limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from gateway.core.errors import ConfigurationError
from gateway.core.http.client_address import client_network

MAXIMUM_NOTED = 10_000
"""Networks remembered before those whose window has ended are looked for and forgotten."""


def announce_guard(limit: str) -> str:
    """Return what an operator is told at the start where the guard is on."""
    return (
        f"GATEWAY_FAILED_CREDENTIALS is on: an address that presents unknown tokens, more than {limit}, gets 429 for "
        "all of its tokens, also for good ones; it is for tokens short enough to be guessed"
    )


class FailedCredentials:
    """See ports.FailedCredentials. `limit` is in the grammar of `limits`, such as "100/minute"."""

    def __init__(self, limit: str) -> None:
        try:
            self._limit = limits.parse(limit)
        except ValueError as error:
            raise ConfigurationError(f'failed credentials: {limit!r} is not a limit such as "100/minute"') from error
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._noted: set[str] = set()
        """Networks with a failure: all others, nearly all requests, cost one look here."""

    def retry_after(self, address: str) -> int | None:
        """Seconds until the client may present credentials again, None where it may now."""
        network = client_network(address)
        if network not in self._noted:
            return None
        resets_at, remaining = self._limiter.get_window_stats(self._limit, network)
        if remaining == self._limit.amount:
            self._noted.discard(network)
        return None if remaining else max(1, math.ceil(resets_at - time.time()))

    def record_failure(self, address: str) -> None:
        """Counts a credential that was not valid."""
        if len(self._noted) >= MAXIMUM_NOTED:
            self._noted = {noted for noted in self._noted if self._has_failed(noted)}
        network = client_network(address)
        self._noted.add(network)
        self._limiter.hit(self._limit, network)

    def _has_failed(self, network: str) -> bool:
        return self._limiter.get_window_stats(self._limit, network).remaining < self._limit.amount
