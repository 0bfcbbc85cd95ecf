"""What may be stored, and what a stored answer may be used for (RFC 9111)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.caching import (
    CONDITIONAL_FIELDS,
    AnswerPlan,
    Forward,
    NotModified,
    Reuse,
    build_cache_status_forwarded,
    build_cache_status_hit,
    current_age,
    is_unmodified,
    plan_answer,
)
from gateway.core.etags import build_weak_tag
from gateway.core.exports import (
    CLIENT_CACHE_CONTROL,
    Export,
    StoredHead,
    build_export,
    decode_export,
    encode_head,
    export_key,
    is_cacheable,
    make_head,
    may_store,
)
from gateway.core.messages import Field, RequestHead, ResponseHead, field_value, field_values
from gateway.core.policies.rules import CacheRule, Rule
from tests.core.samples import NOW_MILLISECONDS as NOW
from tests.core.samples import make_request, make_rule

FIXED = make_rule(CacheRule(fresh_seconds=60, shared_by="project"))
"""Fresh for as long as the operator says."""
ASKING = make_rule(CacheRule(fresh_seconds=None, shared_by="project"))
"""Fresh for as long as the backend says."""
UNCACHED = make_rule(None)
CONTENT = b'{"a": 1}'

field_lists = st.lists(
    st.tuples(
        st.sampled_from([b"cache-control", b"gateway-cache-control", b"age", b"vary", b"etag", b"set-cookie", b"x"]),
        st.binary(max_size=20) | st.sampled_from([b"public, max-age=60", b"no-store", b"*", b"10", b"s-maxage=5"]),
    ),
    max_size=5,
)
stored_heads = st.builds(
    StoredHead,
    stored_at=st.integers(0, 2**50),
    fresh_until=st.integers(0, 2**50),
    initial_age=st.integers(0, 2**31),
    tag=st.binary(),
    varying=st.lists(st.tuples(st.binary(), st.lists(st.binary()).map(tuple))).map(tuple),
    fields=st.lists(st.tuples(st.binary(), st.binary())).map(tuple),
)


def make(*fields: Field, rule: Rule = FIXED, request: RequestHead | None = None) -> StoredHead:
    return make_head(rule, request or make_request(), ResponseHead(200, list(fields)), CONTENT, NOW)


def is_stored(*fields: Field, rule: Rule = FIXED, request: RequestHead | None = None) -> bool:
    request, response = request or make_request(), ResponseHead(200, list(fields))
    return may_store(rule, request, response, make_head(rule, request, response, CONTENT, NOW))


def lifetime(*fields: Field, rule: Rule = ASKING) -> int:
    head = make(*fields, rule=rule)
    return (head.fresh_until - head.stored_at) // 1000


def plan(*fields: Field, export: Export | None, rule: Rule = FIXED, method: str = "GET", now: int = NOW) -> AnswerPlan:
    return plan_answer(rule, make_request(*fields, method=method), export, now)


EXPORT = build_export(make())
TAG = EXPORT.head.tag


@given(stored_heads)
def test_a_stored_head_is_read_back(head: StoredHead) -> None:
    """Decoding what was encoded for Redis gives the same head, bytes for bytes."""
    assert head == decode_export(encode_head(head)).head


@pytest.mark.parametrize(
    ("rule", "method", "expected"),
    [
        (FIXED, "GET", True),
        (FIXED, "HEAD", True),
        (FIXED, "POST", False),
        (FIXED, "get", False),
        (UNCACHED, "GET", False),
    ],
)
def test_only_reads_under_a_rule_with_a_cache_are_cacheable(rule: Rule, method: str, expected: bool) -> None:
    """The cache is for GET and HEAD, and for the rules that ask for it; others have no key."""
    request = make_request(method=method)
    assert (expected, expected) == (is_cacheable(rule, request), export_key(rule, request) != "")


@pytest.mark.parametrize(
    "change", [{"path": "/items/2"}, {"query": "a"}, {"host": "other.example"}, {"path": "/items", "query": "1"}]
)
def test_another_target_is_another_export(change: dict[str, str]) -> None:
    """Exports differ by path, query and host."""
    assert export_key(FIXED, make_request()) != export_key(FIXED, replace(make_request(), **change))


def test_another_rule_is_another_export() -> None:
    """The same target under another rule or policy is kept apart."""
    other = replace(FIXED, pattern=replace(FIXED.pattern, text="GET /**"))
    renamed = replace(FIXED, policy=replace(FIXED.policy, name="other"))
    assert 3 == len({export_key(rule, make_request()) for rule in (FIXED, other, renamed)})


def test_the_parts_of_a_key_cannot_run_into_each_other() -> None:
    """Moving a character from one part to the next gives another key."""
    keys = {
        export_key(FIXED, replace(make_request(), host=host, path=path)) for host, path in [("a/", "b"), ("a", "/b")]
    }
    assert 2 == len(keys)


def test_get_and_head_share_an_export() -> None:
    """A HEAD is answered from what a GET stored."""
    assert export_key(FIXED, make_request()) == export_key(FIXED, make_request(method="HEAD"))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (plan(export=EXPORT, rule=UNCACHED), Forward("")),
        (plan(export=EXPORT, method="POST"), Forward("method")),
        (plan(export=None), Forward("uri-miss")),
        (plan((b"cache-control", b"No-Cache"), export=EXPORT), Forward("request")),
        (plan(export=EXPORT, now=EXPORT.head.fresh_until), Forward("stale")),
        (plan(export=EXPORT, now=EXPORT.head.fresh_until - 1), Reuse(EXPORT)),
        (plan(export=EXPORT, method="HEAD"), Reuse(EXPORT)),
        (plan((b"if-none-match", TAG), export=EXPORT), NotModified(EXPORT)),
        (plan((b"if-none-match", b"*"), export=EXPORT), NotModified(EXPORT)),
        (plan((b"if-none-match", b'"x", ' + TAG.removeprefix(b"W/")), export=EXPORT), NotModified(EXPORT)),
        (plan((b"if-none-match", b'"x"'), export=EXPORT), Reuse(EXPORT)),
        (plan((b"if-none-match", TAG), export=EXPORT, now=EXPORT.head.fresh_until), Forward("stale")),
        (plan((b"if-none-match", TAG), (b"cache-control", b"no-cache"), export=EXPORT), Forward("request")),
    ],
)
def test_the_plan_follows_the_request_and_the_stored_answer(found: AnswerPlan, expected: AnswerPlan) -> None:
    """Not modified, reuse, or forward with the word of RFC 9211 for why."""
    assert expected == found


@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        ([], [], True),
        ([b"gzip"], [b"gzip"], True),
        ([b"gzip"], [b"br"], False),
        ([], [b"gzip"], False),
        ([b"gzip"], [], False),
        ([b"a", b"b"], [b"a", b"b"], True),
        ([b"a", b"b"], [b"b", b"a"], False),
    ],
)
def test_a_varying_field_must_be_the_same(stored: list[bytes], asked: list[bytes], expected: bool) -> None:
    """A stored answer is used only where each field that Vary names says what it said then."""
    head = make((b"vary", b"Accept-Encoding"), request=make_request(*((b"accept-encoding", value) for value in stored)))
    export = build_export(head)
    found = plan(*((b"accept-encoding", value) for value in asked), export=export)
    assert (Reuse(export) if expected else Forward("vary-miss")) == found


@pytest.mark.parametrize("field", [b"authorization", b"x-api-key"])
def test_a_credential_is_never_stored(field: bytes) -> None:
    """A backend that varies by the credential, which it never sees, does not bring the token's text into Redis."""
    request = make_request((field, b"Bearer shp_secret"))
    raw = encode_head(make((b"vary", field.title() + b", Accept"), request=request))
    assert b"shp_secret" not in raw
    assert (b"accept",) == tuple(name for name, _ in decode_export(raw).head.varying)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 0),
        ([(b"cache-control", b"public, max-age=60")], 60),
        ([(b"cache-control", b"max-age=60, s-maxage=5")], 5),
        ([(b"cache-control", b"max-age=60"), (b"age", b"20")], 40),
        ([(b"cache-control", b"max-age=60"), (b"age", b"90")], 0),
        ([(b"cache-control", b"max-age=60"), (b"age", b"soon")], 60),
        ([(b"cache-control", b"max-age=60"), (b"gateway-cache-control", b"max-age=5")], 5),
        ([(b"cache-control", b'max-age="60"')], 60),
        ([(b"cache-control", b"max-age=-60")], 0),
        ([(b"cache-control", b"max-age")], 0),
        ([(b"cache-control", b"max-age=60, s-maxage=x")], 0),
        ([(b"expires", b"Sun, 06 Nov 2094 08:49:37 GMT")], 0),
    ],
)
def test_the_backend_says_how_long_its_answer_is_fresh(fields: list[Field], seconds: int) -> None:
    """Without `fresh` in the rule the fields for shared caches count, less the age; what is unclear is stale."""
    assert seconds == lifetime(*fields)


