"""One request from head to response: the embedded store, scripted backends, everything between them real."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import pytest

from gateway.adapters.encodings.encoder import ContentEncoder
from gateway.adapters.failed_credentials import FailedCredentials
from gateway.adapters.redis_admissions import RedisAdmissions
from gateway.adapters.redis_connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis_exports import RedisExports
from gateway.adapters.redis_fetches import RedisFetches
from gateway.adapters.redis_settlements import RedisSettlements
from gateway.adapters.redis_tokens import RedisTokens
from gateway.adapters.rendering import ProcessRenderer
from gateway.adapters.scripted_upstreams import ScriptedUpstreams
from gateway.adapters.stream_watch import StreamWatch
from gateway.app import request_ids
from gateway.contents import Contents
from gateway.core.administration import TokenRequest, TokenState
from gateway.core.caching.storing import MAXIMUM_EXPORT_BYTES
from gateway.core.children import make_child
from gateway.core.errors import UpstreamBroken, UpstreamBusy, UpstreamDropped, UpstreamTimeout, UpstreamUnreachable
from gateway.core.messages import ContentStream, Field, RequestHead, Response, ResponseHead, field_value, field_values
from gateway.core.owners import OwnerRecord, OwnerStatus
from gateway.core.policies.loading import load_policies
from gateway.core.policies.rules import PolicySet
from gateway.core.records import AccessRecord, TokenRecord
from gateway.core.tokens import build_checksum, token_id
from gateway.exchange import Exchange
from gateway.fetching import Fetching
from gateway.retrieval import Retrieval
from gateway.shaping import Shaping
from tests.support.policies import SMALL, make_record

NOW = 1_800_000_000_000
TEXT = "sml_" + "0" * 34 + build_checksum("sml_" + "0" * 34)


def ok(*fields: Field, content: bytes | ContentStream = b"content", status: int = 200) -> Response:
    """An answer of a backend."""
    return Response(ResponseHead(status, list(fields)), content)


class Pieces:
    """Content that arrives in pieces; knows whether it was given up."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = iter(pieces)
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        self.is_closed = True


class Room:
    """An exchange with what it needs, and one token."""

    def __init__(
        self, answers: Sequence[Response | Exception], policy: str, failures: FailedCredentials | None
    ) -> None:
        client = open_client(EMBEDDED, 5)
        self.connection = RedisConnection(client, 5)
        self.current: PolicySet = load_policies({"small.toml": policy})
        self.upstreams = ScriptedUpstreams(answers)
        self.exports = RedisExports(self.connection, 1 << 20)
        self.admissions = RedisAdmissions(self.connection)
        self.records: list[AccessRecord] = []
        streams = StreamWatch(RedisTokens(self.connection).are_revoked)
        self.fetches = RedisFetches(self.connection, look_seconds=0, marks={})
        counts = self.exports.counts
        self.encoder = ContentEncoder()
        contents = Contents(self.exports, self.encoder)
        parts = (self.exports, contents, self.fetches, self.upstreams, streams, counts)
        documents = Retrieval(contents, Fetching(*parts), self.fetches, Counter())
        self.renderer = ProcessRenderer()
        self.fetching = Fetching(*parts, Shaping(documents, self.exports, self.renderer))
        self.retrieval = Retrieval(contents, self.fetching, self.fetches, counts)
        self.settlements = RedisSettlements(self.connection, request_ids().__next__)
        self.now = NOW
        self.exchange = Exchange(
            policies=self,
            admissions=self.admissions,
            retrieval=self.retrieval,
            settlements=self.settlements,
            failures=failures,
            access_log=self,
            pepper=b"",
        )

    @property
    def now(self) -> int:
        """Redis' clock, as all scripts read it."""
        return self.admissions.now or 0

    @now.setter
    def now(self, milliseconds: int) -> None:
        self.admissions.now = self.exports.now = self.fetches.now = self.settlements.now = milliseconds

    def append(self, record: AccessRecord) -> None:
        self.records.append(record)

    async def create(self, record: TokenRecord) -> None:
        await RedisTokens(self.connection).create(record)

    async def ask(
        self,
        request: str,
        *fields: Field,
        text: str | None = TEXT,
        content: AsyncIterator[bytes] | None = None,
        client: str = "192.0.2.1",
        upgrade: bytes = b"",
    ) -> Response:
        method, _, target = request.partition(" ")
        path, _, query = target.partition("?")
        own = [(b"host", b"small.example"), *fields]
        if text is not None:
            own.append((b"authorization", f"Bearer {text}".encode()))
        head = RequestHead(
            method, path, query, own, "http", client, client, "build-42", "small.example", NOW / 1000, upgrade
        )
        return await self.exchange.answer(head, content)


