"""Open streams, and the tokens they belong to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.adapters.revocation_watch import POLL_SECONDS, StreamWatch
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Restrictions
from gateway.core.errors import StoreUnavailable, StreamRevoked
from gateway.core.http.messages import ContentStream
from gateway.core.http.reasons import Reason
from gateway.core.tokens.owners import OwnerStanding
from gateway.core.tokens.records import TokenRecord
from tests.adapters.raw_backend import ManualClock, settle
from tests.support.policies import make_record, rule_for

NOW = 1_800_000_000
INSTANT = 2**-10
"""Seconds: a millisecond that floats can be added up of."""
RECORD = make_record(plan="pro")
RULE = rule_for("GET /export")


def facts_of(record: TokenRecord | None = RECORD, **changes: Any) -> AdmissionFacts:
    values = {"is_revoked": False, "is_charged": True, "windows": (), "stored_heads": ()}
    return AdmissionFacts(
        **{"request": AdmissionRequest(RULE), "now": NOW * 1000, "record": record, **values, **changes}
    )


class Endless:
    """Content whose next piece never comes."""

    def __init__(self) -> None:
        self.is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def aclose(self) -> None:
        self.is_closed = True


class Store:
    """What Redis knows of a token, by its digest, and a watch that asks for it under a clock of the test's own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._began = self.clock.time()
        self.watch = StreamWatch(self._find_facts, self.clock)
        self.known = {RECORD.digest: facts_of()}
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.ended: list[Reason] = []

    @property
    def now(self) -> int:
        """Redis' clock, Unix time in milliseconds."""
        return NOW * 1000 + round((self.clock.time() - self._began) * 1000)

    async def _find_facts(self, asked: Sequence[AdmissionRequest]) -> list[AdmissionFacts]:
        self.asked.append(sorted(one.digest for one in asked))
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return [replace(self.known[one.digest], now=self.now) for one in asked]

    def open(self, content: ContentStream, digest: str = RECORD.digest) -> ContentStream:
        """A stream that is admitted now."""
        return self.watch.watch(
            replace(self.known[digest], now=self.now), lambda: AdmissionRequest(RULE, digest), content
        )

    def end(self, reason: Reason) -> None:
        self.ended.append(reason)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await settle()


async def start_reading(stream: ContentStream) -> "asyncio.Task[bytes]":
    """A task that waits for the first piece."""

    async def read() -> bytes:
        try:
            return await anext(aiter(stream))
        finally:
            await stream.aclose()

    reading = asyncio.create_task(read())
    await settle()
    return reading


def reason_of(reading: "asyncio.Task[Any]") -> Reason:
    """Why the reader of a stream was told that it has ended."""
    assert reading.done()
    error = reading.exception()
    assert isinstance(error, StreamRevoked)
    return error.reason


BLOCKED = Restrictions(owner=OwnerStanding("blocked", "read"))
PARENT = make_record("sml_parent", plan="pro")
CHILD = replace(RECORD, parent=PARENT.identity)
REFUSED: list[tuple[AdmissionFacts, Reason]] = [
    (facts_of(is_revoked=True), Reason.REVOKED_TOKEN),
    (facts_of(None), Reason.UNKNOWN_TOKEN),
    (facts_of(replace(RECORD, is_active=False)), Reason.DISABLED_TOKEN),
    (facts_of(replace(RECORD, expires_at=NOW)), Reason.EXPIRED_TOKEN),
    (facts_of(replace(RECORD, not_before=NOW + 60)), Reason.NOT_YET_VALID_TOKEN),
    (facts_of(CHILD, restrictions=Restrictions(parent=None)), Reason.PARENT_ENDED),
    (facts_of(CHILD, restrictions=Restrictions(parent=PARENT, is_parent_revoked=True)), Reason.PARENT_ENDED),
    (facts_of(CHILD, restrictions=Restrictions(parent=replace(PARENT, is_active=False))), Reason.PARENT_ENDED),
    (facts_of(restrictions=BLOCKED), Reason.OWNER_BLOCKED),
    (facts_of(restrictions=Restrictions(owner=OwnerStanding("active", None))), Reason.OTHER_PROJECT),
    (facts_of(replace(RECORD, scopes="")), Reason.INSUFFICIENT_SCOPE),
    (facts_of(restrictions=Restrictions(owner=OwnerStanding("active", ""))), Reason.INSUFFICIENT_SCOPE),
    (facts_of(replace(RECORD, plan="gone")), Reason.INSUFFICIENT_PLAN),
]


