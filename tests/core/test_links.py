"""Addresses in a backend's answer become those that clients can use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.http.messages import RequestHead, ResponseHead
from gateway.core.policies.model import Rewrite, Upstream
from gateway.core.upstream.links import publish
from tests.core.samples import make_request

HTTPS = replace(make_request(path="/items/1"), authority="shop.example", host="shop.example")
HTTP = replace(HTTPS, scheme="http", authority="shop.example:8080")
CLIENTS = Upstream(("http://127.0.0.1:9001",), host="client")
TARGETS = Upstream(("http://127.0.0.1:9001", "https://b.internal"), host="target")
NAMED = Upstream(("unix:/run/app.sock",), host="inner.example:81")
BASE = Upstream(("http://127.0.0.1:9001/base",), host="client")
STRIPPED = replace(CLIENTS, rewrite=Rewrite(("items",), ""))
REPLACED = replace(CLIENTS, rewrite=Rewrite(("items",), "/v1/things"))


def published(value: str, upstream: Upstream, request: RequestHead = HTTPS, name: str = "location") -> str:
    head = ResponseHead(302, [(name.encode(), value.encode("latin-1")), (b"x", b"1")])
    (_, answer), other = publish(head, request, request.target, upstream).fields
    assert (b"x", b"1") == other
    return answer.decode("latin-1")


@pytest.mark.parametrize(
    ("upstream", "location", "expected"),
    [
        (CLIENTS, "http://127.0.0.1:9001/a?b#c", "https://shop.example/a?b#c"),
        (CLIENTS, "https://127.0.0.1:9001/a", "https://shop.example/a"),
        (CLIENTS, "HTTP://127.0.0.1:9001", "https://shop.example/"),
        (CLIENTS, "//127.0.0.1:9001/a", "https://shop.example/a"),
        (CLIENTS, "http://127.0.0.1:9002/a", "http://127.0.0.1:9002/a"),
        (CLIENTS, "http://127.0.0.1/a", "http://127.0.0.1/a"),
        (CLIENTS, "http://elsewhere.example/a", "http://elsewhere.example/a"),
        (CLIENTS, "http://shop.example/a", "https://shop.example/a"),
        (CLIENTS, "http://SHOP.example:80/a", "https://shop.example/a"),
        (CLIENTS, "https://shop.example/%61", "https://shop.example/%61"),
        (CLIENTS, "/a", "/a"),
        (CLIENTS, "a", "a"),
        (CLIENTS, "?a", "?a"),
        (CLIENTS, "mailto:a@shop.example", "mailto:a@shop.example"),
        (CLIENTS, "http://[broken", "http://[broken"),
        (CLIENTS, "http://127.0.0.1:99999/", "http://127.0.0.1:99999/"),
        (CLIENTS, "http://u@127.0.0.1:9001/", "http://u@127.0.0.1:9001/"),
        (CLIENTS, "", ""),
        (CLIENTS, "http://127.0.0.1:9001/caf\xe9", "https://shop.example/caf\xe9"),
        (TARGETS, "http://127.0.0.1:9001/a", "https://shop.example/a"),
        (TARGETS, "https://b.internal/a", "https://shop.example/a"),
        (TARGETS, "http://b.internal/a", "https://shop.example/a"),
        (TARGETS, "https://b.internal:443/a", "https://shop.example/a"),
        (TARGETS, "https://b.internal:444/a", "https://b.internal:444/a"),
        (NAMED, "http://inner.example:81/a", "https://shop.example/a"),
        (NAMED, "http://localhost/a", "https://shop.example/a"),
        (NAMED, "http://inner.example/a", "http://inner.example/a"),
    ],
)
def test_a_backends_own_address_becomes_the_public_one(upstream: Upstream, location: str, expected: str) -> None:
    """Of any of its targets, or the name that it is told; what else there is stays byte for byte."""
    assert expected == published(location, upstream)


@pytest.mark.parametrize(
    ("upstream", "request_", "location", "expected"),
    [
        (CLIENTS, HTTP, "http://127.0.0.1:9001/a", "http://shop.example:8080/a"),
        (CLIENTS, HTTP, "http://shop.example:8080/a", "http://shop.example:8080/a"),
        (CLIENTS, HTTP, "https://shop.example:8080/a", "https://shop.example:8080/a"),
        (CLIENTS, HTTP, "https://shop.example/a", "https://shop.example/a"),
        (replace(CLIENTS, targets=("https://b",)), HTTPS, "http://shop.example/a", "http://shop.example/a"),
    ],
)
def test_a_redirect_to_another_scheme_stays(
    upstream: Upstream, request_: RequestHead, location: str, expected: str
) -> None:
    """Nobody is sent around in circles: http becomes https only for who came by it, to a backend that has none."""
    assert expected == published(location, upstream, request_)


@pytest.mark.parametrize(
    ("upstream", "path", "location", "expected"),
    [
        (BASE, "/items/1", "http://127.0.0.1:9001/base/a", "https://shop.example/a"),
        (BASE, "/items/1", "https://shop.example/base/a?b", "https://shop.example/a?b"),
        (BASE, "/items/1", "/base/a", "/a"),
        (BASE, "/items/1", "/base", "/"),
        (BASE, "/items/1", "/based", "/based"),
        (BASE, "/items/1", "http://127.0.0.1:9001/other", "http://127.0.0.1:9001/other"),
        (BASE, "/items/1", "2", "2"),
        (STRIPPED, "/items/1", "/2", "/items/2"),
        (STRIPPED, "/items/1", "2", "2"),
        (STRIPPED, "/items", "2", "/items/2"),
        (STRIPPED, "/items/1", "../2", "/items/2"),
        (STRIPPED, "/items/1", "?page=2", "?page=2"),
        (STRIPPED, "/items/1", "#top", "#top"),
        (STRIPPED, "/other", "/2", "/2"),
        (REPLACED, "/items/1", "/v1/things/1/", "/items/1/"),
        (REPLACED, "/items/1", "https://shop.example/v1/things", "https://shop.example/items"),
        (REPLACED, "/items/1", "/v1/other", "/v1/other"),
        (REPLACED, "/other", "/v1/things/2", "/v1/things/2"),
    ],
)
def test_paths_are_translated_back(upstream: Upstream, path: str, location: str, expected: str) -> None:
    """Through the path of the target's URL and through `rewrite`; what no public path leads to stays."""
    assert expected == published(location, upstream, replace(HTTPS, path=path))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("content-location", "http://127.0.0.1:9001/a", "https://shop.example/a"),
        ("refresh", "5; url=http://127.0.0.1:9001/a", "5; url=https://shop.example/a"),
        ("refresh", "0;URL='http://127.0.0.1:9001/a'", "0;URL='https://shop.example/a'"),
        ("refresh", "0, http://127.0.0.1:9001/a", "0, https://shop.example/a"),
        ("refresh", "5", "5"),
        ("refresh", "soon", "soon"),
        (
            "link",
            '<http://127.0.0.1:9001/a?p=2>; rel="next", </b>; rel=prev; title="<http://127.0.0.1:9001>"',
            '<https://shop.example/a?p=2>; rel="next", </b>; rel=prev; title="<http://127.0.0.1:9001>"',
        ),
        ("link", "<http://127.0.0.1:9001/a,b;c>; rel=x", "<https://shop.example/a,b;c>; rel=x"),
        (
            "link",
            "http://127.0.0.1:9001/a; rel=x, http://127.0.0.1:9001/b; rel=y",
            "https://shop.example/a; rel=x, https://shop.example/b; rel=y",
        ),
        ("link", "<<", "<<"),
        ("x-location", "http://127.0.0.1:9001/a", "http://127.0.0.1:9001/a"),
    ],
)
def test_every_field_that_names_addresses_is_published(name: str, value: str, expected: str) -> None:
    """Location, Content-Location, Refresh and Link."""
    assert expected == published(value, CLIENTS, name=name)