def run(
    work: Callable[[Room], Awaitable[None]],
    *answers: Response | Exception,
    policy: str = SMALL,
    plan: str = "open",
    failures: FailedCredentials | None = None,
) -> None:
    async def run_all() -> None:
        room = Room(answers, policy, failures)
        try:
            await room.create(make_record(TEXT, plan=plan))
            await work(room)
        finally:
            await room.retrieval.close()
            await room.fetching.close()
            room.renderer.close()
            room.encoder.close()
            await room.fetches.close()
            await room.connection.close()

    asyncio.run(run_all())


def field(response: Response, name: bytes) -> bytes | None:
    assert len(field_values(response.head.fields, name)) <= 1
    return field_value(response.head.fields, name)


def test_an_export_is_stored_reused_and_not_sent_again() -> None:
    """Asked once of the backend: then the same answer with its age, and 304 for who has it."""

    async def work(room: Room) -> None:
        first = await room.ask("GET /export?a=1")
        assert b"gateway; fwd=uri-miss; stored" == field(first, b"cache-status")
        tag = field(first, b"etag") or b""
        assert tag.startswith(b'W/"')
        assert b"private, no-cache" == field(first, b"cache-control")
        room.now = NOW + 2500
        second = await room.ask("GET /export?a=1")
        assert (b"content", b"2", b"gateway; hit; ttl=57") == (
            second.content,
            field(second, b"age"),
            field(second, b"cache-status"),
        )
        assert tag == field(second, b"etag")
        for if_none_match in (tag, tag.removeprefix(b"W/"), b'"a", ' + tag + b', "b"', b"*"):
            third = await room.ask("GET /export?a=1", (b"if-none-match", if_none_match))
            assert (304, b"", tag) == (third.head.status, third.content, field(third, b"etag"))
        assert 1 == len(room.upstreams.sent)
        assert b'W/"other"' != tag
        assert 200 == (await room.ask("GET /export?a=1", (b"if-none-match", b'W/"other"'))).head.status

    run(work, ok((b"content-type", b"text/css")))


def test_a_304_carries_what_the_200_would_have() -> None:
    """Content-Location, Date, ETag, Vary, Cache-Control and Expires, and no field of the content itself."""

    async def work(room: Room) -> None:
        stored = await room.ask("GET /export")
        answer = await room.ask("GET /export", (b"if-none-match", b"*"))
        kept = {name for name, _ in answer.head.fields}
        expected = {b"content-location", b"date", b"etag", b"vary", b"cache-control", b"expires"}
        assert expected | {b"age", b"cache-status", b"x-request-id"} == kept
        assert field(stored, b"date") == field(answer, b"date")

    fields = [
        (b"content-location", b"/x"),
        (b"date", b"Sat, 21 Nov 2026 06:00:00 GMT"),
        (b"vary", b"accept-language"),
        (b"expires", b"Sat, 21 Nov 2026 07:00:00 GMT"),
        (b"content-type", b"text/plain"),
        (b"content-language", b"de"),
        (b"last-modified", b"Sat, 21 Nov 2026 05:00:00 GMT"),
    ]
    run(work, ok(*fields))


