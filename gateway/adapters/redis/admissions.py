"""Admission: one round trip for everything that the decision on a request needs.

The admissions of one event-loop tick leave together, in one EVALSHA: thirty-two connections then cost the gateway and
Redis little more than one.

Requests in flight have leases, if a concurrency limit counts them. The end of one goes to Redis before any admission
that follows it: ends and admissions with a lease take one connection, and in a call the ends come first. So a client
that asks again as soon as it is answered does not meet its own last request.
"""

import asyncio
import functools
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.connection import RedisConnection, StallTolerantTimeout
from gateway.adapters.redis.script_connection import ScriptRunner
from gateway.adapters.redis.scripts import read_facts, read_script
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest
from gateway.core.errors import StoreUnavailable
from gateway.core.http.client_address import client_network
from gateway.core.recognition.lesson import Answered, Question, Take
from gateway.core.tokens.records import digest_rest
from gateway.core.tokens.text import token_id

MAXIMUM_BATCH = 128
"""Admissions in one script call: it blocks Redis for about a millisecond."""
MAXIMUM_CHANGES = 256
"""Changes of leases in one script call."""
CALLS_AT_ONCE = 2
"""Script calls under way at the same time. While Redis works on one, the worker reads the answer of the other; with a
third, batches become smaller and nobody waits less."""
LEAST_SECONDS = 0.02
"""The least time for a call: a delay of this worker itself is not Redis' delay."""


logger = logging.getLogger(__name__)


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    question: Question
    lease: str
    take: Take
    late_at: float
    """The loop time at which its request has waited its full timeout, for the call before and for its own.

    It is infinite if no call was before: then the connection bounds the wait.
    """


class LeaseChange(msgspec.Struct, frozen=True, gc=False):
    """The renewal of a lease, or its end."""

    key: str
    """The key of the counter that has the lease."""
    lease: str
    lives: int = 0
    """For how many milliseconds it is renewed; 0 releases it."""


class _Lane:
    """One script call at a time, on a connection of its own."""

    def __init__(self, runner: ScriptRunner) -> None:
        self.runner = runner
        self.timeout: StallTolerantTimeout | None = None


