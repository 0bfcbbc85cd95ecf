"""Report to Redis which versions of the policies this process serves, and warn while others serve other ones.

Nobody waits for the others: a process that did would answer nobody, and what is shared is safe without. An export is
found only under the groups that it was stored in.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from gateway.adapters.ports import PolicySource
from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.scripts import read_script
from gateway.core.errors import StoreUnavailable
from gateway.core.policies.versions import Mixtures, Serving, gather_versions

LOOK_SECONDS = 5.0
KEEP_SECONDS = 16.0
"""Seconds for which a silent process counts: it may miss two looks."""
ADVICE = 'see "Roll out a changed policy" in docs/guide/policies.md; `gateway policy versions` shows them'

logger = logging.getLogger(__name__)


class RedisVersions:
    """The periodic report, off the path of requests; `now` sets the script's clock in Unix milliseconds."""

    def __init__(self, connection: RedisConnection, process: str = "", policies: PolicySource | None = None) -> None:
        self.now: int | None = None
        self._connection = connection
        self._process = process
        self._policies = policies
        self._script = read_script("versions.lua")
        self._mixtures = Mixtures()
        self._watching: asyncio.Task[None] | None = None
        self._is_over = asyncio.Event()

    async def find(self) -> dict[str, dict[str, list[str]]]:
        """Return which processes serve each version of each policy. A process without a name is not reported."""
        policies = self._policies.current.policies if self._policies else {}
        return await self._publish({name: policy.version for name, policy in policies.items()})

    async def look(self) -> None:
        """Report this process, and log what begins and ends. Raise StoreUnavailable."""
        for line in self._mixtures.see(await self.find()):
            logger.warning("policies: %s; %s", line, ADVICE)

    def start(self) -> None:
        """Look periodically until `close`."""
        self._is_over = asyncio.Event()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop looking, and remove this process from Redis. If Redis does not answer, its entry expires."""
        self._is_over.set()
        if self._watching is not None:
            await self._watching  # never cancelled: a look that is under way is bounded, and keeps its connection whole
            self._watching = None
        try:
            await self._publish({})
        except StoreUnavailable as error:
            logger.debug("policies: this process is forgotten later: %s", error)

    async def _watch(self) -> None:
        while not self._is_over.is_set():
            try:
                await self.look()
            except StoreUnavailable as error:
                logger.debug("policies: which versions are served is not known: %s", error)
            except Exception:  # whatever it is: the next look may work
                logger.warning("policies: a look at the versions that are served failed", exc_info=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._is_over.wait()

    async def _publish(self, versions: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
        serves = msgspec.json.encode(versions) if versions else b""
        arguments = ["" if self.now is None else self.now, self._process, serves, int(KEEP_SECONDS * 1000)]
        told: list[bytes] = await self._connection.run_script(self._script, [keys.versions()], arguments)
        pairs = zip(told[::2], told[1::2], strict=True)
        return gather_versions(
            Serving(process.decode(), msgspec.json.decode(serves, type=dict[str, str])) for process, serves in pairs
        )
