"""The coding br (RFC 7932)."""

import brotli

QUALITY = 5
"""Of 11. Above 5, each per cent of size costs a multiple of the time; 11 takes 160 times as long for an eighth less."""


def compress(content: bytes) -> bytes:
    """Return the content as one brotli stream."""
    compressed: bytes = brotli.compress(content, quality=QUALITY)
    return compressed


def decompress(encoded: bytes, limit: int) -> bytes | None:
    """Return the content of one brotli stream, or None if it is malformed or longer than `limit`."""
    stream = brotli.Decompressor()
    try:
        pieces = [stream.process(encoded, output_buffer_limit=limit + 1)]
        while not stream.is_finished() and pieces[-1] and sum(map(len, pieces)) <= limit:
            pieces.append(stream.process(b"", output_buffer_limit=limit + 1))
    except brotli.error:
        return None
    content = b"".join(pieces)
    return content if stream.is_finished() and len(content) <= limit else None
