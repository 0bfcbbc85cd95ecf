"""The client's address: the connection's other end, or what proxies say that are trusted to say it.

X-Forwarded-For grows to the right, one entry a proxy, and so does Forwarded. They are read from there, as long as the
one who wrote an entry is trusted: what stands further left can have been made up by the client. Only one of the two is
read, the one that the trusted proxies write: the other would be the client's own.

The Forwarded field (RFC 7239): through whose hands a request came, each proxy telling of the one before it.
"""

import functools
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from gateway.core.http.messages import Fields, field_values

BY = "_gateway"
"""Our name in it, an obfuscated identifier (6.3): the backend need not know our address."""

# forwarded-pair = token "=" ( token / quoted-string ), 4
_PAIR = re.compile(
    r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z-]+))[ \t]*"""
)
# node = nodename [ ":" node-port ], 6; here with an address only
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?")


class Hop(msgspec.Struct, frozen=True):
    """What one proxy says of the request that it got: empty where it says nothing."""

    address: str = ""
    """Of the one that it got it from; empty too where that is hidden (`unknown`, `_secret`)."""
    scheme: str = ""


def parse_forwarded(values: Sequence[bytes]) -> list[Hop]:
    """The hops of all lines, the nearest last; none where the field is malformed."""
    text, hops, position = b",".join(values).decode("latin-1"), list[Hop](), 0
    said: dict[str, str] = {}
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None or match[1].lower() in said:
            return []
        said[match[1].lower()] = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        position = match.end()
        separator = text[position : position + 1]
        if separator in ("", ","):
            hops.append(Hop(_address(said.get("for", "")), said.get("proto", "").lower()))
            said = {}
        elif separator != ";":
            return []
        position += 1
    return [] if said else hops


def build_forwarded(addresses: Sequence[str], host: str, scheme: str) -> bytes:
    """The value of Forwarded for a backend; `addresses` are the client's and its trusted proxies', the nearest last.

    What is known of the request as the client made it stands with the client.
    """
    elements = [f"for={_node(address)}" for address in addresses]
    elements[0] += f";host={_quote(host)};proto={scheme}" if host else f";proto={scheme}"
    elements[-1] += f";by={BY}"
    return ", ".join(elements).encode("latin-1")


def _address(node: str) -> str:
    match = _NODE.fullmatch(node)
    return (match[1] or match[2]) if match else ""


def _node(address: str) -> str:
    """A node of 6: IPv6 addresses are quoted, and what is no address is not told."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return f'"[{parsed}]"' if parsed.version == 6 else str(parsed)


def _quote(host: str) -> str:
    """A Host, which may have a colon and what else no token has; it has no quotes (fields.parse_host)."""
    return f'"{host}"'


Networks: TypeAlias = frozenset[ipaddress.IPv4Network | ipaddress.IPv6Network | str]
"""Networks, and LOCAL if clients on a Unix socket are meant too.

A set that knows its hash: what is remembered by it is found at once."""

ForwardingField: TypeAlias = Literal["x-forwarded-for", "forwarded"]
"""Where trusted proxies tell whose request it is; with the first goes X-Forwarded-Proto."""
SCHEMES: Mapping[str, str] = {"http": "http", "https": "https"}

MAXIMUM_REMEMBERED = 128
"""Characters of what is remembered: what clients send must not fill the memory."""

LOCAL = "unix:"
"""In the place of an address, of a client on a Unix socket of this machine: as nginx writes it."""
LOCAL_NAME = "unix"
"""How LOCAL stands among trusted networks."""

CLIENT_PREFIX_LENGTHS = {4: 32, 6: 64}
"""Bits of an address that tell clients apart: whoever has one IPv6 address has the whole /64 around it."""


def parse_networks(text: str) -> Networks:
    """Return the networks of "10.0.0.0/8 fd00::/8 unix", separated by spaces or commas.

    ValueError names the one that is none.
    """
    items = text.replace(",", " ").split()
    return frozenset(LOCAL if item == LOCAL_NAME else ipaddress.ip_network(item) for item in items)


def is_trusted(address: str, trusted: Networks) -> bool:
    """Whether the address lies in one of the networks."""
    return bool(trusted) and len(address) <= MAXIMUM_REMEMBERED and _lies_in(address, trusted)


def plain_address(address: str) -> str:
    """Return an address as its family writes it: a socket for both maps IPv4 into IPv6 (RFC 4291 2.5.5.2)."""
    parsed = _parse(address) if address.startswith("::") else None
    return address if parsed is None else str(parsed)


class TrustedProxies(msgspec.Struct, frozen=True):
    """Whose word is taken for where a request comes from, and where they say it."""

    networks: Networks = frozenset()
    field: ForwardingField = "x-forwarded-for"


class Origin(msgspec.Struct, frozen=True):
    """Where a request comes from, as far as it is known."""

    client: str
    scheme: str
    forwarded_for: str
    """The addresses it came through, separated by commas; the connection's other end is the last."""


def find_origin(fields: Fields, peer: str, scheme: str, trusted: TrustedProxies) -> Origin:
    """Where a request comes from that reached us from `peer` by `scheme`."""
    if not trusted.networks or not is_trusted(peer, trusted.networks):
        return Origin(peer, scheme, peer)
    if trusted.field == "x-forwarded-for":
        entries = field_values(fields, b"x-forwarded-for")
        told = field_values(fields, b"x-forwarded-proto")
        forwarded_for = b", ".join([*entries, peer.encode()]).decode("latin-1")
        client = client_address(peer, entries, trusted.networks)
        return Origin(client, SCHEMES.get(told[0].decode("latin-1") if len(told) == 1 else "", scheme), forwarded_for)
    hops = parse_forwarded(field_values(fields, b"forwarded"))
    forwarded_for, client = ", ".join([*(hop.address or "unknown" for hop in hops), peer]), peer
    while hops and hops[-1].address and is_trusted(client, trusted.networks):
        hop = hops.pop()
        client, scheme = hop.address, SCHEMES.get(hop.scheme, scheme)
    return Origin(client, scheme, forwarded_for)


def names_client(fields: Fields, field: ForwardingField) -> bool:
    """Whether the proxy nearest to us says whose request it is: the last entry is its own, and must be an address."""
    values = field_values(fields, field.encode())
    if field == "x-forwarded-for":
        return _parse(b",".join(values).rpartition(b",")[2].decode("latin-1").strip()) is not None
    hops = parse_forwarded(values)
    return bool(hops) and bool(hops[-1].address)


def believed_addresses(forwarded_for: str, client: str) -> list[str]:
    """The end of X-Forwarded-For that begins with the client: what stands before it, the client can have made up."""
    addresses = [entry.strip() for entry in forwarded_for.split(",")]
    first = max((index for index, address in enumerate(addresses) if _is(address, client)), default=len(addresses) - 1)
    return addresses[first:]


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
    if parsed is None:
        return address == LOCAL and LOCAL in networks
    return any(parsed in network for network in networks if not isinstance(network, str))


def _is(text: str, address: str) -> bool:
    return text == address or str(_parse(text)) == address


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
