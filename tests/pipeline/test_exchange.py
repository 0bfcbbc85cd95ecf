"""One request from head to response: who may pass, what is told of it, and what is put on record."""

import msgspec
import pytest

from gateway.adapters.failed_credentials import FailedCredentials
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.errors import UpstreamBroken, UpstreamBusy, UpstreamDropped, UpstreamTimeout, UpstreamUnreachable
from gateway.core.http.messages import Ended, RequestHead, field_value
from gateway.core.http.reasons import Reason
from gateway.core.tokens.changes import TokenRequest, TokenState
from gateway.core.tokens.lifecycle import make_child
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from gateway.core.tokens.records import AccessRecord, build_time
from gateway.core.tokens.text import build_checksum, digest, token_id
from tests.support.exchange_harness import NOW, OTHER, TEXT, field, ok, open_exchange
from tests.support.policies import make_record

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_refused_request_never_reaches_the_backend() -> None:
    """Nothing is sent for a bad path, no rule, no token, no scope, no room in the quota."""
    async with open_exchange() as harness:
        await harness.create(make_record(OTHER, plan="free"))
        statuses = [
            (await harness.ask("GET /a/../b")).head.status,
            (await harness.ask("GET /export", text=None)).head.status,
            (await harness.ask("GET /export", text="sml_x")).head.status,
            (await harness.ask("POST /any", text=OTHER)).head.status,
        ]
        assert [400, 401, 401, 403] == statuses
        assert [] == harness.upstreams.sent


async def test_a_client_with_too_many_bad_credentials_is_told_nothing_more() -> None:
    """After the limit a good credential gets the same 429 as a bad one; other clients are not concerned."""
    async with open_exchange(ok(), failures=FailedCredentials("3/hour")) as harness:
        for text in (OTHER, "sml_malformed", OTHER):
            assert 401 == (await harness.ask("GET /other", text=text)).head.status
        asked = len(harness.records)
        refused = [await harness.ask("GET /other", text=text) for text in (TEXT, OTHER, "sml_malformed")]
        contents = {(answer.head.status, field(answer, b"retry-after"), answer.content) for answer in refused}
        assert 1 == len(contents)
        assert {"too_many_failures"} == {record.reason for record in harness.records[asked:]}
        assert all(record.token == "" for record in harness.records[asked:])
        assert 401 == (await harness.ask("GET /other", text=None)).head.status
        assert 200 == (await harness.ask("GET /other", client="192.0.2.2")).head.status