@pytest.mark.parametrize(("facts", "reason"), REFUSED, ids=[f"{n}-{reason}" for n, (_, reason) in enumerate(REFUSED)])
async def test_a_stream_ends_when_a_request_for_it_would_be_refused(facts: AdmissionFacts, reason: Reason) -> None:
    """For every reason but a quota, at the next look: its reader gets an error, never a clean end."""
    store, bad, good = Store(), Endless(), Endless()
    store.known["other"] = facts_of()
    streams = [store.open(bad), store.open(good, "other")]
    reading, going = [await start_reading(stream) for stream in streams]
    await store.pass_time(POLL_SECONDS)
    assert not reading.done()
    store.known[RECORD.digest] = facts
    await store.pass_time(POLL_SECONDS)
    assert reason == reason_of(reading)
    assert bad.is_closed
    assert not good.is_closed
    assert not going.done()
    assert [sorted([RECORD.digest, "other"])] * 2 == store.asked
    going.cancel()
    store.watch.stop()


@pytest.mark.parametrize("of_parent", [False, True])
async def test_a_stream_ends_at_the_very_end_of_its_token(of_parent: bool) -> None:
    """Or of its parent: not before, and not at the next look after it; a timer is set for it."""
    store, ends = Store(), NOW + 5
    facts = facts_of(replace(RECORD, expires_at=ends))
    if of_parent:
        facts = facts_of(CHILD, restrictions=Restrictions(parent=replace(PARENT, expires_at=ends)))
    store.known[RECORD.digest] = facts
    await store.pass_time(0.25)  # looks are not at whole seconds of Redis' clock
    reading = await start_reading(store.open(Endless()))
    for _ in range(4):
        await store.pass_time(1)
    await store.pass_time(0.75 - INSTANT)
    assert not reading.done()
    await store.pass_time(INSTANT)
    assert ends * 1000 == store.now
    assert (Reason.PARENT_ENDED if of_parent else Reason.EXPIRED_TOKEN) == reason_of(reading)


@contextmanager
def following(forget: Callable[[], None]) -> Iterator[None]:
    """Follow a stream until the end of the block."""
    try:
        yield
    finally:
        forget()


async def test_an_end_that_is_brought_forward_or_put_off_counts() -> None:
    """What the last look found is what the timer goes by, and what Redis says then decides."""
    store = Store()
    store.known[RECORD.digest] = facts_of(replace(RECORD, expires_at=NOW + 2))
    reading = await start_reading(store.open(Endless()))
    store.known[RECORD.digest] = facts_of(replace(RECORD, expires_at=NOW + 60))
    await store.pass_time(1)
    await store.pass_time(1)
    assert not reading.done()
    store.known[RECORD.digest] = facts_of(replace(RECORD, expires_at=NOW + 4))  # such as the overlap of a rotation
    await store.pass_time(1)
    await store.pass_time(1 - INSTANT)
    assert not reading.done()
    await store.pass_time(INSTANT)
    assert Reason.EXPIRED_TOKEN == reason_of(reading)


async def test_a_used_up_quota_ends_no_stream() -> None:
    """It was charged when it began; what is asked meanwhile is charged to nobody, and nothing is found of windows."""
    store = Store()
    store.known[RECORD.digest] = facts_of(replace(RECORD, plan="free"))
    reading = await start_reading(store.open(Endless()))
    for _ in range(5):
        await store.pass_time(1)
    assert not reading.done()
    reading.cancel()
    store.watch.stop()