def test_a_fresh_answer_that_the_client_has_is_304_too() -> None:
    """The backend is asked for all of it, unconditionally, and the client is told that nothing has changed."""

    async def work(room: Room) -> None:
        tag = field(await room.ask("GET /export?1"), b"etag") or b""
        answer = await room.ask("GET /export?2", (b"if-none-match", tag), (b"range", b"bytes=0-1"))
        assert (304, b"") == (answer.head.status, answer.content)
        assert [] == [name for name, _ in room.upstreams.sent[1].fields if name in (b"if-none-match", b"range")]

    run(work, ok(), ok())


def test_exports_are_shared_within_a_project_and_not_beyond() -> None:
    """A second token of the project gets the stored answer, one of another project makes the backend be asked."""

    async def work(room: Room) -> None:
        texts = [f"sml_{digit * 34}" for digit in "123"]
        texts = [text + build_checksum(text) for text in texts]
        for text, project in zip(texts, ("website", "other", ""), strict=True):
            await room.create(make_record(text, plan="open", project=project))
        await room.ask("GET /export")
        contents = [(await room.ask("GET /export", text=text)).content for text in texts]
        assert [b"first", b"second", b"third"] == contents
        assert b"fourth" == (await room.ask("GET /export", text=texts[2])).content

    run(work, *(ok(content=content) for content in (b"first", b"second", b"third", b"fourth")))


@pytest.mark.parametrize(
    "answer",
    [
        ok((b"cache-control", b"no-store")),
        ok((b"cache-control", b"private")),
        ok((b"set-cookie", b"a=1")),
        ok((b"vary", b"*")),
        ok(status=203),
        ok(status=404),
        ok((b"gateway-cache-control", b"no-store"), (b"cache-control", b"public, max-age=60")),
    ],
)
def test_what_may_not_be_stored_is_asked_for_again(answer: Response) -> None:
    """The backend's own word, a cookie, Vary: * or another status keep an answer out of the cache."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        again = await room.ask("GET /export")
        assert b"gateway; fwd=uri-miss; stored" == field(again, b"cache-status")
        assert 2 == len(room.upstreams.sent)

    run(work, answer, ok())


def test_a_variant_is_reused_for_the_same_fields_only() -> None:
    """Vary: another language makes the backend be asked."""

    async def work(room: Room) -> None:
        german, french = (b"accept-language", b"de"), (b"accept-language", b"fr")
        await room.ask("GET /export", german)
        assert b"content" == (await room.ask("GET /export", german)).content
        missed = await room.ask("GET /export", french)
        assert (b"contenu", b"gateway; fwd=vary-miss; stored") == (missed.content, field(missed, b"cache-status"))

    run(work, ok((b"vary", b"Accept-Language")), ok((b"vary", b"Accept-Language"), content=b"contenu"))


def test_an_export_that_is_no_longer_fresh_is_asked_for_again() -> None:
    """After the rule's minute the backend is asked, also where the store still has the old answer."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 60_000
        answer = await room.ask("GET /export")
        assert (b"new", b"gateway; fwd=stale; stored") == (answer.content, field(answer, b"cache-status"))

    run(work, ok(), ok(content=b"new"))


STALE = SMALL.replace('cache = { fresh = "1m" }', 'cache = { fresh = "1m", stale_if_error = "1h" }')


