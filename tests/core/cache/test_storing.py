"""What may be kept of an answer, and as what (RFC 9111 3)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.cache.model import StoredHead, build_export, decode_export, encode_head
from gateway.core.cache.reuse import Forward, Reuse, plan_answer
from gateway.core.cache.storing import find_objection, keep_milliseconds, make_head
from gateway.core.http.etags import build_weak_tag
from gateway.core.http.messages import Field, RequestHead, ResponseHead, field_value
from gateway.core.policies.model import CacheRule, Rule
from tests.core.cache.answers import ASKING, BEARER, CONTENT, FIXED, SHARED, UNCACHED, cc, export, make, objection
from tests.core.samples import NOW_MILLISECONDS as NOW
from tests.core.samples import admit, make_request, make_rule

BASIC = (b"authorization", b"Basic Zm9vOmJhcg==")
KEY = (b"x-api-key", b"shp_secret")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        ([cc(b"max-age=5")], None),
        ([cc(b"no-store")], "no-store"),
        ([cc(b"No-StOrE, max-age=10000"), (b"expires", b"Sat, 21 Nov 2099 06:00:00 GMT")], "no-store"),
        ([cc(b"Private")], "private"),
        ([cc(b'private="x-user"')], "private"),
        ([cc(b'x="private"')], None),
        ([cc(b"no-cache")], "no-freshness"),
        ([cc(b"no-cache"), (b"etag", b'"a"')], None),
        ([(b"set-cookie", b"a=b")], "set-cookie"),
        ([cc(b"max-age=5"), (b"content-type", b"Text/Event-Stream; charset=utf-8")], "event-stream"),
        ([(b"vary", b"*")], "vary"),
        ([(b"vary", b"Accept, *")], "vary"),
        ([(b"vary", b""), (b"vary", b" , *")], "vary"),
        ([(b"vary", b"Accept")], None),
        ([(b"vary", b"X-Gateway-Scopes")], None),
        ([(b"vary", b"Accept, X-Gateway-Assertion")], "vary"),
        ([(b"vary", b"x-request-id")], "vary"),
        ([(b"vary", b"traceparent")], "vary"),
        ([cc(b"max-age=60, must-understand")], None),
        ([cc(b"no-store, must-understand")], None),
        ([cc(b"public"), (b"gateway-cache-control", b"no-store")], "no-store"),
        ([cc(b"no-store"), (b"gateway-cache-control", b"max-age=5")], None),
    ],
)
def test_what_a_backend_forbids_is_not_stored(fields: list[Field], expected: str | None) -> None:
    """A rule's `fresh` does not overrule a backend that forbids storing, or whose answer is one client's."""
    assert expected == objection(*fields)


@pytest.mark.parametrize(
    ("status", "fields", "rule", "expected"),
    [
        (206, [cc(b"max-age=60")], SHARED, "partial"),
        (304, [cc(b"max-age=60")], SHARED, "partial"),
        (203, [], FIXED, "no-freshness"),
        (404, [], FIXED, "no-freshness"),
        (404, [cc(b"max-age=5")], FIXED, None),
        (404, [cc(b"max-age=5")], SHARED, None),
        (302, [cc(b"max-age=5")], SHARED, None),
        (599, [cc(b"max-age=5")], SHARED, None),
        (599, [cc(b"max-age=5, must-understand")], SHARED, "must-understand"),
        (500, [cc(b"no-store, max-age=5, must-understand")], SHARED, None),
        (200, [(b"etag", b'"a"')], SHARED, None),
        (200, [(b"last-modified", b"Sat, 21 Nov 2026 06:00:00 GMT")], SHARED, None),
        (200, [(b"expires", b"0")], SHARED, "no-freshness"),
    ],
)
def test_any_final_answer_is_stored_that_the_backend_gives_a_time(
    status: int, fields: list[Field], rule: Rule, expected: str | None
) -> None:
    """Errors and redirects for as long as the backend says; a rule's own time is for 200 alone."""
    assert expected == objection(*fields, rule=rule, status=status)


