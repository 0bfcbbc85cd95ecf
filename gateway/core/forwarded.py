"""The Forwarded field (RFC 7239): through whose hands a request came, each proxy telling of the one before it."""

import ipaddress
import re
from collections.abc import Sequence

import msgspec

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
