"""The PROXY protocol, version 2: what a header says of the client, and what is malformed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.proxy_protocol import SIGNATURE, START_BYTES, parse_proxy_source, parse_proxy_start

INET = bytes([192, 0, 2, 9, 10, 0, 0, 1]) + b"\xd4\x31\x01\xbb"
INET6 = bytes.fromhex("20010db8" + "00" * 11 + "09") + bytes(16) + b"\xd4\x31\x01\xbb"
MAPPED = bytes.fromhex("00" * 10 + "ffff" + "c0000209") + bytes(16) + b"\xd4\x31\x01\xbb"
TLVS = b"\x04\x00\x03abc\x20\x00\x01x"


def build(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


def read(header: bytes) -> str | None:
    start = parse_proxy_start(header[:START_BYTES])
    assert start.length == len(header) - START_BYTES
    return parse_proxy_source(start, header[START_BYTES:])


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (build(0x21, 0x11, INET), "192.0.2.9"),
        (build(0x21, 0x11, INET + TLVS), "192.0.2.9"),
        (build(0x21, 0x21, INET6), "2001:db8::9"),
        (build(0x21, 0x21, MAPPED + TLVS), "192.0.2.9"),
        (build(0x20, 0x00, b""), None),
        (build(0x20, 0x11, INET), None),
        (build(0x20, 0xFF, b"?"), None),
        (build(0x21, 0x00, TLVS), None),
        (build(0x21, 0x31, bytes(216)), None),
    ],
)
def test_who_the_client_is(header: bytes, client: str | None) -> None:
    """TLVs mean nothing here; LOCAL, UNSPEC and a Unix socket leave the connection's own address."""
    assert client == read(header)


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0",
        build(0x11, 0x11, INET),
        build(0x31, 0x11, INET),
        build(0x22, 0x11, INET),
        build(0x21, 0x12, INET),
        build(0x21, 0x41, INET),
        build(0x21, 0x11, INET[:-1]),
        build(0x21, 0x21, INET),
        build(0x21, 0x31, bytes(215)),
    ],
)
def test_what_is_malformed(header: bytes) -> None:
    """Other versions and commands, no TCP, and addresses that are cut short."""
    with pytest.raises(ValueError, match="PROXY protocol"):
        read(header)


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=400))
def test_any_bytes_are_read_or_malformed(start: bytes, rest: bytes) -> None:
    """Nothing else happens to any header."""
    try:
        found = parse_proxy_source(parse_proxy_start(SIGNATURE + start), rest)
    except ValueError:
        return
    assert found is None or found.count(".") == 3 or ":" in found