@pytest.mark.parametrize(
    ("asked", "fields", "rule", "expected"),
    [
        (BEARER, [cc(b"max-age=60")], ASKING, "authorization"),
        (KEY, [cc(b"max-age=60")], ASKING, "authorization"),
        (BEARER, [cc(b"public, max-age=60")], ASKING, None),
        (KEY, [cc(b"must-revalidate, max-age=60")], ASKING, None),
        (BEARER, [cc(b"s-maxage=60")], ASKING, None),
        (BEARER, [cc(b"s-maxage=0, max-age=60")], ASKING, "no-freshness"),
        (BEARER, [cc(b"max-age=60")], SHARED, None),
        (None, [cc(b"max-age=60")], ASKING, None),
    ],
)
def test_an_answer_to_credentials_is_stored_where_somebody_says_that_it_is_shared(
    asked: Field | None, fields: list[Field], rule: Rule, expected: str | None
) -> None:
    """RFC 9111 3.5, also for X-API-Key: the backend says so in its answer, or the operator in the rule."""
    assert expected == objection(*fields, rule=rule, request=make_request(*([asked] if asked else [])))


def test_a_credential_that_no_policy_takes_says_nothing_to_the_backend_either() -> None:
    """An Authorization beside the one field that a policy takes is removed, so the rule's word holds for it, too."""
    policy = replace(FIXED.policy, credentials=FIXED.policy.credentials[1:])
    assert None is objection(rule=replace(FIXED, policy=policy), request=make_request(BASIC, KEY))
    assert "authorization" == objection(rule=replace(ASKING, policy=policy), request=make_request(BASIC, KEY))


@pytest.mark.parametrize("request_", [make_request(BEARER, cc(b"no-store")), make_request(BEARER, method="HEAD")])
def test_what_a_client_forbids_is_not_stored(request_: RequestHead) -> None:
    """A request with no-store leaves nothing in the cache, and neither does HEAD: it has no content."""
    assert objection(request=request_) in ("client-no-store", "method")


def test_without_any_use_nothing_is_stored() -> None:
    """A rule with `fresh` of no seconds stores nothing that cannot be asked about."""
    rule = make_rule(CacheRule(fresh_seconds=0, shared_by="owner", may_share=True))
    assert "no-freshness" == objection(rule=rule)
    assert None is objection((b"etag", b'"a"'), rule=rule, request=make_request())


@pytest.mark.parametrize(
    ("cache", "fields", "seconds"),
    [
        (CacheRule(60, "project"), [], 60),
        (CacheRule(60, "project"), [(b"etag", b'"a"')], 60 + 3600),
        (CacheRule(60, "project", stale_if_error_seconds=600), [], 660),
        (CacheRule(60, "project", stale_while_revalidate_seconds=600, stale_if_error_seconds=60), [], 660),
        (CacheRule(60, "project", keep_seconds=7200), [(b"etag", b'"a"')], 60 + 7200),
        (CacheRule(None, "project"), [cc(b"max-age=5, stale-if-error=100")], 105),
        (CacheRule(None, "project"), [cc(b"max-age=5, stale-while-revalidate=50")], 55),
        (CacheRule(None, "project"), [cc(b"max-age=5, stale-if-error=100, must-revalidate")], 5),
        (CacheRule(None, "project"), [cc(b"max-age=5, stale-if-error=100, s-maxage=6")], 6),
        (CacheRule(None, "project", stale_if_error_seconds=9), [cc(b"s-maxage=6")], 15),
        (CacheRule(None, "project", stale_if_error_seconds=9), [cc(b"max-age=6, must-revalidate")], 6),
    ],
)
def test_an_answer_is_kept_for_as_long_as_it_is_of_use(cache: CacheRule, fields: list[Field], seconds: int) -> None:
    """Fresh, then refreshed behind, standing in, or to be asked about; what forbids stale answers shortens it."""
    assert seconds * 1000 == keep_milliseconds(make_rule(cache), ResponseHead(200, fields), NOW)


@pytest.mark.parametrize("field", [b"authorization", b"x-api-key", b"cookie"])
def test_a_secret_is_never_stored(field: bytes) -> None:
    """A backend that varies by a credential or a cookie does not bring its text into Redis."""
    request = make_request((field, b"Bearer shp_secret"))
    raw = encode_head(make((b"vary", field.title() + b", Accept"), request=request))
    assert b"shp_secret" not in raw


def test_variants_of_a_cookie_are_still_told_apart() -> None:
    """The digest of a cookie stands for it."""
    stored = export((b"vary", b"cookie"), request=make_request((b"cookie", b"a=1")))
    plans = [plan_answer(admit(FIXED), make_request((b"cookie", value)), [stored], NOW) for value in (b"a=1", b"a=2")]
    assert [Reuse, Forward] == [type(plan) for plan in plans]


def test_a_backend_without_a_tag_gets_a_weak_one() -> None:
    """A tag is made from the content of a 200 where the backend has none, and passes unchanged where it has."""
    assert build_weak_tag(CONTENT) == make().tag
    assert b'"v1"' == make((b"etag", b'"v1"')).tag
    assert b"" == make(cc(b"max-age=5"), status=404).tag