async def test_a_stream_is_under_the_rule_of_the_moment() -> None:
    """Another rule asks for other scopes; where no rule is left, or the credential counts no longer, it ends."""
    found: list[AdmissionRequest | Reason] = [AdmissionRequest(RULE, RECORD.digest)]
    store = Store()
    store.known[RECORD.digest] = facts_of(replace(RECORD, scopes="read"))
    for answer, reason in (
        (AdmissionRequest(rule_for("POST /any"), RECORD.digest), Reason.INSUFFICIENT_SCOPE),
        (Reason.NO_MATCHING_RULE, Reason.NO_MATCHING_RULE),
        (Reason.MISSING_CREDENTIALS, Reason.MISSING_CREDENTIALS),
    ):
        found[0] = AdmissionRequest(RULE, RECORD.digest)
        with following(store.watch.follow(facts_of(), lambda: found[0], store.end)):
            await store.pass_time(1)
            assert [] == store.ended
            found[0] = answer
            await store.pass_time(1)
            assert [reason] == store.ended
        store.ended.clear()


async def test_nobodys_stream_is_asked_about_no_one() -> None:
    """A public rule has no token to look for; when it is public no longer, its streams end."""
    store, public = Store(), rule_for("GET /published")
    found: list[AdmissionRequest | Reason] = [AdmissionRequest(public)]
    with following(store.watch.follow(facts_of(None), lambda: found[0], store.end)):
        await store.pass_time(1)
        assert [] == store.ended
        found[0] = Reason.MISSING_CREDENTIALS
        await store.pass_time(1)
        assert [Reason.MISSING_CREDENTIALS] == store.ended
    assert [] == store.asked


async def test_nothing_is_asked_without_an_open_stream() -> None:
    """The watch rests with the last stream, and begins again with the next."""
    store = Store()
    for number in range(1, 3):
        stream = store.open(Endless())
        await store.pass_time(POLL_SECONDS)
        assert number == len(store.asked)
        await stream.aclose()
        await store.pass_time(POLL_SECONDS)
        await store.pass_time(POLL_SECONDS)
        assert number == len(store.asked)


async def test_a_stream_that_ends_while_redis_is_asked() -> None:
    """It is not ended again, whatever the answer is."""
    store = Store()
    store.may_answer.clear()
    with following(store.watch.follow(facts_of(), lambda: AdmissionRequest(RULE, RECORD.digest), store.end)):
        await store.pass_time(POLL_SECONDS)
        assert 1 == len(store.asked)
    store.known[RECORD.digest] = facts_of(is_revoked=True)
    store.may_answer.set()
    await settle()
    assert [] == store.ended


async def test_what_is_open_is_ended_once() -> None:
    """However long it takes to end."""
    store = Store()
    store.known[RECORD.digest] = facts_of(is_revoked=True)
    with following(store.watch.follow(facts_of(), lambda: AdmissionRequest(RULE, RECORD.digest), store.end)):
        for _ in range(3):
            await store.pass_time(POLL_SECONDS)
    assert [Reason.REVOKED_TOKEN] == store.ended
    assert 1 == len(store.asked)


async def test_while_redis_is_away_what_it_said_last_decides() -> None:
    """Nobody can revoke there, but a token whose end is known ends at its second; then it is asked again."""
    store = Store()
    store.known["ending"] = facts_of(replace(RECORD, expires_at=NOW + 3))
    lasting, ending = [await start_reading(store.open(Endless(), one)) for one in (RECORD.digest, "ending")]
    store.error = StoreUnavailable("away")
    store.known[RECORD.digest] = facts_of(is_revoked=True)
    for _ in range(2):
        await store.pass_time(POLL_SECONDS)
    assert not ending.done()
    await store.pass_time(POLL_SECONDS)
    assert Reason.EXPIRED_TOKEN == reason_of(ending)
    assert not lasting.done()
    store.error = None
    await store.pass_time(POLL_SECONDS)
    assert Reason.REVOKED_TOKEN == reason_of(lasting)