class RedisAdmissions:
    """The admissions of each tick, in one call.

    `now` sets the script's clock in Unix milliseconds, None leaves it to Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self.now: int | None = None
        self._connection = connection
        script = read_script("quotas.lua", "charging.lua", "tokens.lua", "admit.lua")
        self._idle = [_Lane(ScriptRunner(connection, script)) for _ in range(CALLS_AT_ONCE)]
        """Those of which no call is under way. What arrives while there is none leaves with the next call: the busier
        the gateway, the larger its batches."""
        self._ordered = self._idle[0]
        """The lane of all that concerns leases."""
        self._waiting: list[_Waiting] = []
        self._leased: list[_Waiting] = []
        """Those of the waiting that have a lease."""
        self._changes: list[LeaseChange] = []
        """They leave before the next admission with a lease."""
        self._drained: asyncio.Future[None] | None = None
        self._callbacks: dict[asyncio.Future[AdmissionFacts], Callable[[AdmissionFacts | None], None]] = {}
        """Callbacks for admissions that no request awaits any more, by what their requests have awaited."""
        self._early: WeakKeyDictionary[asyncio.Future[AdmissionFacts], AdmissionFacts | None] = WeakKeyDictionary()
        """What was found after a request was cancelled, and before it could say so with a callback."""

    def ask(self, question: Question, lease: str, take: Take) -> None:
        """Ask Redis; `take` gets the time and the reply, or StoreUnavailable in the place of the reply.

        After StoreUnavailable it may be called once more, with a reply that came too late.
        """
        loop = asyncio.get_running_loop()
        waiting = self._leased if lease else self._waiting
        is_free = self._ordered in self._idle if lease else bool(self._idle)
        if is_free and not waiting:
            loop.call_soon(self._flush)
        late_at = math.inf if is_free else loop.time() + self._connection.timeout_seconds
        waiting.append(_Waiting(question, lease, take, late_at))

    def change_leases(self, changes: Sequence[LeaseChange]) -> None:
        """Renew or release leases before any admission that is asked from now on. What fails is not repeated."""
        if changes and not self._changes:
            asyncio.get_running_loop().call_soon(self._flush)
        self._changes += changes

    async def drain(self) -> None:
        """Wait until no lease is left to be changed."""
        self._flush()
        if self._changes or self._ordered not in self._idle:
            self._drained = self._drained or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def admit(self, asked: AdmissionRequest, answered: Answered | None = None) -> "asyncio.Future[AdmissionFacts]":
        """Return the facts that Redis has about the request; see ports.Admissions."""
        facts: asyncio.Future[AdmissionFacts] = asyncio.get_running_loop().create_future()
        question = build_question(asked)
        if answered is not None and answered.question == question:
            self._resolve(asked, facts, answered.now, answered.reply)
        else:
            self.ask(question, asked.lease, partial(self._resolve, asked, facts))
        return facts

    def call_when_found(
        self, facts: "asyncio.Future[AdmissionFacts]", then: Callable[[AdmissionFacts | None], None]
    ) -> None:
        """Call `then` with the result of an admission that no request awaits any more; see ports.Admissions."""
        if not facts.cancelled():  # the result arrived just before its request ended
            then(None if facts.exception() else facts.result())
        elif facts in self._early:
            then(self._early.pop(facts))
        else:
            self._callbacks[facts] = then

    def _flush(self) -> None:
        """Send what waits, as far as calls may be under way."""
        if (self._leased or self._changes) and self._ordered in self._idle:
            self._idle.remove(self._ordered)
            batch, self._leased = self._leased[:MAXIMUM_BATCH], self._leased[MAXIMUM_BATCH:]
            changes, self._changes = self._changes[:MAXIMUM_CHANGES], self._changes[MAXIMUM_CHANGES:]
            if self._changes:  # the rest comes first
                batch, self._leased = [], batch + self._leased
            self._send(self._ordered, batch, changes)
        while self._waiting and self._idle:
            batch, self._waiting = self._waiting[:MAXIMUM_BATCH], self._waiting[MAXIMUM_BATCH:]
            self._send(self._idle.pop(), batch, ())

    def _send(self, lane: "_Lane", batch: Sequence[_Waiting], changes: Sequence[LeaseChange]) -> None:
        keys, arguments = self._arguments(batch, changes)
        if batch and batch[0].late_at < math.inf:
            self._watch(lane, batch)
        lane.runner.call(keys, arguments, partial(self._take, lane, batch))

    def _watch(self, lane: "_Lane", batch: Sequence[_Waiting]) -> None:
        """Bound the wait of requests that have waited for the call before theirs already."""
        left = batch[0].late_at - asyncio.get_running_loop().time()
        lane.timeout = StallTolerantTimeout(max(LEAST_SECONDS, left), partial(self._refuse_late, lane, batch))

    def _refuse_late(self, lane: "_Lane", batch: Sequence[_Waiting]) -> None:
        """Refuse the requests whose time is over. Redis may still charge them: the call is under way."""
        now = asyncio.get_running_loop().time()
        late = [waiting for waiting in batch if waiting.late_at <= now]
        _fail(late, StoreUnavailable(f"Redis did not answer within {self._connection.timeout_seconds} s"))
        rest = batch[len(late) :]
        if rest and rest[0].late_at < math.inf:
            self._watch(lane, rest)

    def _take(self, lane: "_Lane", batch: Sequence[_Waiting], answer: Any) -> None:
        if lane is self._ordered:
            self._idle.insert(0, lane)  # the last to be taken by what needs no order
            if self._drained is not None and not self._changes:
                self._drained.set_result(None)
                self._drained = None
        else:
            self._idle.append(lane)
        if lane.timeout is not None:
            lane.timeout.cancel()
            lane.timeout = None
        if self._waiting or self._leased or self._changes:
            asyncio.get_running_loop().call_soon(self._flush)
        if isinstance(answer, Exception):
            if not (batch or isinstance(answer, StoreUnavailable)):  # that one is logged by the connection
                logger.error("leases could not be changed", exc_info=answer)
            _fail(batch, answer)
            return
        now, *replies = answer
        for waiting, reply in zip(batch, replies, strict=True):
            _give(waiting, now, reply)

    def _resolve(self, asked: AdmissionRequest, facts: "asyncio.Future[AdmissionFacts]", now: int, reply: Any) -> None:
        try:
            found = reply if isinstance(reply, Exception) else read_facts(asked, now, reply)
        except Exception as error:  # a malformed record: its request fails, and would wait for ever otherwise
            found = error
        if facts.cancelled():
            self._call_back(facts, None if isinstance(found, Exception) else found)
        elif facts.done():
            return  # its request was told that Redis is late
        elif isinstance(found, Exception):
            facts.set_exception(found)
        else:
            facts.set_result(found)

    def _call_back(self, facts: "asyncio.Future[AdmissionFacts]", found: AdmissionFacts | None) -> None:
        callback = self._callbacks.pop(facts, None)
        if callback is not None:
            callback(found)
        else:
            self._early[facts] = found

    def _arguments(self, batch: Sequence[_Waiting], changes: Sequence[LeaseChange]) -> tuple[list[str], list[Any]]:
        numbers: dict[bytes, int] = {}
        admissions: list[str | int] = []
        for waiting in batch:
            _, digest, script_rule, export_key, project, network = waiting.question
            number = numbers.setdefault(script_rule, len(numbers) + 1)
            admissions += (digest, number, export_key, project, network, waiting.lease)
        keys = [waiting.question[0] for waiting in batch]
        for change in changes:
            keys.append(change.key)
            admissions += (change.lease, change.lives)
        return keys, ["" if self.now is None else self.now, len(changes), len(numbers), *numbers, *admissions]


def build_question(asked: AdmissionRequest) -> Question:
    """Return what the script is asked, but for the lease: two requests with equal questions get equal answers."""
    rule = asked.rule
    network = client_network(asked.address) if rule.counts_addresses else ""
    return (*_find_record(asked.digest), rule.script_rule, asked.export_key, asked.project, network)


@functools.lru_cache(maxsize=4096)
def _find_record(digest: str) -> tuple[str, str]:
    """Return the key of a token's record, and the rest of the digest, which the record has."""
    return redis_keys.token(token_id(digest)), digest_rest(digest)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for waiting in batch:
        _give(waiting, 0, error)


def _give(waiting: _Waiting, now: int, reply: Any) -> None:
    """Give a reply to the request that waits for it; a fault of that one keeps none of the others waiting."""
    try:
        waiting.take(now, reply)
    except Exception:
        logger.exception("an admission: internal error")
