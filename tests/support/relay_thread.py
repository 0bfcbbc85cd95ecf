"""The relay of relay.py for tests that have no event loop of their own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.relay import Relay


@contextmanager
def relay_to(port: int) -> Iterator[Relay]:
    """A running relay to a port, in a thread of its own."""
    relay, is_up = Relay(port), threading.Event()
    loop = asyncio.new_event_loop()
    is_over = asyncio.Event()

    async def run() -> None:
        async with relay:
            is_up.set()
            await is_over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert is_up.wait(10)
    try:
        yield relay
    finally:
        loop.call_soon_threadsafe(is_over.set)
        thread.join(10)
        loop.close()
