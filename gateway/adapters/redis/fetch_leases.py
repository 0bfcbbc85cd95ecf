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
from gateway.core.cache.fetch import Bypass, Failed, FetchResult, FetchRole, Leader, Shared
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
    """The implementation of ports.Fetches. `look_seconds` and `marks` are for tests, which let no real time pass.

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
        self._results: dict[str, asyncio.Future[FetchResult]] = {}
        self._marks: dict[str, Bypass] = {}
        self._renewing: dict[str, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def begin(self, name: str, selection: str, suffices: Suffices) -> FetchRole:
        """Return the caller's role, or wait for another request's fetch and raise its error here too."""
        lease = keys.fetch(name, selection)
        if lease in self._marks:
            return self._marks[lease]
        fetched = self._results.get(lease)
        if fetched is not None:
            return await _wait_for(fetched)
        self._results[lease] = asyncio.get_running_loop().create_future()
        try:
            role = await self._compete(lease, name, suffices)
        except BaseException:
            self._resolve(lease, Bypass())
            raise
        if not isinstance(role, Leader):
            self._resolve(lease, role)
        return role

    def end(self, leader: Leader, result: FetchResult) -> None:
        """Report the result of a fetch; a second call changes nothing.

        Storing an answer has ended its lease already.
        """
        if leader.lease not in self._results:
            return
        mark = _mark(result)
        seconds = self._mark_seconds.get(mark, 0)
        self._resolve(leader.lease, result)
        if seconds:
            self._marks[leader.lease] = Bypass(has_failed=mark == "failed")
            asyncio.get_running_loop().call_later(seconds, self._marks.pop, leader.lease, None)
        if mark and leader.holder:
            self._schedule_write(leader, mark if seconds else "", seconds)

    async def close(self) -> None:
        """Send what is still to be reported to Redis."""
        for timer in self._renewing.values():
            timer.cancel()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _compete(self, lease: str, name: str, suffices: Suffices) -> FetchRole:
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
                return Leader(lease, "", None)
            leader = None if said else Leader(lease, holder, now)
            if heads and suffices(heads, now):
                if leader is not None:
                    self._schedule_write(leader, "", 0)
                return Shared(heads, now)
            if leader is not None:
                self._renew(leader)
                return leader
            if said.decode() in MARKS or loop.time() > give_up_at:
                return Bypass(has_failed=said == b"failed")
            await asyncio.sleep(self._look_seconds)

    def _resolve(self, lease: str, result: FetchResult) -> None:
        timer = self._renewing.pop(lease, None)
        if timer is not None:
            timer.cancel()
        future = self._results.pop(lease)
        if not future.done():
            future.set_result(result)

    def _renew(self, leader: Leader) -> None:
        def again() -> None:
            self._schedule_write(leader, leader.holder, LEASE_SECONDS)
            self._renew(leader)

        self._renewing[leader.lease] = asyncio.get_running_loop().call_later(LEASE_SECONDS / 3, again)

    def _schedule_write(self, leader: Leader, what: str, seconds: float) -> None:
        task = asyncio.create_task(self._write_lease(leader, what, seconds))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _write_lease(self, leader: Leader, what: str, seconds: float) -> None:
        try:
            await self._connection.run_script(self._end, [leader.lease], [leader.holder, what, int(seconds * 1000)])
        except StoreUnavailable:
            return  # the lease expires


def _mark(result: FetchResult) -> str:
    if isinstance(result, Shared):
        return ""
    return "failed" if isinstance(result, Failed) or result.has_failed else "unstorable"


async def _wait_for(fetched: "asyncio.Future[FetchResult]") -> FetchRole:
    done, _ = await asyncio.wait([fetched], timeout=MAXIMUM_WAIT_SECONDS)
    if not done:
        return Bypass()
    result = fetched.result()
    if isinstance(result, Failed):
        raise type(result.error)(*result.error.args)
    return result
