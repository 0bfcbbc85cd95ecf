"""The coding br (RFC 7932)."""

import brotli

QUALITY = 5
"""Of 11. Above 5 each per cent of size costs a multiple of the time; 11 takes 160 times as long for an eighth less."""


def compress(content: bytes) -> bytes:
    """The content as one brotli stream."""
    compressed: bytes = brotli.compress(content, quality=QUALITY)
    return compressed
