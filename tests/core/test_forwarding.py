"""What is removed and added on the way through."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.http.messages import Field, ResponseHead, field_value, field_values
from gateway.core.http.tracing import build_trace_fields
from gateway.core.policies.model import FieldEdits, Rewrite
from gateway.core.tokens.records import TokenRecord
from gateway.core.upstream.client_fields import HOP_BY_HOP, IDENTITY_FIELDS, MISLEADING, SET_BY_GATEWAY, fold_all
from gateway.core.upstream.forwarding import (
    build_request_fields,
    build_response_fields,
    edit_fields,
    end_to_end_fields,
    hops_left,
    restore_path,
    rewrite_target,
)
from tests.core.samples import RECORD, load_shop, make_request

POLICY = load_shop()
names = st.text("abcdefghijklmnopqrstuvwxyz-_", min_size=1, max_size=12).map(str.encode)


def forward(*fields: Field, dropped: frozenset[bytes] = frozenset()) -> list[Field]:
    return build_request_fields(make_request(*fields), POLICY, RECORD, RECORD.scopes, dropped)


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_fields_do_not_cross(name: bytes) -> None:
    """Each field about one connection is removed in both directions."""
    assert [] == end_to_end_fields([(name, b"x")])
    assert field_value(forward((name, b"x")), name) is None
    assert field_value(build_response_fields(ResponseHead(200, [(name, b"x")])), name) is None


@pytest.mark.parametrize(
    "name", [b"content_length", b"content.length", b"transfer_encoding", b"proxy!connection", b"keep_alive"]
)
def test_what_cgi_takes_for_framing_does_not_cross(name: bytes) -> None:
    """A CGI-style server reads odd characters as hyphens: to it such a field would be about the connection."""
    assert field_value(forward((name, b"5")), name) is None
    assert field_value(build_response_fields(ResponseHead(200, [(name, b"5")])), name) is None


def test_a_length_crosses() -> None:
    """In its own spelling Content-Length frames the message."""
    assert b"5" == field_value(forward((b"content-length", b"5")), b"content-length")
    assert b"5" == field_value(build_response_fields(ResponseHead(200, [(b"content-length", b"5")])), b"content-length")


@pytest.mark.parametrize(
    ("method", "sent", "passed"),
    [
        ("OPTIONS", b"3", b"2"),
        ("OPTIONS", b"1", b"0"),
        ("OPTIONS", b"many", None),
        ("OPTIONS", b"9" * 5000, None),
        ("GET", b"3", None),
    ],
)
def test_an_options_request_goes_one_hop_further(method: str, sent: bytes, passed: bytes | None) -> None:
    """Max-Forwards counts down (RFC 9110 7.6.2); what is no number, or means nothing, is not passed on."""
    head = replace(make_request((b"max-forwards", sent)), method=method)
    fields = build_request_fields(head, POLICY, RECORD, RECORD.scopes, frozenset())
    assert passed == field_value(fields, b"max-forwards")
    assert (int(passed) + 1 if passed else None) == hops_left(head)


@pytest.mark.parametrize(
    "connection",
    [[b"x-hop"], [b"close, X-Hop"], [b"close", b"X-HOP"], [b",x-hop ,"], [b"keep-alive,\tx-hop"]],
)
def test_fields_that_connection_lists_do_not_cross(connection: list[bytes]) -> None:
    """A field that any Connection line names, in any case, is removed with it (RFC 9110 7.6.1)."""
    fields = [*((b"connection", value) for value in connection), (b"x-hop", b"1"), (b"x-hop-2", b"2"), (b"x-hop", b"3")]
    assert [(b"x-hop-2", b"2")] == end_to_end_fields(fields)


def test_connection_cannot_remove_what_the_gateway_says() -> None:
    """A client that lists identity or forwarding fields in Connection does not keep the gateway's from the backend."""
    plain = forward()
    listed = forward((b"connection", b"x-gateway-owner, x-forwarded-for, via, x-request-id, x-gateway-scopes"))
    assert plain == listed


