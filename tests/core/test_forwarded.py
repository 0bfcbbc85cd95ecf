"""The Forwarded field, read and written (RFC 7239)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.client_address import Hop, build_forwarded, parse_forwarded


@pytest.mark.parametrize(
    ("values", "hops"),
    [
        ([b"for=192.0.2.43"], [Hop("192.0.2.43")]),
        ([b'for="_gazonk"'], [Hop()]),
        ([b'For="[2001:db8:cafe::17]:4711"'], [Hop("2001:db8:cafe::17")]),
        ([b"for=192.0.2.60;proto=HTTP;by=203.0.113.43"], [Hop("192.0.2.60", "http")]),
        ([b"for=192.0.2.43, for=198.51.100.17"], [Hop("192.0.2.43"), Hop("198.51.100.17")]),
        ([b"for=192.0.2.43", b"for=unknown;proto=https"], [Hop("192.0.2.43"), Hop("", "https")]),
        ([b'for="192.0.2.43:8080" ; host="a,b;c\\"d"'], [Hop("192.0.2.43")]),
        ([b"proto=https;host=example"], [Hop("", "https")]),
        ([b"for=192.0.2.1;for=192.0.2.2"], []),
        ([b"for=192.0.2.1, nonsense"], []),
        ([b'for="192.0.2.1'], []),
        ([b"for=[2001:db8::1]"], []),
        ([b"for=192.0.2.1;"], []),
        ([b"for=192.0.2.1,"], [Hop("192.0.2.1")]),
        ([b"for = 192.0.2.1"], []),
        ([b""], []),
        ([], []),
    ],
)
def test_hops_are_read_or_none_is(values: list[bytes], hops: list[Hop]) -> None:
    """The examples of RFC 7239 4 to 7, and what is not of its grammar."""
    assert hops == parse_forwarded(values)


@pytest.mark.parametrize(
    ("addresses", "host", "expected"),
    [
        (["192.0.2.7"], "shop.example", b'for=192.0.2.7;host="shop.example";proto=https;by=_gateway'),
        (
            ["2001:db8::1", "10.0.0.1"],
            "[::1]:8080",
            b'for="[2001:db8::1]";host="[::1]:8080";proto=https, for=10.0.0.1;by=_gateway',
        ),
        ([""], "", b"for=unknown;proto=https;by=_gateway"),
        (['x";for=evil'], "a", b'for=unknown;host="a";proto=https;by=_gateway'),
    ],
)
def test_what_a_backend_is_told(addresses: list[str], host: str, expected: bytes) -> None:
    """Host and scheme stand with the client; IPv6 is in quotes; what is no address is unknown."""
    assert expected == build_forwarded(addresses, host, "https")


@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=4), st.sampled_from(["a.example", "a:1", ""]))
def test_what_is_written_can_be_read(addresses: list[str], host: str) -> None:
    """Addresses in their order, and the scheme with the first."""
    hops = parse_forwarded([build_forwarded(addresses, host, "http")])
    assert addresses == [hop.address for hop in hops]
    assert "http" == hops[0].scheme


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_any_bytes_are_read(values: list[bytes]) -> None:
    """What a client sends is hops or none, and nothing else."""
    assert all(isinstance(hop, Hop) for hop in parse_forwarded(values))
