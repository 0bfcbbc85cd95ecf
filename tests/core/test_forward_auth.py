"""Which request a proxy asks about, and which answer it understands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.admission.decision import Authorized
from gateway.core.http.forward_auth import (
    MAXIMUM_CONTENT_IN_FIELD,
    PROXIES,
    Lacking,
    build_allowed,
    find_proxy,
    read_original,
    translate,
)
from gateway.core.http.messages import Field, RequestHead, Response, ResponseHead, field_value
from gateway.core.http.problems import build_refusal
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import MAXIMUM_TARGET_BYTES
from gateway.core.policies.model import Rule
from gateway.core.upstream.client_fields import ASSERTION_FIELD, IDENTITY_FIELDS
from tests.core.samples import RECORD, facts_for, find_rule, load_shop, make_request

CLIENT = (b"x-forwarded-for", b"203.0.113.9")
FORWARDED = [
    CLIENT,
    (b"x-forwarded-method", b"POST"),
    (b"x-forwarded-host", b"Shop.Example:8443"),
    (b"x-forwarded-uri", b"/items/%62?a=1"),
]
ORIGINAL = [
    CLIENT,
    (b"x-original-method", b"POST"),
    (b"x-original-url", b"https://Shop.Example:8443/items/%62?a=1"),
]


def read(address: str, *fields: Field, method: str = "GET", query: str = "") -> RequestHead | Reason | Lacking:
    """The original of a subrequest to an address under `/-/authorize/`."""
    subrequest = make_request(*fields, method=method, path=f"/-/authorize/{address}", query=query)
    found = find_proxy(address)
    assert found is not None
    return read_original(found[0], replace(subrequest, host="gateway.internal"), found[1])


@pytest.mark.parametrize(
    ("proxy", "fields"),
    [("nginx", ORIGINAL), ("caddy", FORWARDED), ("traefik", FORWARDED), ("haproxy", FORWARDED)],
)
def test_the_original_is_where_the_proxy_says_it(proxy: str, fields: list[Field]) -> None:
    """Method, host, path and query are the original's, byte for byte; the credential is the subrequest's own."""
    credential = (b"authorization", b"Bearer shp_x")
    original = read(proxy, *fields, credential)
    assert isinstance(original, RequestHead)
    assert "POST" == original.method
    assert "shop.example" == original.host
    assert "/items/%62" == original.path
    assert "a=1" == original.query
    assert credential in original.fields


def test_envoy_asks_with_the_original_itself() -> None:
    """Its own method, host and query, and the path behind the address."""
    original = read("envoy/items/%62", CLIENT, method="DELETE", query="a=1")
    assert isinstance(original, RequestHead)
    assert "DELETE" == original.method
    assert "gateway.internal" == original.host
    assert "/items/%62" == original.path
    assert "a=1" == original.query


@pytest.mark.parametrize("proxy", ["nginx", "caddy", "traefik", "haproxy"])
def test_fields_of_other_proxies_are_not_looked_at(proxy: str) -> None:
    """What this proxy does not set comes from its client, and changes nothing: neither adds nor replaces."""
    own, others = (ORIGINAL, FORWARDED) if proxy == "nginx" else (FORWARDED, ORIGINAL)
    forged = [
        (name, b"GET" if b"method" in name else b"http://open.example/") for name, _ in others if name != CLIENT[0]
    ]
    original, alone = read(proxy, *own, *forged), read(proxy, *own)
    assert isinstance(original, RequestHead)
    assert isinstance(alone, RequestHead)
    assert alone == replace(original, fields=alone.fields)
    assert isinstance(read(proxy, CLIENT, *forged), Lacking)
    assert isinstance(read(f"{proxy}/items/1", *own), Lacking)


@pytest.mark.parametrize(
    ("proxy", "fields"),
    [("nginx", ORIGINAL), ("caddy", FORWARDED), ("traefik", FORWARDED), ("haproxy", FORWARDED)],
)
def test_what_is_missing_or_said_twice_is_named(proxy: str, fields: list[Field]) -> None:
    """Each field is needed, once: a proxy that does not set one never asks about what its client says instead."""
    for field in fields:
        name = field[0].decode()
        assert Lacking(name) == read(proxy, *(other for other in fields if other != field))
        if field != CLIENT:
            assert Lacking(name) == read(proxy, *fields, field)
            assert Lacking(name) == read(proxy, *fields, field, field)
            assert Lacking(name) == read(proxy, *(other for other in fields if other != field), (field[0], b""))


@pytest.mark.parametrize("proxy", ["nginx", "caddy", "traefik", "haproxy", "envoy/items/1"])
@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b"203.0.113.9", True),
        (b"unknown, 203.0.113.9", True),
        (b"2001:db8::1", True),
        (b"", False),
        (b",", False),
        (b"203.0.113.9,", False),
        (b"203.0.113.9, unknown", False),
        (b"unix:", False),
        (b"203.0.113.999", False),
        (b"-", False),
    ],
)
def test_a_client_field_that_names_nobody(proxy: str, value: bytes, names: bool) -> None:
    """It is as if it were not there: else all clients would be the proxy, and one guesser would lock out all."""
    fields = [field for field in (ORIGINAL if proxy == "nginx" else FORWARDED) if field != CLIENT]
    assert names == (Lacking("x-forwarded-for") != read(proxy, *fields, (b"x-forwarded-for", value)))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b"for=203.0.113.9", True),
        (b"for=unknown, for=203.0.113.9", True),
        (b"for=203.0.113.9, for=unknown", False),
        (b"for=_hidden", False),
        (b"proto=http", False),
        (b"for", False),
        (b"", False),
    ],
)
def test_forwarded_that_names_nobody(value: bytes, names: bool) -> None:
    """The same by RFC 7239."""
    subrequest = make_request(*FORWARDED, (b"forwarded", value), path="/-/authorize/caddy")
    proxy, rest = find_proxy("caddy") or pytest.fail("there is no Caddy")
    assert names == (Lacking("forwarded") != read_original(proxy, subrequest, rest, "forwarded"))


def test_envoy_needs_a_path_and_the_client() -> None:
    """Without a path prefix of its own the address would be the path."""
    assert Lacking("the original path behind the address") == read("envoy", CLIENT)
    assert Lacking("x-forwarded-for") == read("envoy/items/1")
    subrequest = make_request(CLIENT)
    assert Lacking("forwarded") == read_original(PROXIES["envoy"], subrequest, "/items/1", "forwarded")
    telling = make_request((b"forwarded", b"for=203.0.113.9"))
    assert isinstance(read_original(PROXIES["envoy"], telling, "/items/1", "forwarded"), RequestHead)


@pytest.mark.parametrize(
    "url",
    [
        b"/items/1",
        b"ftp://shop.example/items/1",
        b"https://shop.example",
        b"https:///items/1",
        b"https://shop.example?x=/items/1",
        b"https://shop.example#/items/1",
        b"https://open.example?@shop.example/items/1",
        b"https://user@shop.example/items/1",
        b"//shop.example/items/1",
    ],
)
def test_a_url_put_together_from_an_odd_host_is_refused(url: bytes) -> None:
    """The host in X-Original-URL is what the client sent: it cannot smuggle a path of its own in front."""
    assert Lacking("x-original-url") == read("nginx", CLIENT, ORIGINAL[1], (b"x-original-url", url))


@pytest.mark.parametrize("uri", [b"items/1", b"http://open.example/items/1", b"*", b"?a=1"])
def test_a_forwarded_uri_is_a_path(uri: bytes) -> None:
    """Only the origin form is (RFC 9112 3.2.1)."""
    assert Lacking("x-forwarded-uri") == read("traefik", *FORWARDED[:3], (b"x-forwarded-uri", uri))


@pytest.mark.parametrize("method", [b"get", b"GET /", b"GET,POST", b"G" * 33])
def test_a_forwarded_method_is_a_method(method: bytes) -> None:
    """One, in capitals."""
    fields = [field for field in FORWARDED if field[0] != b"x-forwarded-method"]
    assert Lacking("x-forwarded-method") == read("caddy", *fields, (b"x-forwarded-method", method))


def test_a_target_is_no_longer_than_in_a_request() -> None:
    """The limit of request targets holds for those in fields."""
    uri = (b"x-forwarded-uri", b"/" + b"a" * MAXIMUM_TARGET_BYTES)
    assert Reason.TARGET_TOO_LONG == read("traefik", *FORWARDED[:3], uri)


@given(
    st.sampled_from(sorted(PROXIES)),
    st.lists(st.tuples(st.sampled_from([f[0] for f in ORIGINAL + FORWARDED]), st.binary())),
)
def test_any_bytes_are_an_original_or_refused(proxy: str, fields: list[Field]) -> None:
    """Whatever the fields hold, the answer is a request with an absolute path, or says what is wrong."""
    original = read(proxy, *fields)
    assert isinstance(original, (Lacking, Reason)) or original.path.startswith("/")


def test_an_unknown_proxy_is_none() -> None:
    """Names are exact."""
    assert [None, None, None] == [find_proxy(name) for name in ("", "Nginx", "nginx2")]


def allowed(proxy: str, *, is_public: bool = False) -> list[Field]:
    rule: Rule = replace(find_rule("GET", "items", "1"), is_public=is_public)
    response = build_allowed(PROXIES[proxy], Authorized(rule, facts_for(rule, None if is_public else RECORD)))
    assert 200 == response.head.status
    assert b"" == response.content
    return response.head.fields


@pytest.mark.parametrize("proxy", PROXIES)
def test_to_allow_is_200_without_content_and_tells_who(proxy: str) -> None:
    """All identity fields are there, empty ones too: the proxy puts them in the place of what its client sent."""
    for is_public in (False, True):
        fields = [field for field in allowed(proxy, is_public=is_public) if field[0].startswith(b"x-gateway-")]
        assert [*IDENTITY_FIELDS, ASSERTION_FIELD] == [name for name, _ in fields]
        assert is_public is not any(value for _, value in fields)
    assert b"0" == field_value(allowed(proxy), b"content-length")


def test_envoy_is_told_what_to_remove() -> None:
    """The credential's fields; other proxies remove these by configuration."""
    field = b"x-envoy-auth-headers-to-remove"
    assert b"authorization,x-api-key" == field_value(allowed("envoy"), field)
    assert [] == [name for proxy in PROXIES if proxy != "envoy" for name, _ in allowed(proxy) if name == field]


@pytest.mark.parametrize("reason", list(Reason))
def test_nginx_gets_what_it_knows(reason: Reason) -> None:
    """401 and 403 stay, all else becomes 403; the fields have the real status and content."""
    refusal = build_refusal(reason, load_shop(), "request-1", retry_after=7)
    translated = translate(PROXIES["nginx"], refusal)
    assert (401 if refusal.head.status == 401 else 403) == translated.head.status
    fields = translated.head.fields
    assert b"%d" % refusal.head.status == field_value(fields, b"x-error-status")
    assert refusal.content == field_value(fields, b"x-error-content")
    assert b"7" == field_value(fields, b"retry-after")
    assert not {b"\r", b"\n"} & set(field_value(fields, b"x-error-content") or b"")
    assert [refusal] * 4 == [translate(PROXIES[name], refusal) for name in PROXIES if name != "nginx"]


def test_content_that_does_not_fit_into_a_field_is_left_out() -> None:
    """nginx would take the whole answer for broken, and its client would get 500."""
    refusal = Response(ResponseHead(404, []), b"x" * (MAXIMUM_CONTENT_IN_FIELD + 1))
    translated = translate(PROXIES["nginx"], refusal)
    assert [(b"x-error-status", b"404")] == translated.head.fields
