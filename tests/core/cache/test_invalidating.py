"""What an answer to an unsafe request ends (RFC 9111 4.4, RFC 9875 3)."""

import pytest
from msgspec.structs import replace

from gateway.core.cache.invalidation import find_invalidated
from gateway.core.http.messages import Field, ResponseHead
from tests.core.samples import load_shop, make_request

SHOP = load_shop()
OWN = "uri:shop.example/items/1?a=b"


def invalidated(*fields: Field, method: str = "POST", status: int = 200, policy: object = SHOP) -> tuple[str, ...]:
    request = make_request(method=method, query="a=b")
    return find_invalidated(policy, request, ResponseHead(status, list(fields)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("POST", 200, (OWN,)),
        ("PUT", 204, (OWN,)),
        ("DELETE", 303, (OWN,)),
        ("M-SEARCH", 200, (OWN,)),
        ("PATCH", 404, ()),
        ("POST", 500, ()),
        ("GET", 200, ()),
        ("HEAD", 200, ()),
        ("OPTIONS", 200, ()),
    ],
)
def test_a_write_that_went_well_ends_what_is_stored_for_its_uri(
    method: str, status: int, expected: tuple[str, ...]
) -> None:
    """For an unsafe or unknown method with an answer that is no error."""
    assert expected == invalidated(method=method, status=status)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"2", "uri:shop.example/items/2"),
        (b"/other?x=1", "uri:shop.example/other?x=1"),
        (b"https://shop.example:8080/abs", "uri:shop.example/abs"),
        (b"https://elsewhere.example/abs", None),
        (b"https://shop.example/other-port", None),
        (b"http://[broken", None),
    ],
)
@pytest.mark.parametrize("name", [b"location", b"content-location"])
def test_locations_of_the_same_origin_end_too(name: bytes, location: bytes, expected: str | None) -> None:
    """As clients name them; those of other origins are not its business."""
    assert ((OWN,) if expected is None else (OWN, expected)) == invalidated((name, location))


def test_the_backend_ends_groups() -> None:
    """Cache-Group-Invalidation, which is ignored on an answer to a safe method."""
    field = (b"cache-group-invalidation", b'"a", "b"')
    assert (OWN, "group:a", "group:b") == invalidated(field)
    assert () == invalidated(field, method="GET")


def test_without_any_cache_nothing_is_asked_of_redis() -> None:
    """A policy whose rules keep nothing has nothing to end."""
    assert () == invalidated(policy=replace(SHOP, has_cache=False))
