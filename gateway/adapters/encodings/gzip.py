"""The coding gzip (RFC 1952) by zlib. What is kept of it is measured in ARCHITECTURE.md, Decisions."""

import zlib

LEVEL = 6
_GZIP = 16 + zlib.MAX_WBITS
"""zlib's own gzip header: no file name, and no time, so that the same content gives the same bytes."""


def compress(content: bytes) -> bytes:
    """The content in one gzip member."""
    return zlib.compress(content, LEVEL, _GZIP)
