"""Whose request it is, when proxies stand in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.client_address import (
    TrustedProxies,
    believed_addresses,
    client_address,
    client_network,
    find_origin,
    is_trusted,
    parse_networks,
    plain_address,
)
from gateway.core.http.messages import Field

TRUSTED = parse_networks("10.0.0.0/8, fd00::/8 192.0.2.1")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("198.51.100.7", [b"203.0.113.9"], "198.51.100.7"),
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"1.1.1.1", b"203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("fd00::1", [b"2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", [b"1.1.1.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("", [b"203.0.113.9"], ""),
        ("unix:", [b"203.0.113.9"], "unix:"),
    ],
)
def test_the_client_is_the_first_that_no_trusted_proxy_is(peer: str, forwarded_for: list[bytes], client: str) -> None:
    """Read from the right, as long as who wrote an entry is trusted; what the client wrote itself is never reached."""
    assert client == client_address(peer, forwarded_for, TRUSTED)


@given(st.lists(st.binary(max_size=30), max_size=3))
def test_without_trusted_proxies_nobody_is_believed(forwarded_for: list[bytes]) -> None:
    """Whatever the field says, the client is the connection's other end."""
    assert "198.51.100.7" == client_address("198.51.100.7", forwarded_for, frozenset())


@given(st.lists(st.binary(max_size=30), max_size=3))
def test_any_bytes_give_an_address(forwarded_for: list[bytes]) -> None:
    """A trusted proxy that sends nonsense is no error."""
    assert client_address("10.0.0.1", forwarded_for, TRUSTED)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("", ""),
    ],
)
def test_an_ipv4_client_of_a_socket_for_both_families(address: str, expected: str) -> None:
    """It goes by its own address, as it would on a socket for IPv4."""
    assert expected == plain_address(address)


def test_an_ipv6_client_is_its_network() -> None:
    """Failures are counted by the /64, by the whole IPv4 address, and by the text of what is no address."""
    assert ["2001:db8::/64", "2001:db8::/64"] == [client_network(f"2001:db8::{end}") for end in ("1", "ffff:1")]
    assert "192.0.2.1/32" == client_network("192.0.2.1")
    assert "" == client_network("")


@pytest.mark.parametrize(
    ("peer", "entries", "client"),
    [
        ("unix:", [b"203.0.113.9"], "203.0.113.9"),
        ("unix:", [b"1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9, unix:"], "10.0.0.1"),
        ("", [b"203.0.113.9"], ""),
        ("198.51.100.7", [b"203.0.113.9"], "198.51.100.7"),
    ],
)
def test_a_proxy_on_a_unix_socket_is_trusted_by_name(peer: str, entries: list[bytes], client: str) -> None:
    """Nobody else is: an entry that says so is no address, and a client that has left has none."""
    assert client == client_address(peer, entries, parse_networks("10.0.0.0/8 unix"))


def test_networks_are_read_as_written() -> None:
    """One address is a network of its own; host bits are a mistake."""
    assert [True, False] == [is_trusted(address, TRUSTED) for address in ("192.0.2.1", "192.0.2.2")]
    with pytest.raises(ValueError, match="host bits"):
        parse_networks("10.0.0.1/8")


BY_FORWARDED = TrustedProxies(TRUSTED, "forwarded")


@pytest.mark.parametrize(
    ("peer", "fields", "client", "scheme"),
    [
        ("10.0.0.1", [(b"forwarded", b"for=203.0.113.9;proto=https")], "203.0.113.9", "https"),
        ("10.0.0.1", [(b"forwarded", b"for=1.1.1.1;proto=https, for=203.0.113.9")], "203.0.113.9", "http"),
        ("10.0.0.1", [(b"forwarded", b"for=203.0.113.9;proto=https, for=10.0.0.2")], "203.0.113.9", "https"),
        ("10.0.0.1", [(b"forwarded", b"for=203.0.113.9, for=unknown")], "10.0.0.1", "http"),
        ("10.0.0.1", [(b"forwarded", b"for=203.0.113.9;proto=gopher")], "203.0.113.9", "http"),
        ("10.0.0.1", [(b"forwarded", b"rubbish")], "10.0.0.1", "http"),
        ("10.0.0.1", [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")], "10.0.0.1", "http"),
        ("198.51.100.7", [(b"forwarded", b"for=203.0.113.9;proto=https")], "198.51.100.7", "http"),
    ],
)
def test_forwarded_is_read_where_it_is_what_proxies_write(
    peer: str, fields: list[Field], client: str, scheme: str
) -> None:
    """By the same rule as X-Forwarded-For, which then says nothing; only trusted proxies are believed."""
    found = find_origin(fields, peer, "http", BY_FORWARDED)
    assert client == found.client
    assert scheme == found.scheme


def test_forwarded_says_nothing_where_proxies_do_not_write_it() -> None:
    """A client's Forwarded that a proxy passes unread is not taken for the proxy's."""
    fields = [(b"forwarded", b"for=1.1.1.1;proto=https"), (b"x-forwarded-for", b"203.0.113.9")]
    found = find_origin(fields, "10.0.0.1", "http", TrustedProxies(TRUSTED))
    assert "203.0.113.9" == found.client
    assert "http" == found.scheme
    assert "203.0.113.9, 10.0.0.1" == found.forwarded_for


@pytest.mark.parametrize(("protos", "scheme"), [([b"https"], "https"), ([b"https"] * 2, "http"), ([b"ws"], "http")])
def test_a_scheme_is_told_once(protos: list[bytes], scheme: str) -> None:
    """X-Forwarded-Proto counts where it is there once, and http or https."""
    fields = [(b"x-forwarded-proto", proto) for proto in protos]
    assert scheme == find_origin(fields, "10.0.0.1", "http", TrustedProxies(TRUSTED)).scheme


@pytest.mark.parametrize(
    ("forwarded_for", "client", "believed"),
    [
        ("198.51.100.7", "198.51.100.7", ["198.51.100.7"]),
        ("1.1.1.1, 203.0.113.9, 10.0.0.1", "203.0.113.9", ["203.0.113.9", "10.0.0.1"]),
        ("203.0.113.9, 203.0.113.9,10.0.0.1", "203.0.113.9", ["203.0.113.9", "10.0.0.1"]),
        ("::ffff:203.0.113.9, 10.0.0.1", "203.0.113.9", ["::ffff:203.0.113.9", "10.0.0.1"]),
        ("unknown, 10.0.0.1", "10.0.0.1", ["10.0.0.1"]),
        ("", "", [""]),
    ],
)
def test_addresses_are_believed_from_the_client_on(forwarded_for: str, client: str, believed: list[str]) -> None:
    """What stands before the client in X-Forwarded-For is left out."""
    assert believed == believed_addresses(forwarded_for, client)
