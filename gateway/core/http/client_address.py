"""Find the client's address: the connection's other end, or what trusted proxies say.

X-Forwarded-For grows to the right by one entry for each proxy, and so does Forwarded. Both are read from the right, as
long as the writer of an entry is trusted: the client may have made up what is further left. Only the field that the
trusted proxies write is read, because the other one would be the client's own.

In the Forwarded field (RFC 7239), each proxy describes the sender from which it got the request.
"""

import functools
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from gateway.core.http.messages import Fields, field_values

BY = "_gateway"
"""The gateway's name in Forwarded, an obfuscated identifier (6.3): the backend need not know its address."""

# forwarded-pair = token "=" ( token / quoted-string ), 4
_PAIR = re.compile(
    r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z-]+))[ \t]*"""
)
# node = nodename [ ":" node-port ], 6; here with an address only
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?")


class Hop(msgspec.Struct, frozen=True):
    """One proxy's report about the sender of its request; a field is empty if the proxy does not report it."""

    address: str = ""
    """The sender's address; empty also if it is hidden (`unknown`, `_secret`)."""
    scheme: str = ""


def parse_forwarded(values: Sequence[bytes]) -> list[Hop]:
    """Return the hops of all lines, the nearest last; empty if the field is malformed."""
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
    """Build the Forwarded field for a backend. `addresses` are the client's and its trusted proxies', the nearest last.

    The host and the scheme of the client's own request stand with the client.
    """
    elements = [f"for={_node(address)}" for address in addresses]
    elements[0] += f";host={_quote(host)};proto={scheme}" if host else f";proto={scheme}"
    elements[-1] += f";by={BY}"
    return ", ".join(elements).encode("latin-1")


def _address(node: str) -> str:
    match = _NODE.fullmatch(node)
    return (match[1] or match[2]) if match else ""


def _node(address: str) -> str:
    """Return a node (RFC 7239 6): IPv6 addresses are quoted, and what is no address becomes `unknown`."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return f'"[{parsed}]"' if parsed.version == 6 else str(parsed)


def _quote(host: str) -> str:
    """Quote a host, which may have a colon or others that no token has, but no quotes (fields.parse_host)."""
    return f'"{host}"'


Networks: TypeAlias = frozenset[ipaddress.IPv4Network | ipaddress.IPv6Network | str]
"""Networks, and LOCAL if clients on a Unix socket are included.

A frozenset keeps its hash, so results cached by it are found at once.
"""

ForwardingField: TypeAlias = Literal["x-forwarded-for", "forwarded"]
"""The field in which trusted proxies report the client; X-Forwarded-Proto belongs to the first."""
SCHEMES: Mapping[str, str] = {"http": "http", "https": "https"}

MAXIMUM_REMEMBERED = 128
"""The longest input, in characters, whose result is cached: clients must not fill the memory."""

LOCAL = "unix:"
"""Stands for the address of a client on a Unix socket of this machine, as nginx writes it."""
LOCAL_NAME = "unix"
"""The name of LOCAL in the setting of trusted networks."""

CLIENT_PREFIX_LENGTHS = {4: 32, 6: 64}
"""Bits of an address that identify a client: whoever has one IPv6 address has the whole /64 around it."""


def parse_networks(text: str) -> Networks:
    """Return the networks of "10.0.0.0/8 fd00::/8 unix", separated by spaces or commas.

    Raise ValueError that names the item which is no network.
    """
    items = text.replace(",", " ").split()
    return frozenset(LOCAL if item == LOCAL_NAME else ipaddress.ip_network(item) for item in items)


def is_trusted(address: str, trusted: Networks) -> bool:
    """Return whether the address lies in one of the networks."""
    return bool(trusted) and len(address) <= MAXIMUM_REMEMBERED and _lies_in(address, trusted)


def plain_address(address: str) -> str:
    """Return an address as its family writes it: a socket for both maps IPv4 into IPv6 (RFC 4291 2.5.5.2)."""
    parsed = _parse(address) if address.startswith("::") else None
    return address if parsed is None else str(parsed)


class TrustedProxies(msgspec.Struct, frozen=True):
    """The proxies that are trusted to report the client, and the field in which they do."""

    networks: Networks = frozenset()
    field: ForwardingField = "x-forwarded-for"


class Origin(msgspec.Struct, frozen=True):
    """The origin of a request, as far as it is known."""

    client: str
    scheme: str
    forwarded_for: str
    """The addresses that it came through, separated by commas; the connection's other end is the last."""


@functools.lru_cache(maxsize=4096)
def direct_origin(peer: str, scheme: str) -> Origin:
    """Return the origin of a request that no trusted proxy has passed on."""
    return Origin(peer, scheme, peer)


def find_origin(fields: Fields, peer: str, scheme: str, trusted: TrustedProxies) -> Origin:
    """Return the origin of a request that arrived from `peer` by `scheme`."""
    if not is_trusted(peer, trusted.networks):
        return direct_origin(peer, scheme)
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
    """Return whether the nearest proxy reports the client: its own entry is the last, and must be an address."""
    values = field_values(fields, field.encode())
    if field == "x-forwarded-for":
        return _parse(b",".join(values).rpartition(b",")[2].decode("latin-1").strip()) is not None
    hops = parse_forwarded(values)
    return bool(hops) and bool(hops[-1].address)


def believed_addresses(forwarded_for: str, client: str) -> list[str]:
    """Return the end of X-Forwarded-For from the client on: the client may have made up what stands before."""
    addresses = [entry.strip() for entry in forwarded_for.split(",")]
    first = max((index for index, address in enumerate(addresses) if _is(address, client)), default=len(addresses) - 1)
    return addresses[first:]


def client_address(peer: str, forwarded_for: Sequence[bytes], trusted: Networks) -> str:
    """Return the first address from the right that is no trusted proxy's; the last readable one if all are."""
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
"""_read_client with a cache: the same clients come again and again."""


@functools.lru_cache(maxsize=4096)
def client_network(address: str) -> str:
    """Return what failures are counted by: the address, or the /64 of an IPv6 address."""
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
