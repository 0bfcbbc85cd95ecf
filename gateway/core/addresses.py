"""The client's address: the connection's other end, or what proxies say that are trusted to say it.

X-Forwarded-For grows to the right, one entry a proxy. It is read from there, as long as the one who wrote an entry is
trusted: what stands further left can have been made up by the client.
"""

import functools
import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Networks: TypeAlias = frozenset[ipaddress.IPv4Network | ipaddress.IPv6Network]
"""A set that knows its hash: what is remembered by it is found at once."""

MAXIMUM_REMEMBERED = 128
"""Characters of what is remembered: what clients send must not fill the memory."""

CLIENT_PREFIX_LENGTHS = {4: 32, 6: 64}
"""Bits of an address that tell clients apart: whoever has one IPv6 address has the whole /64 around it."""


def parse_networks(text: str) -> Networks:
    """The networks of "10.0.0.0/8 fd00::/8", separated by spaces or commas; ValueError names the one that is none."""
    return frozenset(ipaddress.ip_network(item) for item in text.replace(",", " ").split())


def is_trusted(address: str, trusted: Networks) -> bool:
    """Whether the address lies in one of the networks."""
    return bool(trusted) and len(address) <= MAXIMUM_REMEMBERED and _lies_in(address, trusted)


def client_address(peer: str, forwarded_for: Sequence[bytes], trusted: Networks) -> str:
    """The first address from the right that is not a trusted proxy's own; the last readable one where all are."""
    text = forwarded_for[0] if len(forwarded_for) == 1 else b",".join(forwarded_for)
    return _find_client(peer, text, trusted) if len(text) <= MAXIMUM_REMEMBERED else _read_client(peer, text, trusted)


def _read_client(peer: str, forwarded_for: bytes, trusted: Networks) -> str:
    client = peer
    entries = [entry.strip() for entry in forwarded_for.decode("latin-1").split(",")] if forwarded_for else []
    while entries and is_trusted(client, trusted):
        entry = _parse(entries.pop())
        if entry is None:
            break
        client = str(entry)
    return client


_find_client = functools.lru_cache(maxsize=4096)(_read_client)
"""The same, remembered: clients come again and again."""


@functools.lru_cache(maxsize=4096)
def client_network(address: str) -> str:
    """What failures are counted by: the address, or the /64 of an IPv6 address."""
    parsed = _parse(address)
    if parsed is None:
        return address
    return str(ipaddress.ip_network((parsed, CLIENT_PREFIX_LENGTHS[parsed.version]), strict=False))


@functools.lru_cache(maxsize=4096)
def _lies_in(address: str, networks: Networks) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
