"""Admission: one round trip for everything that the decision on a request needs.

The admissions of one event-loop tick leave together, in one EVALSHA: thirty-two connections then cost the gateway and
Redis little more than one.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.connection import RedisConnection, StallTolerantTimeout
from gateway.adapters.redis.script_connection import ScriptRunner
from gateway.adapters.redis.scripts import read_facts, read_script
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest
from gateway.core.errors import StoreUnavailable
from gateway.core.http.client_address import client_network
from gateway.core.tokens.records import digest_rest
from gateway.core.tokens.text import token_id

MAXIMUM_BATCH = 128
"""Admissions in one script call: it blocks Redis for about a millisecond."""
LEAST_SECONDS = 0.02
"""The least time for a call: a delay of this worker itself is not Redis' delay."""


class _Waiting(msgspec.Struct, frozen=True):
    asked: AdmissionRequest
    facts: "asyncio.Future[AdmissionFacts]"
    late_at: float
    """The loop time at which its request has waited its full timeout, for the call before and for its own.

    It is infinite if no call was before: then the connection bounds the wait.
    """


class RedisAdmissions:
    """The admissions of each tick, in one call.

    `now` sets the script's clock in Unix milliseconds, None leaves it to Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self.now: int | None = None
        self._connection = connection
        self._runner = ScriptRunner(connection, read_script("quotas.lua", "charging.lua", "tokens.lua", "admit.lua"))
        self._waiting: list[_Waiting] = []
        self._timeout: StallTolerantTimeout | None = None
        self._told: dict[int, Callable[[AdmissionFacts | None], None]] = {}
        """Who is told of admissions that nobody awaits, by the identity of what was asked."""
        self._is_under_way = False
        """A script call: one at a time. What arrives meanwhile leaves with the next: the busier the gateway, the larger
        its batches."""

    def admit(self, asked: AdmissionRequest) -> "asyncio.Future[AdmissionFacts]":
        """Return a future of what Redis knows of the token; see ports.Admissions."""
        loop = asyncio.get_running_loop()
        facts: asyncio.Future[AdmissionFacts] = loop.create_future()
        if not (self._waiting or self._is_under_way):
            loop.call_soon(self._flush)
        late_at = loop.time() + self._connection.timeout_seconds if self._is_under_way else math.inf
        self._waiting.append(_Waiting(asked, facts, late_at))
        return facts

    def tell(
        self,
        asked: AdmissionRequest,
        facts: "asyncio.Future[AdmissionFacts]",
        then: Callable[[AdmissionFacts | None], None],
    ) -> None:
        """Call `then` with the result of an admission that nobody awaits any more; see ports.Admissions."""
        if facts.cancelled():
            self._told[id(asked)] = then
        else:  # it was there already, just before its request had gone
            then(None if facts.exception() else facts.result())

    def _flush(self) -> None:
        batch, self._waiting = self._waiting[:MAXIMUM_BATCH], self._waiting[MAXIMUM_BATCH:]
        keys, arguments = self._arguments(batch)
        self._is_under_way = True
        if batch[0].late_at < math.inf:
            self._watch(batch)
        self._runner.call(keys, arguments, partial(self._take, batch))

    def _watch(self, batch: Sequence[_Waiting]) -> None:
        """Bound the wait of requests that have waited for the call before theirs already."""
        left = batch[0].late_at - asyncio.get_running_loop().time()
        self._timeout = StallTolerantTimeout(max(LEAST_SECONDS, left), partial(self._refuse_late, batch))

    def _refuse_late(self, batch: Sequence[_Waiting]) -> None:
        """Refuse the requests whose time is over. Redis may still charge them: the call is under way."""
        now = asyncio.get_running_loop().time()
        late = [waiting for waiting in batch if waiting.late_at <= now]
        _fail(late, StoreUnavailable(f"Redis did not answer within {self._connection.timeout_seconds} s"))
        rest = batch[len(late) :]
        if rest and rest[0].late_at < math.inf:
            self._watch(rest)

    def _take(self, batch: Sequence[_Waiting], answer: Any) -> None:
        self._is_under_way = False
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        if isinstance(answer, Exception):
            _fail(batch, answer)
            for waiting in batch if self._told else ():
                self._tell(waiting.asked, None)
            return
        now, *replies = answer
        for waiting, reply in zip(batch, replies, strict=True):
            if waiting.facts.done():  # its request may have gone meanwhile
                if self._told:
                    self._tell(waiting.asked, read_facts(waiting.asked, now, reply))
                continue
            try:
                waiting.facts.set_result(read_facts(waiting.asked, now, reply))
            except Exception as error:  # a record that is none: its request fails, and waits for ever otherwise
                waiting.facts.set_exception(error)

    def _tell(self, asked: AdmissionRequest, facts: AdmissionFacts | None) -> None:
        told = self._told.pop(id(asked), None)
        if told is not None:
            told(facts)

    def _arguments(self, batch: Sequence[_Waiting]) -> tuple[list[str], list[Any]]:
        numbers: dict[bytes, int] = {}
        admissions: list[str | int] = []
        for waiting in batch:
            asked = waiting.asked
            number = numbers.setdefault(asked.rule.script_rule, len(numbers) + 1)
            network = client_network(asked.address) if asked.rule.counts_addresses else ""
            admissions += (digest_rest(asked.digest), number, asked.export_key, asked.project, network, asked.lease)
        keys = [redis_keys.token(token_id(waiting.asked.digest)) for waiting in batch]
        return keys, ["" if self.now is None else self.now, len(numbers), *numbers, *admissions]


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.facts.done():
            waiting.facts.set_exception(error)