def test_a_rule_says_how_long_answers_are_fresh() -> None:
    """With `fresh` in the rule, the operator's word replaces the backend's."""
    assert 60 == lifetime((b"cache-control", b"max-age=5"), (b"age", b"50"), rule=FIXED)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        ([(b"cache-control", b"max-age=60")], False),
        ([(b"cache-control", b"public, max-age=60")], True),
        ([(b"cache-control", b"must-revalidate, max-age=60")], True),
        ([(b"cache-control", b"s-maxage=60")], True),
        ([(b"cache-control", b"s-maxage=0, max-age=60")], False),
        ([(b"cache-control", b"public")], False),
        ([(b"cache-control", b"no-store"), (b"gateway-cache-control", b"s-maxage=60")], True),
        ([(b"cache-control", b"s-maxage=60"), (b"gateway-cache-control", b"no-store")], False),
    ],
)
def test_an_answer_to_credentials_is_stored_where_the_backend_shares_it(fields: list[Field], expected: bool) -> None:
    """Without `fresh` in the rule only what RFC 9111 3.5 lets a shared cache keep is kept."""
    assert expected == is_stored(*fields, rule=ASKING)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ((b"x", b"y"), True),
        ((b"cache-control", b"no-store"), False),
        ((b"cache-control", b"Private"), False),
        ((b"cache-control", b"no-cache"), False),
        ((b"cache-control", b'private="x-user"'), False),
        ((b"cache-control", b'x="private"'), True),
        ((b"set-cookie", b"a=b"), False),
        ((b"vary", b"*"), False),
        ((b"vary", b"Accept, *"), False),
        ((b"vary", b"Accept"), True),
        ((b"vary", b"X-Gateway-Scopes"), False),
        ((b"vary", b"Accept, x-gateway-token-id"), False),
    ],
)
def test_what_a_backend_forbids_is_not_stored(field: Field, expected: bool) -> None:
    """The operator's `fresh` does not overrule a backend that forbids storing, or whose answer is one client's."""
    assert expected == is_stored(field)


