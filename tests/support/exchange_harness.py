"""An exchange without listeners: the embedded store, scripted backends, everything between them real."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from gateway.adapters.encodings.encoder import ContentEncoder
from gateway.adapters.failed_credentials import FailedCredentials
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis.exports import RedisExports
from gateway.adapters.redis.fetch_leases import RedisFetches
from gateway.adapters.redis.quota_refunds import RedisQuotaRefunds
from gateway.adapters.redis.tokens import RedisTokens
from gateway.adapters.renderer import ProcessRenderer
from gateway.adapters.revocation_watch import StreamWatch
from gateway.app import request_ids
from gateway.core.http.messages import (
    ContentStream,
    Ended,
    Field,
    Inform,
    RequestHead,
    Response,
    ResponseHead,
    field_value,
    field_values,
)
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import PolicySet
from gateway.core.tokens.records import AccessRecord, TokenRecord
from gateway.core.tokens.text import build_checksum
from gateway.pipeline.authenticator import Authenticator
from gateway.pipeline.cache import ExportCache
from gateway.pipeline.exchange import Exchange
from gateway.pipeline.fetch import ContentStore, UpstreamFetcher
from gateway.pipeline.variants import VariantBuilder
from tests.adapters.raw_backend import ManualClock
from tests.support.policies import SMALL, make_record
from tests.support.scripted_upstreams import ScriptedUpstreams

NOW = 1_800_000_000_000
TEXT = "sml_" + "0" * 34 + build_checksum("sml_" + "0" * 34)
OTHER = "sml_" + "9" * 34 + build_checksum("sml_" + "9" * 34)
"""The text of a token that is there only where a test creates it."""


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


class ExchangeHarness:
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
        self.clock = ManualClock()
        self.streams = StreamWatch(RedisTokens(self.connection).find_facts, self.clock)
        self.fetches = RedisFetches(self.connection, look_seconds=0, marks={})
        counts = self.exports.counts
        self.encoder = ContentEncoder()
        self.content_store = content_store = ContentStore(self.exports, self.encoder, counts=counts)
        parts = (self.exports, content_store, self.fetches, self.upstreams, counts)
        documents = ExportCache(content_store, UpstreamFetcher(*parts, instance="harness"), self.fetches, Counter())
        self.renderer = ProcessRenderer()
        self.fetcher = UpstreamFetcher(
            *parts, VariantBuilder(documents, self.exports, self.renderer), instance="harness"
        )
        self.export_cache = ExportCache(content_store, self.fetcher, self.fetches, counts)
        self.refunds = RedisQuotaRefunds(self.connection, self.admissions, request_ids().__next__)
        self.now = NOW
        self.exchange = Exchange(
            policies=self,
            admissions=self.admissions,
            export_cache=self.export_cache,
            refunds=self.refunds,
            streams=self.streams,
            authenticator=Authenticator(failures, pepper=b""),
            access_log=self,
            clock=lambda: NOW / 1000,
        )

    @property
    def now(self) -> int:
        """Redis' clock, as all scripts read it."""
        return self.admissions.now or 0

    @now.setter
    def now(self, milliseconds: int) -> None:
        self.admissions.now = self.exports.now = self.fetches.now = self.refunds.now = milliseconds

    def append(self, record: AccessRecord) -> None:
        self.records.append(record)

    def encode(self, record: AccessRecord) -> bytes:
        return msgspec.json.encode(record)

    def append_unbuilt(self, build: Callable[[], bytes]) -> None:
        self.append_line(build())

    def append_line(self, line: bytes) -> None:
        self.records.append(msgspec.json.decode(line, type=AccessRecord))

    async def create(self, record: TokenRecord) -> None:
        await RedisTokens(self.connection).create(record)

    async def close(self) -> None:
        self.streams.stop()
        await self.export_cache.close()
        await self.fetcher.close()
        self.renderer.close()
        self.encoder.close()
        await self.fetches.close()
        await self.connection.close()

    async def ask(
        self,
        request: str,
        *fields: Field,
        text: str | None = TEXT,
        content: AsyncIterator[bytes] | None = None,
        client: str = "192.0.2.1",
        upgrade: bytes = b"",
        inform: Inform | None = None,
    ) -> Response:
        method, _, target = request.partition(" ")
        path, _, query = target.partition("?")
        own = [(b"host", b"small.example"), *fields]
        if text is not None:
            own.append((b"authorization", f"Bearer {text}".encode()))
        host = "small.example"
        head = RequestHead(
            method=method,
            path=path,
            query=query,
            fields=own,
            scheme="http",
            client=client,
            forwarded_for=client,
            id="build-42",
            host=host,
            authority=host,
            received_at=NOW / 1000,
            upgrade=upgrade,
            inform=inform,
        )
        answer = await self.exchange.handle(head, content)
        if answer.note_end is not None:
            answer.note_end(Ended.COMPLETE, len(answer.content) if isinstance(answer.content, bytes) else 0, "")
        return answer


@asynccontextmanager
async def open_exchange(
    *answers: Response | Exception, policy: str = SMALL, plan: str = "open", failures: FailedCredentials | None = None
) -> AsyncIterator[ExchangeHarness]:
    """An exchange with one token of `plan`, whose backend gives the answers one after the other."""
    harness = ExchangeHarness(answers, policy, failures)
    try:
        await harness.create(make_record(TEXT, plan=plan))
        yield harness
    finally:
        await harness.close()


def field(response: Response, name: bytes) -> bytes | None:
    assert len(field_values(response.head.fields, name)) <= 1
    return field_value(response.head.fields, name)


def asked(harness: ExchangeHarness, number: int, name: bytes) -> bytes | None:
    """A field of what the backend was asked."""
    return field_value(harness.upstreams.sent[number].fields, name)


def cache_status(answer: Response) -> bytes | None:
    return field(answer, b"cache-status")