@given(st.lists(st.tuples(names, st.binary())))
def test_removal_is_complete_and_keeps_the_rest(fields: list[Field]) -> None:
    """Any field lines come through in order, without hop-by-hop ones; a second gateway finds nothing to remove."""
    kept = end_to_end_fields(fields)
    assert HOP_BY_HOP.isdisjoint(name for name, _ in kept)
    assert kept == [field for field in fields if field in kept]
    assert kept == end_to_end_fields(kept)


@pytest.mark.parametrize("name", [b"x-gateway-owner", b"x.gateway.owner", b"x!gateway!scopes", b"x-gateway-new"])
def test_a_backend_says_nothing_of_who_asks(name: bytes) -> None:
    """Its own identity fields reach no client, in whatever spelling: they would be the gateway's to whoever is next."""
    assert [(b"via", b"1.1 gateway")] == build_response_fields(ResponseHead(200, [(name, b"root")]))


@pytest.mark.parametrize(
    "field",
    [
        (b"authorization", b"Bearer shp_secret"),
        (b"x-api-key", b"shp_secret"),
        (b"x.api.key", b"shp_secret"),
        (b"authoriz_ation", b"Bearer shp_secret"),
    ],
)
def test_the_credential_does_not_reach_the_backend(field: Field) -> None:
    """Each field in which the policy accepts a credential is removed."""
    assert all(b"secret" not in value for _, value in forward(field))


@pytest.mark.parametrize("name", sorted(SET_BY_GATEWAY - {b"host"}))
def test_what_a_client_says_in_the_gateways_place_is_dropped(name: bytes) -> None:
    """A client cannot claim an address, a scheme, a host or a request id, in any spelling."""
    spellings = {name, *(name.replace(b"-", odd) for odd in (b"_", b".", b"!", b""))}
    passed = forward(*((spelling, b"forged") for spelling in spellings))
    assert b"forged" not in {value for _, value in passed}


@pytest.mark.parametrize(
    "name", [*sorted(MISLEADING), b"x-forwarded-prefix", b"x-forwarded-anything", b"forwarded-for"]
)
def test_what_makes_a_backend_see_another_request_is_dropped(name: bytes) -> None:
    """Unless the policy names it, and then in this spelling only."""
    fields = [(name, b"1"), *((name.replace(b"-", odd), b"2") for odd in (b"_", b".") if b"-" in name)]
    assert fold_all([name]).isdisjoint(fold_all(field for field, _ in forward(*fields)))
    passing = replace(POLICY, upstream=replace(POLICY.upstream, pass_fields=frozenset({name})))
    passed = build_request_fields(make_request(*fields), passing, RECORD, "", frozenset())
    assert [(name, b"1")] == [field for field in passed if field in fields]


def test_the_backend_learns_who_asks_and_how() -> None:
    """The gateway's own fields say where the request came from and in whose name."""
    expected = [
        (b"host", b"shop.example:8080"),
        (b"accept", b"*/*"),
        (b"via", b"1.1 gateway"),
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-forwarded-host", b"shop.example:8080"),
        (b"x-forwarded-proto", b"https"),
        (b"x-request-id", b"request-1"),
        *build_trace_fields(make_request(), "sampled"),
        (b"x-gateway-token-id", b"ab" * 12),
        (b"x-gateway-token-name", b"nightly build"),
        (b"x-gateway-project", b"website"),
        (b"x-gateway-owner", b"acme"),
        (b"x-gateway-scopes", b"read write"),
    ]
    assert expected == forward((b"accept", b"*/*"))