@pytest.mark.parametrize(
    "failure", [UpstreamUnreachable("x"), UpstreamTimeout("x"), UpstreamBroken("x"), ok(status=500), ok(status=503)]
)
def test_a_stale_export_stands_in_for_a_failing_backend(failure: Response | Exception) -> None:
    """Content and 304 alike, saying so, until stale_if_error is over; authorisation holds all the same."""

    async def work(room: Room) -> None:
        tag = field(await room.ask("GET /export"), b"etag") or b""
        room.now = NOW + 61_000
        stale = await room.ask("GET /export")
        assert (200, b"content", b"61", b"gateway; hit; ttl=-1; detail=stale-if-error") == (
            stale.head.status,
            stale.content,
            field(stale, b"age"),
            field(stale, b"cache-status"),
        )
        assert 304 == (await room.ask("GET /export", (b"if-none-match", tag))).head.status
        room.now = NOW + 60_000 + 3_600_000
        assert (await room.ask("GET /export")).head.status >= 500
        assert 401 == (await room.ask("GET /export", text=OTHER)).head.status

    run(work, ok(), failure, failure, failure, policy=STALE)


def test_a_backend_that_is_back_is_asked_again() -> None:
    """A stale export stands in for failures only: the first good answer replaces it, and other errors pass."""
    broken = Pieces(b"oops")

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        assert b"content" == (await room.ask("GET /export")).content
        assert broken.is_closed
        assert 404 == (await room.ask("GET /export")).head.status
        assert b"new" == (await room.ask("GET /export")).content

    run(work, ok(), ok(status=502, content=broken), ok(status=404), ok(content=b"new"), policy=STALE)


def test_without_stale_if_error_a_failure_is_a_failure() -> None:
    """A rule that does not ask for it gets no stale answers."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        assert 502 == (await room.ask("GET /export")).head.status

    run(work, ok(), UpstreamUnreachable("x"))


def test_content_that_has_gone_is_asked_for_again() -> None:
    """A head whose content Redis no longer has, and memory neither, is a miss."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        (name,) = await room.connection.client.keys("gw1:content:*")
        await room.connection.client.delete(name)
        room.exports.forget()
        assert b"new" == (await room.ask("GET /export")).content

    run(work, ok(), ok(content=b"new"))


def test_head_and_other_methods_fill_no_cache() -> None:
    """HEAD is answered from a stored export and stores none; a write passes by the cache."""

    async def work(room: Room) -> None:
        assert b"gateway; fwd=uri-miss" == field(await room.ask("HEAD /export"), b"cache-status")
        whole = await room.ask("GET /export")
        head = await room.ask("HEAD /export")
        assert (b"", field(whole, b"content-length")) == (head.content, b"7")
        written = await room.ask("POST /export")
        assert (201, None) == (written.head.status, field(written, b"cache-status"))

    run(work, ok(content=b""), ok(), ok(status=201))


def test_content_in_pieces_is_stored_whole_or_streamed() -> None:
    """An export in pieces is collected and tagged; one beyond the limit streams through as it is."""
    huge = Pieces(b"x" * MAXIMUM_EXPORT_BYTES, b"y", b"z")

    async def work(room: Room) -> None:
        small = await room.ask("GET /export?small")
        assert (b"one two", b"7") == (small.content, field(small, b"content-length"))
        large = await room.ask("GET /export?large")
        assert not isinstance(large.content, bytes)
        assert MAXIMUM_EXPORT_BYTES + 2 == sum([len(piece) async for piece in large.content])
        await large.content.aclose()
        assert (None, True) == (field(large, b"etag"), huge.is_closed)

    run(work, ok(content=Pieces(b"one ", b"two")), ok(content=huge))


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UpstreamUnreachable("x"), 502, "upstream_unreachable"),
        (UpstreamBroken("x"), 502, "upstream_broken"),
        (UpstreamDropped("x"), 502, "upstream_broken"),
        (UpstreamTimeout("x"), 504, "upstream_timeout"),
        (UpstreamBusy("x"), 503, "upstream_busy"),
    ],
)
def test_a_backend_that_fails_is_answered_for(error: Exception, status: int, reason: str) -> None:
    """Each failure has its status, must not be stored, and is in the access log."""

    async def work(room: Room) -> None:
        answer = await room.ask("GET /export")
        assert (status, b"no-store") == (answer.head.status, field(answer, b"cache-control"))
        assert (status, reason) == (room.records[-1].status, room.records[-1].reason)
        assert None is field(answer, b"cache-status")
        assert (b"1" if status == 503 else None) == field(answer, b"retry-after")

    run(work, error)


