"""The coding zstd (RFC 8878, with the window limit of RFC 9659), from the standard library since Python 3.14."""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 6
"""Its window is 2 MiB for content of any size; RFC 9659 lets clients refuse more than 8 MiB."""


def compress(content: bytes) -> bytes:
    """Return the content in one frame, which has its length."""
    return zstd.compress(content, LEVEL)


def decompress(encoded: bytes, limit: int) -> bytes | None:
    """Return the content of all frames (RFC 8878 3), or None if they are malformed or longer than `limit`."""
    pieces: list[bytes] = []
    size = 0
    try:
        while encoded or not pieces:
            frame = zstd.ZstdDecompressor()
            pieces.append(frame.decompress(encoded, limit + 1 - size))
            size += len(pieces[-1])
            if size > limit or not frame.eof:
                return None
            encoded = frame.unused_data
    except zstd.ZstdError:
        return None
    return b"".join(pieces)
