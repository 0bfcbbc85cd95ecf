"""Heads as they come in."""

import pytest

from gateway.core.http.client_address import TrustedProxies
from gateway.core.http.messages import Field
from gateway.core.http.reasons import Reason
from gateway.server.requests import RawRequest, RequestAcceptor, split_target
from tests.management.policies import FixedPolicies

ACCEPTOR = RequestAcceptor(FixedPolicies(), clock=lambda: 0.0, new_id=lambda: "new", trusted=TrustedProxies())
TOKEN = b"sml_0123456789abcdefghijABCDEFGHIJ0123456789"
HOST: list[Field] = [(b"accept", b"*/*"), (b"host", b"a")]


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        (b"/a/b?c=d?e", b"/a/b", b"c=d?e", b"a"),
        (b"//a/b", b"//a/b", b"", b"a"),
        (b"http://b/c?d", b"/c", b"d", b"b"),
        (b"https://b:8443/c", b"/c", b"", b"b:8443"),
        (b"http://b", b"/", b"", b"b"),
        (b"*", b"*", b"", b"a"),
        (b"HTTP://B.test/c", b"/c", b"", b"B.test"),
        (b"hTTpS://b/c", b"/c", b"", b"b"),
    ],
)
def test_targets(target: bytes, path: bytes, query: bytes, host: bytes) -> None:
    """In absolute form it has the host that counts (RFC 9112 3.2.2)."""
    found_path, found_query, fields = split_target(target, HOST)
    assert path == found_path
    assert query == found_query
    assert [(b"accept", b"*/*"), (b"host", host)] == fields


@pytest.mark.parametrize(
    ("target", "path"), [(b"http://b", b"*"), (b"http://b/", b"/"), (b"http://b?c", b"/"), (b"*", b"*"), (b"/", b"/")]
)
def test_options_about_the_whole_server(target: bytes, path: bytes) -> None:
    """In absolute form it has neither path nor query (RFC 9112 3.2.4)."""
    assert path == split_target(target, HOST, "OPTIONS")[0]


@pytest.mark.parametrize(
    "target", [b"a:443", b"a/b", b"/a#b", b"http://b/c#d", b"http://u:p@b/c", b"ftp://b/c", b"http:///c", b""]
)
def test_what_is_no_target_of_ours(target: bytes) -> None:
    """It has no path, and the request is malformed."""
    path, query, fields = split_target(target, HOST)
    assert b"" == path
    assert b"" == query
    assert HOST == fields
    raw = RawRequest("GET", path, query, fields, "192.0.2.1", "http")
    assert Reason.MALFORMED_TARGET is ACCEPTOR.accept(raw).fault


def test_an_absolute_target_does_not_stand_in_for_the_host() -> None:
    """Without Host, or with two, a request is malformed whatever its target is (RFC 9112 3.2)."""
    for hosts in ([], [(b"host", b"a"), (b"host", b"a")]):
        raw = RawRequest("GET", *split_target(b"http://b/c", hosts), "192.0.2.1", "http")
        assert Reason.MALFORMED_TARGET is ACCEPTOR.accept(raw).fault


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_some_methods_are_never_passed_on(method: str) -> None:
    """Whatever the rules say."""
    raw = RawRequest(method, b"/a", b"", HOST, "192.0.2.1", "http")
    assert Reason.UNSUPPORTED is ACCEPTOR.accept(raw).fault


def test_identity_fields_are_dropped_in_every_spelling() -> None:
    """Here and only here: what a client says of itself counts for nothing."""
    forged = [(b"x-gateway-owner", b"root"), (b"x_gateway_owner", b"root")]
    raw = RawRequest("GET", b"/a", b"", [*forged, *HOST], "192.0.2.1", "http")
    request = ACCEPTOR.accept(raw)
    assert None is request.fault
    assert HOST == request.fields


@pytest.mark.parametrize(
    ("value", "identity"),
    [(b"build-7", "build-7"), (TOKEN, "new"), (b"build-7." + TOKEN, "new"), (b"a b", "new"), (b"x" * 129, "new")],
)
def test_an_id_that_is_not_safe_to_log_is_not_taken(value: bytes, identity: str) -> None:
    """It is in logs, in the answer, and at the backend: so it is no token."""
    raw = RawRequest("GET", b"/a", b"", [*HOST, (b"x-request-id", value)], "192.0.2.1", "http")
    request = ACCEPTOR.accept(raw)
    assert None is request.fault
    assert identity == request.id


@pytest.mark.parametrize("lines", [[b"a=1," + b"b=" + TOKEN], [b"a=1", b"b=" + TOKEN]])
def test_no_trace_carries_a_token(lines: list[bytes]) -> None:
    """Tracing systems keep what tracestate says: a line of it that holds a token is dropped."""
    fields = [*HOST, *((b"tracestate", line) for line in lines)]
    request = ACCEPTOR.accept(RawRequest("GET", b"/a", b"", fields, "", "http"))
    assert None is request.fault
    assert [*HOST, *((b"tracestate", line) for line in lines if TOKEN not in line)] == request.fields