def test_the_backends_own_rate_limits_stay() -> None:
    """RateLimit fields of the backend are joined by ours, not replaced: the client sees the stricter of both."""

    async def work(room: Room) -> None:
        answer = await room.ask("GET /costly")
        assert b'"minute";r=49;t=60, "backend";r=1;t=9' == field(answer, b"ratelimit")

    run(work, ok((b"ratelimit", b'"backend";r=1;t=9')), plan="pro")


def test_a_token_that_ends_soon_says_when() -> None:
    """Within two weeks of its end every answer has X-Token-Expires-At, before that none has."""

    async def work(room: Room) -> None:
        day = 86400
        seen = []
        for digit, days in (("1", 15), ("2", 13)):
            text = f"sml_{digit * 34}"
            text += build_checksum(text)
            await room.create(make_record(text, plan="open", expires_at=NOW // 1000 + days * day))
            seen.append(field(await room.ask("GET /other", text=text), b"x-token-expires-at"))
        assert [None, b"2027-01-28T08:00:00Z"] == seen

    run(work, ok(), ok())


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_access_record_has_the_inputs_and_the_verdict() -> None:
    """Who, what, by which rule, with which outcome; and no credential."""

    async def work(room: Room) -> None:
        parent = (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())
        await room.ask("GET /export?q=secret", parent)
        await room.ask("GET /export", parent, text=None)
        refused = AccessRecord(
            time=NOW / 1000,
            request_id="build-42",
            client="192.0.2.1",
            method="GET",
            host="small.example",
            path="/export",
            status=401,
            policy="small",
            rule="GET /export",
            reason="missing_credentials",
            trace=TRACE,
            span=room.records[1].span,
        )
        passed = msgspec.structs.replace(
            refused,
            status=200,
            reason="",
            token=token_id(make_record(TEXT).digest),
            token_name="CI",
            cache="gateway; fwd=uri-miss; stored",
            plan="open",
            project="website",
            cost=1,
        )
        assert [passed, refused] == room.records

    run(work, ok())


def test_a_refused_request_never_reaches_the_backend() -> None:
    """Nothing is sent for a bad path, no rule, no token, no scope, no room in the quota."""

    async def work(room: Room) -> None:
        await room.create(make_record(OTHER, plan="free"))
        statuses = [
            (await room.ask("GET /a/../b")).head.status,
            (await room.ask("GET /export", text=None)).head.status,
            (await room.ask("GET /export", text="sml_x")).head.status,
            (await room.ask("POST /any", text=OTHER)).head.status,
        ]
        assert [400, 401, 401, 403] == statuses
        assert [] == room.upstreams.sent

    run(work)


OTHER = "sml_" + "9" * 34 + build_checksum("sml_" + "9" * 34)


def test_a_client_with_too_many_bad_credentials_is_told_nothing_more() -> None:
    """After the limit a good credential gets the same 429 as a bad one; other clients are not concerned."""

    async def work(room: Room) -> None:
        for text in (OTHER, "sml_malformed", OTHER):
            assert 401 == (await room.ask("GET /other", text=text)).head.status
        asked = len(room.records)
        refused = [await room.ask("GET /other", text=text) for text in (TEXT, OTHER, "sml_malformed")]
        contents = {(answer.head.status, field(answer, b"retry-after"), answer.content) for answer in refused}
        assert 1 == len(contents)
        assert {"too_many_failures"} == {record.reason for record in room.records[asked:]}
        assert all(record.token == "" for record in room.records[asked:])
        assert 401 == (await room.ask("GET /other", text=None)).head.status
        assert 200 == (await room.ask("GET /other", client="192.0.2.2")).head.status

    run(work, ok(), failures=FailedCredentials("3/hour"))


def test_a_good_credential_is_no_failure() -> None:
    """Requests that pass, lack a scope or are over a quota count for nothing."""

    async def work(room: Room) -> None:
        await room.create(make_record(OTHER, plan="free", scopes="read"))
        statuses = [(await room.ask("GET /costly", text=OTHER)).head.status for _ in range(3)]
        statuses += [(await room.ask("POST /any", text=OTHER)).head.status for _ in range(3)]
        assert [200, 429, 429, 403, 403, 403] == statuses

    run(work, ok(), failures=FailedCredentials("1/hour"))


def test_a_token_reaches_the_project_that_it_is_for_and_no_other() -> None:
    """A path that names another project is 403 and never reaches the backend."""

    async def work(room: Room) -> None:
        own = await room.ask("GET /projects/website/content")
        other = await room.ask("GET /projects/shop/content")
        spelled = await room.ask("GET /projects/%77ebsite/content")
        assert (200, 403, 200) == (own.head.status, other.head.status, spelled.head.status)
        assert "other_project" == room.records[1].reason
        assert ["/projects/website/content", "/projects/%77ebsite/content"] == [
            sent.target for sent in room.upstreams.sent
        ]

    run(work, ok(), ok())


def test_the_backend_is_told_the_scopes_of_all_sides() -> None:
    """What a child holds as far as its parent, their owner and their plan have it at the moment."""

    async def work(room: Room) -> None:
        tokens, policy = RedisTokens(room.connection), room.current.policies["small"]
        parent = make_record("sml_parent", scopes="write", plan="open", owner="ada")
        draws = (number.to_bytes(64, "big") for number in range(10_000))
        request = TokenRequest(name="actor")
        text, child = make_child(policy, parent, TokenState.ACTIVE, None, request, draws, b"", NOW // 1000)
        for record in (parent, child):
            await tokens.create(record)
        await room.ask("GET /projects/website/content", text=text)
        writes, reads = (OwnerRecord(OwnerStatus.ACTIVE, {"website": held}, 1) for held in ("write", "read"))
        assert await tokens.owners.replace("small", "ada", None, reads)
        await room.ask("GET /projects/website/content", text=text)
        assert await tokens.owners.replace("small", "ada", reads, msgspec.structs.replace(writes, version=2))
        await room.ask("GET /projects/website/content", text=text)
        assert await tokens.replace(parent, msgspec.structs.replace(parent, plan="free"))
        await room.ask("GET /projects/website/content", text=text)
        assert [b"read write", b"read", b"read write", b"read"] == [
            field_value(sent.fields, b"x-gateway-scopes") for sent in room.upstreams.sent
        ]

    run(work, *(ok() for _ in range(4)))


def test_a_public_rule_asks_for_no_token() -> None:
    """Anybody is answered, also with a token that is no good; the backend sees neither it nor an identity."""

    async def work(room: Room) -> None:
        first = await room.ask("GET /published", text=None)
        second = await room.ask("GET /published", text="sml_nonsense")
        assert (200, 200) == (first.head.status, second.head.status)
        assert b"gateway; hit; ttl=60" == field(second, b"cache-status")
        (sent,) = room.upstreams.sent
        assert not [name for name, _ in sent.fields if name == b"authorization" or name.startswith(b"x-gateway-")]

    run(work, ok((b"cache-control", b"max-age=60")))


def test_a_mistake_of_the_gateway_is_recorded_like_any_other_answer() -> None:
    """500 without a word of it, under the request's id; one line in the access log says so."""

    async def work(room: Room) -> None:
        head = RequestHead("GET", "/export", "", [], "http", "", "", "build-42", "small.example", NOW / 1000)
        answer = room.exchange.give_up(head)
        assert (500, b"build-42") == (answer.head.status, field(answer, b"x-request-id"))
        assert ["internal_error"] == [record.reason for record in room.records]

    run(work)
