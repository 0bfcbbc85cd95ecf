"""The coding gzip (RFC 1952) by zlib. docs/decisions/0026 has measurements."""

import zlib

LEVEL = 6
_GZIP = 16 + zlib.MAX_WBITS
"""zlib's own gzip header, without file name and time, so that the same content gives the same bytes."""


def compress(content: bytes) -> bytes:
    """Return the content in one gzip member."""
    return zlib.compress(content, LEVEL, _GZIP)


def decompress(encoded: bytes, limit: int) -> bytes | None:
    """Return the content of all members (RFC 1952 2.2), or None if they are malformed or longer than `limit`."""
    pieces: list[bytes] = []
    size = 0
    try:
        while encoded or not pieces:
            member = zlib.decompressobj(_GZIP)
            pieces.append(member.decompress(encoded, limit + 1 - size))
            size += len(pieces[-1])
            if size > limit or not member.eof:
                return None
            encoded = member.unused_data
    except zlib.error:
        return None
    return b"".join(pieces)
