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
from gateway.core.recognition.lesson import Answered, Question, Take
from gateway.core.tokens.records import digest_rest
from gateway.core.tokens.text import token_id

MAXIMUM_BATCH = 128
"""Admissions in one script call: it blocks Redis for about a millisecond."""
LEAST_SECONDS = 0.02
"""The least time for a call: a delay of this worker itself is not Redis' delay."""


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    question: Question
    lease: str
    take: Take
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
        self._callbacks: dict[int, Callable[[AdmissionFacts | None], None]] = {}
        """Callbacks for admissions that no request awaits any more, by the identity of their question."""
        self._is_under_way = False
        """A script call: one at a time. What arrives meanwhile leaves with the next: the busier the gateway, the larger
        its batches."""

    def ask(self, question: Question, lease: str, take: Take) -> None:
        """Ask Redis; `take` gets the time and the reply, or StoreUnavailable in the place of the reply.

        After StoreUnavailable it may be called once more, with a reply that came too late.
        """
        loop = asyncio.get_running_loop()
        if not (self._waiting or self._is_under_way):
            loop.call_soon(self._flush)
        late_at = loop.time() + self._connection.timeout_seconds if self._is_under_way else math.inf
        self._waiting.append(_Waiting(question, lease, take, late_at))

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
        self,
        asked: AdmissionRequest,
        facts: "asyncio.Future[AdmissionFacts]",
        then: Callable[[AdmissionFacts | None], None],
    ) -> None:
        """Call `then` with the result of an admission that no request awaits any more; see ports.Admissions."""
        if facts.cancelled():
            self._callbacks[id(asked)] = then
        else:  # the result arrived just before its request ended
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
            return
        now, *replies = answer
        for waiting, reply in zip(batch, replies, strict=True):
            waiting.take(now, reply)

    def _resolve(self, asked: AdmissionRequest, facts: "asyncio.Future[AdmissionFacts]", now: int, reply: Any) -> None:
        is_failed = isinstance(reply, Exception)
        if facts.done():  # its request may have gone meanwhile, or was told that Redis is late
            if self._callbacks:
                self._call_back(asked, None if is_failed else read_facts(asked, now, reply))
        elif is_failed:
            facts.set_exception(reply)
        else:
            try:
                facts.set_result(read_facts(asked, now, reply))
            except Exception as error:  # a malformed record: its request fails, and would wait for ever otherwise
                facts.set_exception(error)

    def _call_back(self, asked: AdmissionRequest, facts: AdmissionFacts | None) -> None:
        callback = self._callbacks.pop(id(asked), None)
        if callback is not None:
            callback(facts)

    def _arguments(self, batch: Sequence[_Waiting]) -> tuple[list[str], list[Any]]:
        numbers: dict[bytes, int] = {}
        admissions: list[str | int] = []
        for waiting in batch:
            _, digest, script_rule, export_key, project, network = waiting.question
            number = numbers.setdefault(script_rule, len(numbers) + 1)
            admissions += (digest, number, export_key, project, network, waiting.lease)
        keys = [waiting.question[0] for waiting in batch]
        return keys, ["" if self.now is None else self.now, len(numbers), *numbers, *admissions]


def build_question(asked: AdmissionRequest) -> Question:
    """Return what the script is asked, but for the lease: two requests with equal questions get equal answers."""
    rule = asked.rule
    network = client_network(asked.address) if rule.counts_addresses else ""
    key = redis_keys.token(token_id(asked.digest))
    return (key, digest_rest(asked.digest), rule.script_rule, asked.export_key, asked.project, network)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for waiting in batch:
        waiting.take(0, error)