def test_forwarded_is_sent_to_those_who_want_it() -> None:
    """RFC 7239 beside the older fields, where the policy says so."""
    wanting = replace(POLICY, upstream=replace(POLICY.upstream, sends_forwarded=True))
    fields = build_request_fields(make_request((b"forwarded", b"for=1.1.1.1")), wanting, RECORD, "", frozenset())
    assert [b'for=192.0.2.7;host="shop.example:8080";proto=https;by=_gateway'] == field_values(fields, b"forwarded")
    assert [] == field_values(forward(), b"forwarded")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (replace(RECORD, project="", name=""), [b"ab" * 12, b"", b"", b"acme", b""]),
        (None, [b"", b"", b"", b"", b""]),
    ],
)
def test_all_identity_fields_are_sent(record: TokenRecord | None, expected: list[bytes]) -> None:
    """Empty where there is nothing to say, also where nobody is asked: else a client's would be all there is."""
    forged = [(name.replace(b"-", b"."), b"root") for name in IDENTITY_FIELDS]
    fields = build_request_fields(make_request(*forged), POLICY, record, "", frozenset())
    assert list(zip(IDENTITY_FIELDS, expected, strict=True)) == [
        field for field in fields if field[0].startswith(b"x") and b"gateway" in field[0]
    ]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("client", [b"shop.example:8080"]), ("target", []), ("inner.example:81", [b"inner.example:81"])],
)
def test_the_policy_says_which_host_the_backend_gets(host: str, expected: list[bytes]) -> None:
    """The client's, a name, or none here: then the target adds its own. X-Forwarded-Host is the client's always."""
    policy = replace(POLICY, upstream=replace(POLICY.upstream, host=host))
    fields = build_request_fields(make_request(), policy, RECORD, "", frozenset())
    assert expected == field_values(fields, b"host")
    assert [b"shop.example:8080"] == field_values(fields, b"x-forwarded-host")


def test_earlier_intermediaries_stay_in_via() -> None:
    """The gateway appends itself to Via and removes nobody."""
    fields = build_response_fields(ResponseHead(200, [(b"via", b"1.0 fred")]))
    assert [b"1.0 fred", b"1.1 gateway"] == field_values(fields, b"via")
    assert [b"1.0 fred", b"1.1 gateway"] == field_values(
        build_response_fields(ResponseHead(200, [(b"via", b"1.0 fred")])), b"via"
    )


def test_dropped_fields_are_dropped() -> None:
    """What the caller names does not reach the backend either."""
    fields = forward((b"if-none-match", b"*"), (b"range", b"bytes=0-"), dropped=frozenset({b"if-none-match"}))
    assert [] == field_values(fields, b"if-none-match")
    assert [b"bytes=0-"] == field_values(fields, b"range")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nightly build", b"nightly build"),
        ("Bücher", b"B%C3%BCcher"),
        ("100%", b"100%25"),
        ("翻訳", b"%E7%BF%BB%E8%A8%B3"),
        ("a\r\nx-gateway-owner: root", b"a%0D%0Ax-gateway-owner: root"),
        ('say "hi"', b'say "hi"'),
    ],
)
def test_names_are_printable_ascii_for_the_backend(name: str, value: bytes) -> None:
    """A name that is not printable ASCII arrives percent-encoded; none can begin another field."""
    fields = build_request_fields(make_request(), POLICY, replace(RECORD, name=name), "", frozenset())
    assert [value] == field_values(fields, b"x-gateway-token-name")


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_the_backend_can_decode_any_name(name: str) -> None:
    """Percent-decoding an identity field gives the name back, whatever it was."""
    fields = build_request_fields(make_request(), POLICY, replace(RECORD, name=name), "", frozenset())
    (value,) = field_values(fields, b"x-gateway-token-name")
    assert set(value) <= set(range(0x20, 0x7F))
    assert name == unquote(value.decode("ascii"))


@pytest.mark.parametrize(("status", "length"), [(200, b"5"), (204, None), (304, None)])
def test_a_status_without_content_has_no_length(status: int, length: bytes | None) -> None:
    """Content-Length of a 204 or 304 is dropped: the server below would wait for the content it announces."""
    head = ResponseHead(status, [(b"content-length", b"5")])
    assert length == field_value(build_response_fields(head), b"content-length")


def test_the_backend_is_told_what_the_token_may_use() -> None:
    """The effective scopes, whatever the token itself holds."""
    fields = build_request_fields(make_request(), POLICY, RECORD, "read", frozenset())
    assert b"read" == field_value(fields, b"x-gateway-scopes")