@pytest.mark.parametrize(
    "state", ["revoked", "disabled", "expired", "not yet valid", "parent ended", "another policy's"]
)
async def test_a_token_that_is_there_is_no_guess(state: str) -> None:
    """However often it is presented, in whatever state: it stays 401, and nobody beside it is told anything else."""
    states: dict[str, dict[str, object]] = {
        "disabled": {"is_active": False},
        "expired": {"expires_at": NOW // 1000 - 1},
        "not yet valid": {"not_before": NOW // 1000 + 60},
        "parent ended": {"parent": digest(OTHER, b"")[:2] + "0" * 22},
        "another policy's": {"policy": "another"},
    }
    async with open_exchange(ok(), failures=FailedCredentials("2/hour")) as harness:
        record = make_record(OTHER, **states.get(state, {}))
        await harness.create(record)
        if state == "revoked":
            await RedisTokens(harness.connection).revoke(record.identity)
        assert [401] * 4 == [(await harness.ask("GET /other", text=OTHER)).head.status for _ in range(4)]
        assert 200 == (await harness.ask("GET /other")).head.status


async def test_a_good_credential_is_no_failure() -> None:
    """Requests that pass, lack a scope or are over a quota count for nothing."""
    async with open_exchange(ok(), failures=FailedCredentials("1/hour")) as harness:
        await harness.create(make_record(OTHER, plan="free", scopes="read"))
        statuses = [(await harness.ask("GET /costly", text=OTHER)).head.status for _ in range(3)]
        statuses += [(await harness.ask("POST /any", text=OTHER)).head.status for _ in range(3)]
        assert [200, 429, 429, 403, 403, 403] == statuses


async def test_a_token_reaches_the_project_that_it_is_for_and_no_other() -> None:
    """A path that names another project is 403 and never reaches the backend."""
    async with open_exchange(ok(), ok()) as harness:
        own = await harness.ask("GET /projects/website/content")
        other = await harness.ask("GET /projects/shop/content")
        spelled = await harness.ask("GET /projects/%77ebsite/content")
        assert 200 == own.head.status
        assert 403 == other.head.status
        assert 200 == spelled.head.status
        assert "other_project" == harness.records[1].reason
        assert ["/projects/website/content", "/projects/%77ebsite/content"] == [
            sent.target for sent in harness.upstreams.sent
        ]


async def test_the_backend_is_told_the_scopes_of_all_sides() -> None:
    """What a child holds as far as its parent, their owner and their plan have it at the moment."""
    async with open_exchange(*(ok() for _ in range(4))) as harness:
        tokens, policy = RedisTokens(harness.connection), harness.current.policies["small"]
        parent = make_record("sml_parent", scopes="write", plan="open", owner="ada")
        draws = (number.to_bytes(64, "big") for number in range(10_000))
        request = TokenRequest(name="actor")
        text, child = make_child(policy, parent, TokenState.ACTIVE, None, request, draws, b"", NOW // 1000)
        for record in (parent, child):
            await tokens.create(record)
        await harness.ask("GET /projects/website/content", text=text)
        writes, reads = (OwnerRecord(OwnerStatus.ACTIVE, {"website": held}, 1) for held in ("write", "read"))
        assert await tokens.owners.replace("small", "ada", None, reads)
        await harness.ask("GET /projects/website/content", text=text)
        assert await tokens.owners.replace("small", "ada", reads, msgspec.structs.replace(writes, version=2))
        await harness.ask("GET /projects/website/content", text=text)
        assert await tokens.replace(parent, msgspec.structs.replace(parent, plan="free"))
        await harness.ask("GET /projects/website/content", text=text)
        assert [b"read write", b"read", b"read write", b"read"] == [
            field_value(sent.fields, b"x-gateway-scopes") for sent in harness.upstreams.sent
        ]


async def test_a_public_rule_asks_for_no_token() -> None:
    """Anybody is answered, also with a token that is no good; the backend sees neither it nor anybody's identity."""
    async with open_exchange(ok((b"cache-control", b"max-age=60"))) as harness:
        first = await harness.ask("GET /published", text=None)
        second = await harness.ask("GET /published", text="sml_nonsense")
        assert 200 == first.head.status
        assert 200 == second.head.status
        assert b"gateway; hit; ttl=60" == field(second, b"cache-status")
        (sent,) = harness.upstreams.sent
        assert field_value(sent.fields, b"authorization") is None
        assert {b""} == {value for name, value in sent.fields if name.startswith(b"x-gateway-")}


@pytest.mark.parametrize(
    ("error", "status", "reason", "retry_after"),
    [
        (UpstreamUnreachable("x"), 502, "upstream_unreachable", b"1"),
        (UpstreamBroken("x"), 502, "upstream_broken", None),
        (UpstreamDropped("x"), 502, "upstream_broken", None),
        (UpstreamTimeout("x"), 504, "upstream_timeout", None),
        (UpstreamBusy("x"), 503, "upstream_busy", b"1"),
    ],
)
async def test_a_backend_that_fails_is_answered_for(
    error: Exception, status: int, reason: str, retry_after: bytes | None
) -> None:
    """Each failure has its status, must not be stored, is in the access log, and says when to come back if it can."""
    async with open_exchange(error) as harness:
        answer = await harness.ask("GET /export")
        assert status == answer.head.status
        assert b"no-store" == field(answer, b"cache-control")
        assert status == harness.records[-1].status
        assert reason == harness.records[-1].reason
        assert None is field(answer, b"cache-status")
        assert retry_after == field(answer, b"retry-after")


@pytest.mark.parametrize("text", [TEXT, None])
async def test_options_about_the_whole_server(text: str | None) -> None:
    """RFC 9110 9.3.7: 204 with Allow for whoever asks, without the backend, and a record of it."""
    async with open_exchange() as harness:
        answer = await harness.ask("OPTIONS *", text=text)
        assert 204 == answer.head.status
        assert b"" == answer.content
        assert b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" == field(answer, b"allow")
        assert [] == harness.upstreams.sent
        assert [204] == [record.status for record in harness.records]
        assert 400 == (await harness.ask("GET *")).head.status


async def test_the_backends_own_rate_limits_stay() -> None:
    """RateLimit fields of the backend are joined by ours, not replaced: the client sees the stricter of both."""
    async with open_exchange(ok((b"ratelimit", b'"backend";r=1;t=9')), plan="pro") as harness:
        answer = await harness.ask("GET /costly")
        assert b'"minute";r=49;t=60, "backend";r=1;t=9' == field(answer, b"ratelimit")


async def test_a_token_that_ends_soon_says_when() -> None:
    """Within two weeks of its end every answer has X-Token-Expires-At, before that none has."""
    async with open_exchange(ok(), ok()) as harness:
        day = 86400
        seen = []
        for digit, days in (("1", 15), ("2", 13)):
            text = f"sml_{digit * 34}"
            text += build_checksum(text)
            await harness.create(make_record(text, plan="open", expires_at=NOW // 1000 + days * day))
            seen.append(field(await harness.ask("GET /other", text=text), b"x-token-expires-at"))
        assert [None, b"2027-01-28T08:00:00Z"] == seen


async def test_a_refusal_says_that_the_token_ends_soon() -> None:
    """Also an answer that lacks a scope, a quota's room, a backend or Redis has X-Token-Expires-At."""
    async with open_exchange(UpstreamTimeout("")) as harness:
        await harness.create(make_record(OTHER, plan="free", expires_at=NOW // 1000 + 86400))
        answers = [await harness.ask("POST /any", text=OTHER), await harness.ask("GET /other", text=OTHER)]
        while answers[-1].head.status != 429:
            answers.append(await harness.ask("GET /costly", text=OTHER))
        assert {403, 504, 429} <= {answer.head.status for answer in answers}
        assert {b"2027-01-16T08:00:00Z"} == {field(answer, b"x-token-expires-at") for answer in answers}


async def test_the_access_record_has_the_inputs_and_the_verdict() -> None:
    """Who, what, by which rule, with which outcome; and no credential."""
    async with open_exchange(ok()) as harness:
        parent = (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())
        await harness.ask("GET /export?q=secret", parent)
        refusal = await harness.ask("GET /export", parent, text=None)
        assert isinstance(refusal.content, bytes)
        refused = AccessRecord(
            time=build_time(NOW / 1000),
            request_id="build-42",
            client="192.0.2.1",
            method="GET",
            host="small.example",
            path="/export",
            status=401,
            ended="complete",
            sent_bytes=len(refusal.content),
            duration_seconds=0.0,
            policy="small",
            rule="GET /export",
            reason="missing_credentials",
            trace=TRACE,
            span=harness.records[1].span,
        )
        passed = msgspec.structs.replace(
            refused,
            status=200,
            sent_bytes=len(b"content"),
            reason="",
            decided=NOW,
            token=token_id(make_record(TEXT).digest),
            token_name="CI",
            cache="gateway; fwd=uri-miss; stored",
            plan="open",
            project="website",
            cost=1,
        )
        assert [passed, refused] == harness.records


async def test_a_mistake_of_the_gateway_is_recorded_like_any_other_answer() -> None:
    """500 without a word of it, under the request's id; one line in the access log says so."""
    async with open_exchange() as harness:
        head = RequestHead(
            method="GET",
            path="/export",
            query="",
            fields=[],
            scheme="http",
            client="",
            forwarded_for="",
            id="build-42",
            host="",
            authority="",
            received_at=NOW / 1000,
        )
        answer = harness.exchange.refuse(head, Reason.INTERNAL_ERROR)
        assert answer.note_end is not None
        answer.note_end(Ended.COMPLETE, 0, "")
        assert 500 == answer.head.status
        assert b"build-42" == field(answer, b"x-request-id")
        assert ["internal_error"] == [record.reason for record in harness.records]