async def test_an_end_that_fails_keeps_no_other_from_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """Of the same token, or one that is opened later; the log tells of the failure."""
    store = Store()
    store.known[RECORD.digest] = facts_of(is_revoked=True)

    def fail(_: Reason) -> None:
        raise RuntimeError("no end")

    with following(store.watch.follow(facts_of(), lambda: AdmissionRequest(RULE, RECORD.digest), fail)):
        others = [await start_reading(store.open(Endless())) for _ in range(4)]
        await store.pass_time(POLL_SECONDS)
        assert [Reason.REVOKED_TOKEN] * 4 == [reason_of(other) for other in others]
    late = await start_reading(store.open(Endless()))
    await store.pass_time(POLL_SECONDS)
    assert Reason.REVOKED_TOKEN == reason_of(late)
    assert {"RuntimeError: no end"} == {(record.exc_text or "").splitlines()[-1] for record in caplog.records}


async def test_a_question_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """Whether it is the store's or what rule there is: the mistake is told of, and the watch goes on."""
    store, failing = Store(), [True]

    def ask() -> AdmissionRequest | Reason:
        if failing[0]:
            raise LookupError("no rule")
        return AdmissionRequest(RULE, RECORD.digest)

    reading = await start_reading(store.open(Endless()))
    with following(store.watch.follow(facts_of(), ask, store.end)):
        store.error = RuntimeError("no answer")
        store.known[RECORD.digest] = facts_of(is_revoked=True)
        await store.pass_time(POLL_SECONDS)
        assert not reading.done()
        assert [] == store.ended
        store.error, failing[0] = None, False
        await store.pass_time(POLL_SECONDS)
        assert [Reason.REVOKED_TOKEN] == store.ended
    assert Reason.REVOKED_TOKEN == reason_of(reading)
    told = [(record.exc_text or "").splitlines()[-1] for record in caplog.records]
    assert ["LookupError: no rule", "RuntimeError: no answer"] == told


async def test_a_reader_that_waits_for_its_client_is_told_as_well() -> None:
    """Who takes nothing is cut all the same, and its reader gets StreamRevoked, no cancellation."""
    store, content = Store(), Given(b"piece", b"another")
    stream = store.open(content)

    async def send() -> None:
        try:
            async for _ in stream:
                await asyncio.Event().wait()  # until the client takes it
        finally:
            await stream.aclose()

    sending = asyncio.create_task(send())
    await settle()
    store.known[RECORD.digest] = facts_of(is_revoked=True)
    await store.pass_time(POLL_SECONDS)
    assert Reason.REVOKED_TOKEN == reason_of(sending)
    assert 0 == sending.cancelling()
    assert content.is_closed


async def test_a_reader_that_is_cancelled_for_something_else_too_is_cancelled() -> None:
    """A client that leaves at the same moment is a client that has left."""
    store = Store()
    reading = await start_reading(store.open(Endless()))
    store.known[RECORD.digest] = facts_of(is_revoked=True)
    store.clock.advance(POLL_SECONDS)
    reading.cancel()
    await settle()
    assert reading.cancelled()


async def test_what_is_ended_before_it_is_read_is_not_read() -> None:
    """Not its first piece either."""
    store, content = Store(), Given(b"piece")
    stream = store.open(content)
    store.known[RECORD.digest] = facts_of(is_revoked=True)
    await store.pass_time(POLL_SECONDS)
    for _ in range(2):
        with pytest.raises(StreamRevoked):
            await anext(aiter(stream))
    await stream.aclose()
    assert content.is_closed


class Given(Endless):
    """Pieces that are at hand."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self._given = list(pieces)

    async def __anext__(self) -> bytes:
        return self._given.pop(0)