def test_what_a_client_forbids_is_not_stored() -> None:
    """A request with no-store leaves nothing in the cache."""
    assert not is_stored(request=make_request((b"cache-control", b"no-store")))


def test_without_freshness_nothing_is_stored() -> None:
    """A rule with `fresh` of no seconds stores nothing."""
    assert not is_stored(rule=make_rule(CacheRule(fresh_seconds=0, shared_by="owner")))


@given(field_lists, field_lists, st.sampled_from([FIXED, ASKING, UNCACHED]))
def test_any_answer_is_stored_or_not(asked: list[Field], answered: list[Field], rule: Rule) -> None:
    """Any field lines of client and backend give a head that can be stored and read, and a yes or no."""
    request, response = make_request(*asked), ResponseHead(200, answered)
    head = make_head(rule, request, response, CONTENT, NOW)
    assert may_store(rule, request, response, head) in (True, False)
    assert head == decode_export(encode_head(head)).head
    assert isinstance(plan_answer(rule, request, build_export(head), NOW), NotModified | Reuse | Forward)


def test_a_backend_without_a_tag_gets_a_weak_one() -> None:
    """A tag is made from the content where the backend has none, and passes unchanged where it has."""
    assert (build_weak_tag(CONTENT), b'"v1"') == (make().tag, make((b"etag", b'"v1"')).tag)


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
    """The stored head has the date on which it was received (RFC 9110 6.6.1)."""
    assert b"Fri, 15 Jan 2027 08:00:00 GMT" == field_value(make().fields, b"date")


