"""Encode and decode content: small content at once, large content in a thread.

All three libraries release the interpreter while they work, so the event loop goes on.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gateway.adapters.encodings import brotli, gzip, zstd

CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"br": brotli.compress,
    b"zstd": zstd.compress,
    b"gzip": gzip.compress,
}
"""The codings in the order of preference: the smallest result first, as it is encoded once and sent many times."""
DECODINGS: dict[bytes, Callable[[bytes, int], bytes | None]] = {
    b"br": brotli.decompress,
    b"zstd": zstd.decompress,
    b"gzip": gzip.decompress,
}
INLINE_BYTES = 16 * 1024
"""Content up to this size is encoded at once: using a thread would cost as much, a tenth of a millisecond."""


class ContentEncoder:
    """The encoder of all codings. Concurrent requests for the same result share the work."""

    def __init__(self) -> None:
        # One thread: large content waits for its turn, and a core is left for the requests.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self._under_way: dict[tuple[bytes, int], tuple[bytes, asyncio.Future[bytes]]] = {}

    @property
    def offered(self) -> tuple[bytes, ...]:
        return OFFERED

    async def encode(self, coding: bytes, content: bytes) -> bytes:
        compress = CODINGS[coding]
        if len(content) <= INLINE_BYTES:
            return compress(content)
        key = (coding, id(content))  # a hash of it would read all of it, while others wait
        _, future = self._under_way.get(key, (content, None))
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(self._thread, compress, content)
            self._under_way[key] = content, future  # with the content, so that no other one gets its identity
            future.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(future)  # a client that leaves does not cancel it for others

    async def decode(self, coding: bytes, encoded: bytes, limit: int) -> bytes | None:
        # A few bytes can stand for megabytes: all but the smallest limit is for the thread.
        if limit <= INLINE_BYTES:
            return DECODINGS[coding](encoded, limit)
        return await asyncio.get_running_loop().run_in_executor(self._thread, DECODINGS[coding], encoded, limit)

    def close(self) -> None:
        """Stop the thread after its current work, and cancel what waits."""
        self._thread.shutdown(wait=False, cancel_futures=True)


OFFERED = tuple(CODINGS)
