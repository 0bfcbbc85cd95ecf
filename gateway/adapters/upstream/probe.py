"""Check whether a backend accepts connections, for people who look at it now. Nothing is sent there.

The process of the admin listener sends no requests to backends, and does not have what workers know of their health.
"""

import asyncio
from collections.abc import Mapping

from msgspec.structs import replace

from gateway.adapters.upstream.pool import Target
from gateway.adapters.upstream.tls import TlsContexts
from gateway.core.errors import UpstreamBusy, UpstreamUnreachable
from gateway.core.policies.model import Upstream

PROBE_SECONDS = 1.0
"""Seconds for a connection, TLS included: a person waits, and a near backend takes milliseconds."""


class UpstreamProbe:
    """The probe: it connects to backends, and closes at once."""

    def __init__(self) -> None:
        self._contexts = TlsContexts()

    async def find_unreachable(self, upstreams: Mapping[str, Upstream]) -> dict[str, list[str]]:
        """Return why targets cannot be reached, in words that name them, by the names of the upstreams."""
        asked = [(name, upstream, url) for name, upstream in upstreams.items() for url in upstream.targets]
        causes = await asyncio.gather(*(self._find_cause(upstream, url) for _, upstream, url in asked))
        found: dict[str, list[str]] = {name: [] for name in upstreams}
        for (name, _, _), cause in zip(asked, causes, strict=True):
            found[name] += [cause] if cause else []
        return found

    async def _find_cause(self, upstream: Upstream, url: str) -> str:
        seconds = min(upstream.connect_timeout_seconds, PROBE_SECONDS)
        address = replace(upstream, targets=(url,), connect_timeout_seconds=seconds)
        try:
            connection = await Target(address, self._contexts, asyncio.get_running_loop()).connect(lambda _: None)
        except UpstreamUnreachable as error:
            return str(error)
        except UpstreamBusy:  # this process has no descriptor left, which says nothing about the backend
            return ""
        connection.close()
        return ""
