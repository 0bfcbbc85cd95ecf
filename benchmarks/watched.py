"""`python -m benchmarks.watched serve ...`: `gateway serve`, and how long its event loop is busy without a pause.

The loop is asked every millisecond. CPU time is what the process itself does: that other processes want the processor
too does not count. SIGUSR2 prints the most of each figure since the last time, as JSON after MARK, and begins again.
"""

import asyncio
import signal
import sys
import time

import msgspec

from gateway.cli.main import main
from gateway.cli.process import server

TICK_SECONDS = 0.001
MARK = "watched: "


class Busy(msgspec.Struct):
    """The most between two looks at the loop, in milliseconds; each has up to a tick of other work in it."""

    loop_ms: float = 0.0
    """CPU time of the thread with the event loop: what a request would wait for it on an idle machine."""
    process_ms: float = 0.0
    """CPU time of all threads: what a request would wait if each of them kept the interpreter to itself.

    If the loop is looked at late, threads that compress or hash have had that much longer for it.
    """
    late_ms: float = 0.0
    """By the clock on the wall, with what other processes take."""


class _Watch:
    def __init__(self) -> None:
        self._busy = Busy()

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, self._report)
        while True:
            thread, process, due = time.thread_time(), time.process_time(), time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            busy = self._busy
            busy.loop_ms = max(busy.loop_ms, (time.thread_time() - thread) * 1000)
            busy.process_ms = max(busy.process_ms, (time.process_time() - process) * 1000)
            busy.late_ms = max(busy.late_ms, (time.perf_counter() - due) * 1000)

    def _report(self) -> None:
        sys.stderr.write(f"{MARK}{msgspec.json.encode(self._busy).decode()}\n")
        sys.stderr.flush()
        self._busy = Busy()


class _WatchedServer(server.AnnouncedServer):
    async def _announce(self) -> None:
        watching = asyncio.create_task(_Watch().run())
        try:
            await super()._announce()
            await asyncio.Event().wait()
        finally:
            watching.cancel()


if __name__ == "__main__":
    server.AnnouncedServer = _WatchedServer  # type: ignore[misc]  # the command looks it up there
    main()
