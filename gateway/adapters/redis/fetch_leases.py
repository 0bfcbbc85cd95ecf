"""One request to the backend for all that want the same, in this worker and in all others.

Within a worker they wait for one future. Between workers, a lease in Redis names the fetching one; it is renewed during
the fetch, and expires if its holder dies. Waiting workers poll every few milliseconds.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.scripts import read_script
from gateway.core.cache.fetch import Alone, Failed, Landed, Landing, Lead, Turn
from gateway.core.errors import StoreUnavailable

LEASE_SECONDS = 3.0
"""How long others wait for a worker that has died."""
LOOK_SECONDS = 0.02
"""Seconds between two polls of a worker whose requests wait for another one's fetch."""
MAXIMUM_WAIT_SECONDS = 30.0
"""The longest wait, after which the request goes to the backend by itself: the time that a backend has to answer."""
MARKS: Mapping[str, float] = {"unstorable": 5.0, "failed": 1.0}
"""Seconds for which no request waits after a fetch that failed, or whose answer could not be shared.

While a backend fails, it is asked only once a second if a stored response can answer instead.
"""

Suffices = Callable[[Sequence[bytes], int], bool]


class RedisFetches:
    """The implementation of protocols.Fetches. `look_seconds` and `marks` are for tests, which let no real time pass.

    `now` sets the script's clock as in RedisExports.
    """

    def __init__(
        self, connection: RedisConnection, look_seconds: float = LOOK_SECONDS, marks: Mapping[str, float] = MARKS
    ) -> None:
        self.now: int | None = None
        self._connection = connection
        self._look_seconds = look_seconds
        self._mark_seconds = marks
        self._begin = read_script("exports.lua", "begin_fetch.lua")
        self._end = read_script("compare_and_set.lua")
        self._holder = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._landings: dict[str, asyncio.Future[Landing]] = {}
        self._marks: dict[str, Alone] = {}
        self._renewing: dict[str, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def begin(self, name: str, selection: str, suffices: Suffices) -> Turn:
        """Return whose turn it is to fetch an export, or wait for another request's fetch and raise its error here."""
        lease = keys.fetch(name, selection)
        if lease in self._marks:
            return self._marks[lease]
        landing = self._landings.get(lease)
        if landing is not None:
            return await _wait_for(landing)
        self._landings[lease] = asyncio.get_running_loop().create_future()
        try:
            turn = await self._compete(lease, name, suffices)
        except BaseException:
            self._land(lease, Alone())
            raise
        if not isinstance(turn, Lead):
            self._land(lease, turn)
        return turn

    def end(self, lead: Lead, landing: Landing) -> None:
        """Report the result of a fetch; a second call changes nothing.

        Storing an answer has ended its lease already.
        """
        if lead.lease not in self._landings:
            return
        mark = _mark(landing)
        seconds = self._mark_seconds.get(mark, 0)
        self._land(lead.lease, landing)
        if seconds:
            self._marks[lead.lease] = Alone(has_failed=mark == "failed")
            asyncio.get_running_loop().call_later(seconds, self._marks.pop, lead.lease, None)
        if mark and lead.holder:
            self._say(lead, mark if seconds else "", seconds)

    async def close(self) -> None:
        """Send what is still to be reported to Redis."""
        for timer in self._renewing.values():
            timer.cancel()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _compete(self, lease: str, name: str, suffices: Suffices) -> Turn:
        holder = f"{self._holder}:{next(self._numbers)}"
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + MAXIMUM_WAIT_SECONDS
        while True:
            clock = "" if self.now is None else self.now
            try:
                now, said, heads = await self._connection.run_script(
                    self._begin, [lease, name], [clock, holder, int(LEASE_SECONDS * 1000)]
                )
            except StoreUnavailable:
                return Lead(lease, "", None)
            lead = None if said else Lead(lease, holder, now)
            if heads and suffices(heads, now):
                if lead is not None:
                    self._say(lead, "", 0)
                return Landed(heads, now)
            if lead is not None:
                self._renew(lead)
                return lead
            if said.decode() in MARKS or loop.time() > give_up_at:
                return Alone(has_failed=said == b"failed")
            await asyncio.sleep(self._look_seconds)

    def _land(self, lease: str, landing: Landing) -> None:
        timer = self._renewing.pop(lease, None)
        if timer is not None:
            timer.cancel()
        future = self._landings.pop(lease)
        if not future.done():
            future.set_result(landing)

    def _renew(self, lead: Lead) -> None:
        def again() -> None:
            self._say(lead, lead.holder, LEASE_SECONDS)
            self._renew(lead)

        self._renewing[lead.lease] = asyncio.get_running_loop().call_later(LEASE_SECONDS / 3, again)

    def _say(self, lead: Lead, what: str, seconds: float) -> None:
        task = asyncio.create_task(self._tell(lead, what, seconds))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _tell(self, lead: Lead, what: str, seconds: float) -> None:
        try:
            await self._connection.run_script(self._end, [lead.lease], [lead.holder, what, int(seconds * 1000)])
        except StoreUnavailable:
            return  # the lease ends by itself


def _mark(landing: Landing) -> str:
    if isinstance(landing, Landed):
        return ""
    return "failed" if isinstance(landing, Failed) or landing.has_failed else "unstorable"


async def _wait_for(landing: "asyncio.Future[Landing]") -> Turn:
    done, _ = await asyncio.wait([landing], timeout=MAXIMUM_WAIT_SECONDS)
    if not done:
        return Alone()
    landed = landing.result()
    if isinstance(landed, Failed):
        raise type(landed.error)(*landed.error.args)
    return landed