def test_clients_must_ask_for_each_use_of_a_stored_answer() -> None:
    """A stored answer goes out under our Cache-Control and tag, one of each."""
    export = build_export(make((b"cache-control", b"public, max-age=60"), (b"etag", b'"v1"')))
    assert [CLIENT_CACHE_CONTROL[1]] == field_values(export.reply_fields, b"cache-control")
    assert [b'"v1"'] == field_values(export.reply_fields, b"etag")


def test_an_answer_that_is_not_stored_keeps_its_cache_control() -> None:
    """What the backend says to the client's own cache stands where the gateway keeps nothing."""
    export = build_export(make((b"cache-control", b"no-store")), keeps_cache_control=True)
    assert [b"no-store"] == field_values(export.reply_fields, b"cache-control")


def test_a_304_has_what_it_must_have_and_no_more() -> None:
    """Of the 200's fields a 304 carries those of RFC 9110 15.4.5 that were there."""
    export = build_export(
        make((b"vary", b"accept"), (b"content-type", b"text/plain"), (b"expires", b"0"), (b"x", b"y"))
    )
    expected = {b"vary", b"expires", b"date", b"etag", b"cache-control"}
    assert expected == {name for name, _ in export.not_modified_fields}


@pytest.mark.parametrize(("values", "expected"), [([], False), ([b'"a"', TAG], True), ([b"*"], True), ([b""], False)])
def test_a_client_has_it_where_it_names_the_tag(values: list[bytes], expected: bool) -> None:
    """A client without If-None-Match gets the whole answer; lines of one list count together."""
    assert expected == is_unmodified([(b"if-none-match", value) for value in values], TAG)


def test_the_age_counts_from_when_the_answer_was_made() -> None:
    """Age is the age at arrival and the time since, and does not run backwards with the clock."""
    head = make((b"age", b"10"))
    assert (10, 12, 10) == (current_age(head, NOW), current_age(head, NOW + 2999), current_age(head, NOW - 5000))


def test_cache_status_says_how_the_answer_came_about() -> None:
    """Cache-Status has the words of RFC 9211: a hit with its ttl, or why the backend was asked."""
    assert b"gateway; hit; ttl=59" == build_cache_status_hit(make(), NOW + 1)
    assert b"gateway; hit; ttl=-2; detail=stale-if-error" == build_cache_status_hit(make(), NOW + 62_000)
    assert b"gateway; fwd=uri-miss; stored" == build_cache_status_forwarded("uri-miss", is_stored=True)
    assert b"gateway; fwd=method" == build_cache_status_forwarded("method", is_stored=False)


def test_the_conditions_of_rfc_9110_are_kept_from_the_backend() -> None:
    """Where the whole answer is wanted, no condition of RFC 9110 13.1 and no range reaches the backend."""
    expected = {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range"}
    assert expected == CONDITIONAL_FIELDS
