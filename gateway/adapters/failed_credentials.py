"""Failed credentials per client address, counted in this worker by `limits`' own storage.

This is a guard against guessing, off by default. Minted tokens need none: 160 random bits cannot be guessed at any
rate. Short imported tokens may. Its price is that clients who share an address with a guesser are refused as well.
"""

import math
import time

import limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from gateway.core.errors import ConfigurationError
from gateway.core.http.client_address import client_network

MAXIMUM_NOTED = 10_000
"""Networks remembered before those whose window has ended are removed."""


def announce_guard(limit: str) -> str:
    """Return the warning for an operator at the start if the guard is on."""
    return (
        f"GATEWAY_FAILED_CREDENTIALS is on: an address that presents unknown tokens, more than {limit}, gets 429 for "
        "all of its tokens, also for good ones; it is for tokens short enough to be guessed"
    )


class FailedCredentials:
    """The implementation of ports.FailedCredentials. `limit` is in the grammar of `limits`, such as "100/minute"."""

    def __init__(self, limit: str) -> None:
        try:
            self._limit = limits.parse(limit)
        except ValueError as error:
            raise ConfigurationError(f'failed credentials: {limit!r} is not a limit such as "100/minute"') from error
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._noted: set[str] = set()
        """Networks with a failure: for all others, nearly all requests, the check is one look-up here."""

    def retry_after(self, address: str) -> int | None:
        """Return seconds until the client may present credentials again, or None if it may now."""
        network = client_network(address)
        if network not in self._noted:
            return None
        resets_at, remaining = self._limiter.get_window_stats(self._limit, network)
        if remaining == self._limit.amount:
            self._noted.discard(network)
        return None if remaining else max(1, math.ceil(resets_at - time.time()))

    def record_failure(self, address: str) -> None:
        """Count a credential that was not valid."""
        if len(self._noted) >= MAXIMUM_NOTED:
            self._noted = {noted for noted in self._noted if self._has_failed(noted)}
        network = client_network(address)
        self._noted.add(network)
        self._limiter.hit(self._limit, network)

    def _has_failed(self, network: str) -> bool:
        return self._limiter.get_window_stats(self._limit, network).remaining < self._limit.amount
