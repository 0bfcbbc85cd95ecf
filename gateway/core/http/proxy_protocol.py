"""The PROXY protocol, version 2: a load balancer says before the first byte of a client from where that client came.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2. The header is the balancer's own word, so it
counts only if the balancer is trusted. Version 1, which is text, is not read.
"""

import ipaddress

import msgspec

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
START_BYTES = 16
"""Bytes of a header before its addresses: the signature, version and command, family and transport, a length."""
_VERSION_2 = 0x20
_LOCAL, _PROXY = 0, 1
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}
"""Family and transport (TCP over IPv4, TCP over IPv6) to the bytes of each of the two addresses."""
_UNIX_STREAM, _UNIX_BYTES = 0x31, 216
_UNSPECIFIED = 0x00
_PORTS_BYTES = 4


class ProxyStart(msgspec.Struct, frozen=True):
    """The start of a header: what the rest of it means, and how long that is."""

    is_local: bool
    """Whether the balancer speaks for itself, as in a health check: the rest has no meaning."""
    family: int
    """Family and transport, as the header has them in one byte."""
    length: int
    """Bytes of the rest: addresses, then TLVs."""


def parse_proxy_start(start: bytes) -> ProxyStart:
    """Return the start of a header, which is START_BYTES long. Raise ValueError if it is malformed."""
    if len(start) != START_BYTES or start[:12] != SIGNATURE:
        raise ValueError("no header of the PROXY protocol, version 2")
    version, command = start[12] & 0xF0, start[12] & 0x0F
    if version != _VERSION_2 or command not in (_LOCAL, _PROXY):
        raise ValueError(f"PROXY protocol: version and command are {start[12]:#04x}")
    return ProxyStart(command == _LOCAL, start[13], int.from_bytes(start[14:16], "big"))


def parse_proxy_source(start: ProxyStart, rest: bytes) -> str | None:
    """Return the client's address; None if the header names none, so that the connection's own counts (LOCAL, UNSPEC).

    TLVs behind the addresses are ignored. Raise ValueError if the addresses are malformed, or not of a TCP connection.
    """
    if start.is_local or start.family == _UNSPECIFIED:
        return None
    if start.family == _UNIX_STREAM and len(rest) >= _UNIX_BYTES:
        return None
    size = _ADDRESS_BYTES.get(start.family)
    if size is None:
        raise ValueError(f"PROXY protocol: address family and transport are {start.family:#04x}")
    if len(rest) < 2 * size + _PORTS_BYTES:
        raise ValueError(f"PROXY protocol: {len(rest)} bytes are too few for two addresses")
    address = ipaddress.ip_address(rest[:size])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