@pytest.mark.parametrize(
    ("target", "stripped", "replaced", "prefixed"),
    [
        ("/api", "/", "/v2", "/base/api"),
        ("/api/", "/", "/v2/", "/base/api/"),
        ("/api/x%20y?q=/api", "/x%20y?q=/api", "/v2/x%20y?q=/api", "/base/api/x%20y?q=/api"),
        ("/%61pi/x/", "/x/", "/v2/x/", "/base/%61pi/x/"),
        ("/apix", "/apix", "/apix", "/base/apix"),
        ("/x/api", "/x/api", "/x/api", "/base/x/api"),
        ("/", "/", "/", "/base/"),
    ],
)
def test_rewritten_targets(target: str, stripped: str, replaced: str, prefixed: str) -> None:
    """Whole segments are compared as rules see them, decoded; what follows is kept byte for byte."""
    rewrites = [Rewrite(("api",), ""), Rewrite(("api",), "/v2"), Rewrite((), "/base")]
    assert [stripped, replaced, prefixed] == [rewrite_target(target, rewrite) for rewrite in rewrites]


def test_edited_fields() -> None:
    """What is set replaces every line of its name; what is removed is gone; the rest keeps its order."""
    fields = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"4")]
    edits = FieldEdits(frozenset({b"a", b"c"}), ((b"a", b"new"),))
    assert [(b"b", b"2"), (b"a", b"new")] == edit_fields(fields, edits)


def test_a_field_is_edited_in_every_spelling() -> None:
    """What the policy sets or removes a client cannot say beside it by an underscore or a dot."""
    fields = [(b"x_environment", b"test"), (b"x.environment", b"test"), (b"b", b"2")]
    edits = FieldEdits(fold_all([b"X-Environment"]), ((b"x-environment", b"production"),))
    assert [(b"b", b"2"), (b"x-environment", b"production")] == edit_fields(fields, edits)


@pytest.mark.parametrize(
    ("rewrite", "path", "public", "untouched"),
    [
        (Rewrite(("api", "v1"), "/v1"), "/v1/x", "/api/v1/x", "/v1/x"),
        (Rewrite(("api", "v1"), "/v1"), "/v1", "/api/v1", "/v1"),
        (Rewrite(("api", "v1"), "/v1"), "/v10", "/v10", "/v10"),
        (Rewrite(("api", "v1"), "/v1"), "/api/v1/x", None, None),
        (Rewrite(("api",), ""), "/", "/api/", "/"),
        (Rewrite(("api",), ""), "/x/", "/api/x/", "/x/"),
        (Rewrite((), "/base"), "/base/x", "/x", "/x"),
        (Rewrite((), "/base"), "/base", "/", "/"),
        (Rewrite((), "/base"), "/x", None, None),
        (Rewrite(("a b",), "/v1"), "/v1/x", "/a%20b/x", "/v1/x"),
    ],
)
def test_a_rewrite_is_reversed(rewrite: Rewrite, path: str, public: str | None, untouched: str | None) -> None:
    """To the path that a client asks for: rewritten as its own request was, or not; None where no path leads there."""
    assert public == restore_path(path, rewrite, is_rewritten=True)
    assert untouched == restore_path(path, rewrite, is_rewritten=False)


_paths = st.lists(st.sampled_from(["a", "b", "v1", "x%20y"]), max_size=4).map(lambda parts: "/" + "/".join(parts))
_rewrites = st.builds(
    Rewrite,
    st.lists(st.sampled_from(["a", "b", "x y"]), max_size=2).map(tuple),
    _paths.map(lambda path: path.rstrip("/")),
)


@given(_rewrites, _paths, st.booleans())
def test_what_a_reversed_path_leads_to_is_the_path(rewrite: Rewrite, path: str, is_rewritten: bool) -> None:
    """A client that follows it reaches what the backend meant, up to a slash at the end."""
    public = restore_path(path, rewrite, is_rewritten=is_rewritten)
    if public is not None:
        assert path.rstrip("/") == rewrite_target(public, rewrite).rstrip("/")


@given(_rewrites, _paths)
def test_every_path_is_found_again(rewrite: Rewrite, path: str) -> None:
    """What the backend says of the very path that it was asked for leads back to the client's."""
    inner = rewrite_target(path, rewrite)
    public = restore_path(inner, rewrite, is_rewritten=inner != path)
    assert public is not None
    assert inner.rstrip("/") == rewrite_target(public, rewrite).rstrip("/")