@pytest.mark.parametrize(
    ("upstream", "cookie", "expected"),
    [
        (TARGETS, "a=b; Domain=127.0.0.1; Path=/; Secure", "a=b; Domain=shop.example; Path=/; Secure"),
        (TARGETS, "a=b; domain=.B.internal", "a=b; domain=shop.example"),
        (TARGETS, "a=b; Domain=elsewhere.example", "a=b; Domain=elsewhere.example"),
        (TARGETS, "a=http://127.0.0.1:9001; HttpOnly", "a=http://127.0.0.1:9001; HttpOnly"),
        (TARGETS, "a=b; Domain; Path", "a=b; Domain; Path"),
        (NAMED, "a=b; Domain=inner.example", "a=b; Domain=shop.example"),
        (BASE, "a=b; Path=/base/admin", "a=b; Path=/admin"),
        (BASE, "a=b; Path=/base", "a=b; Path=/"),
        (BASE, "a=b; Path=/elsewhere", "a=b; Path=/elsewhere"),
        (STRIPPED, "a=b; Path=/admin", "a=b; Path=/items/admin"),
        (STRIPPED, "a=b; Path=/", "a=b; Path=/"),
        (REPLACED, "a=b; path=/v1/things", "a=b; path=/items"),
    ],
)
def test_cookies_are_for_the_public_address(upstream: Upstream, cookie: str, expected: str) -> None:
    """Domain and Path where they name the backend's; a cookie for all paths is one for all public ones."""
    assert expected == published(cookie, upstream, name="set-cookie")


def test_an_answer_that_names_nothing_is_the_same() -> None:
    """Nearly all of them: nothing is built anew. So it is in an app, which has no other address."""
    plain = ResponseHead(200, [(b"content-type", b"text/plain")])
    assert plain is publish(plain, HTTPS, "/", CLIENTS)
    own = ResponseHead(302, [(b"location", b"http://127.0.0.1:9001/")])
    assert own is publish(own, HTTPS, "/", Upstream((), host="client"))


@given(st.sampled_from([b"location", b"refresh", b"link", b"set-cookie"]), st.binary(max_size=60))
def test_any_bytes_are_published_or_left(name: bytes, value: bytes) -> None:
    """Whatever a backend says, an answer comes of it, and no line break that was not there."""
    for upstream in (CLIENTS, TARGETS, NAMED, BASE, STRIPPED, REPLACED):
        ((_, answer),) = publish(ResponseHead(200, [(name, value)]), HTTPS, "/items/1", upstream).fields
        assert b"\n" not in answer or b"\n" in value