def test_the_same_content_is_not_parsed_for_its_tag_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that sends the same bytes as before gets the same made tag; a tag of its own is never taken for one."""
    json, stored = (b"content-type", b"application/json"), make((b"content-type", b"application/json"))
    own = make(json, (b"etag", b'"v1"'))
    expected = build_weak_tag(CONTENT, b"application/json")

    def remade(stored: StoredHead, content: bytes = CONTENT, *fields: Field) -> bytes:
        answer = ResponseHead(200, [*fields] if fields else [json])
        return make_head(admit(FIXED), make_request(BEARER), answer, content, NOW, stored).tag

    assert [expected, expected] == [remade(stored), remade(own)]
    assert build_weak_tag(b"{}", b"application/json") == remade(stored, b"{}")
    assert build_weak_tag(CONTENT, b"text/css") == remade(stored, CONTENT, (b"content-type", b"text/css"))
    assert b'"v2"' == remade(stored, CONTENT, json, (b"etag", b'"v2"'))
    monkeypatch.setattr("gateway.core.http.etags.build_weak_tag", lambda *_: pytest.fail("it was parsed again"))
    assert expected == remade(stored)


def test_a_strong_tag_is_weak_where_the_content_may_be_encoded() -> None:
    """One tag for all codings promises no bytes (RFC 9110 8.8.1); the backend is asked with its own."""
    json, tag = (b"content-type", b"application/json"), (b"etag", b'"v1"')
    long = make_head(admit(FIXED), make_request(BEARER), ResponseHead(200, [json, tag]), CONTENT * 100, NOW)
    assert b'W/"v1"' == long.tag
    assert ((b"if-none-match", b'"v1"'),) == long.validators
    assert b'"v1"' == make(json, tag).tag
    assert build_export(long).is_encodable
    assert not build_export(replace(long, tag=b'"v1"')).is_encodable


def test_fields_of_one_answer_are_not_stored() -> None:
    """What is about one connection, one client or one moment is not repeated to others."""
    head = make(
        (b"connection", b"close, x-hop"),
        (b"x-hop", b"1"),
        (b"age", b"5"),
        (b"ratelimit", b'"m";r=1'),
        (b"retry-after", b"1"),
        (b"content-length", b"99"),
        (b"date", b"then"),
        (b"content-type", b"application/json"),
    )
    expected = ((b"date", b"then"), (b"content-type", b"application/json"), (b"content-length", b"8"))
    assert expected == head.fields


def test_an_answer_without_a_date_gets_one() -> None:
    """The stored head has the date on which it was asked for (RFC 9110 6.6.1)."""
    assert b"Fri, 15 Jan 2027 08:00:00 GMT" == field_value(make().fields, b"date")


def test_the_content_is_named_by_its_digest() -> None:
    """A head goes with exactly one content."""
    assert hashlib.sha256(CONTENT).digest() == make().digest
    assert len(CONTENT) == make().length


_names = st.sampled_from(
    [b"cache-control", b"gateway-cache-control", b"age", b"vary", b"etag", b"expires", b"date", b"x"]
)
_values = st.binary(max_size=20) | st.sampled_from([b"public, max-age=60", b"no-store", b"*", b"10", b"s-maxage=5"])
_fields = st.lists(st.tuples(_names | st.sampled_from([b"range", b"if-none-match", b"pragma"]), _values), max_size=5)


def test_a_412_is_the_answer_to_one_condition() -> None:
    """Whatever the backend says of its freshness, others did not ask with that If-Match (RFC 9110 15.5.13)."""
    asked = make_request(BEARER, (b"if-match", b'"a"'))
    assert "precondition" == objection(cc(b"max-age=60"), status=412, request=asked)
    assert None is objection(cc(b"max-age=60"), status=412)
    assert None is objection(request=asked)


@given(_fields, _fields, st.sampled_from([FIXED, ASKING, SHARED, UNCACHED]), st.integers(200, 599))
def test_any_answer_is_stored_or_not(asked: list[Field], answered: list[Field], rule: Rule, status: int) -> None:
    """Any field lines of client and backend give a head that can be stored and read, a yes or no, and a plan."""
    request, response = make_request(*asked), ResponseHead(status, answered)
    head = make_head(admit(rule), request, response, CONTENT, NOW)
    assert find_objection(rule, request, response, NOW) is None or head.status == status
    read = decode_export(encode_head(head), passes_cache_control=False)
    assert read is not None
    assert head == read.head
    plan_answer(admit(rule), request, [build_export(head)], NOW)
