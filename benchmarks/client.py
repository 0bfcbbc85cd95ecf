"""A load generator for machines without wrk: `python -m benchmarks.client ORDER`, ORDER being JSON.

It keeps each connection busy with one request after the other for the given time, and prints a `Load` as JSON.
"""

import asyncio
import sys
import time
from collections import Counter
from typing import cast

import httptools
import msgspec
import uvloop

from benchmarks.load import Load, Order


class Tally:
    """What all connections have seen so far."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.errors = 0
        self.is_over = False

    def percentile(self, percent: int) -> float:
        """Return the latency in microseconds that so many percent of the requests do not exceed."""
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)] * 1e6 if ranked else 0.0


class Connection(asyncio.Protocol):
    """One keep-alive connection: asks again as soon as it is answered."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self._request = request
        self._tally = tally
        self._sent_at = 0.0
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._tally.is_over:
            self._tally.errors += 1

    def on_message_complete(self) -> None:
        self._tally.latencies.append(time.perf_counter() - self._sent_at)
        self._tally.statuses[self._parser.get_status_code()] += 1
        if not self._tally.is_over:
            asyncio.get_running_loop().call_soon(self._ask)  # the parser is not done with this answer yet

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)


async def put_load(order: Order) -> Load:
    """Put the ordered load on the port; return what came back."""
    tally = Tally()
    lines = [f"GET {order.target} HTTP/1.1", f"Host: 127.0.0.1:{order.port}"]
    lines += [f"{name}: {value}" for name, value in order.fields]
    request = "\r\n".join([*lines, "", ""]).encode()
    loop = asyncio.get_running_loop()
    began_at = time.perf_counter()
    opened = [
        loop.create_connection(lambda: Connection(request, tally), "127.0.0.1", order.port)
        for _ in range(order.connections)
    ]
    transports = [transport for transport, _ in await asyncio.gather(*opened)]
    await asyncio.sleep(order.seconds)
    tally.is_over = True
    seconds = time.perf_counter() - began_at
    for transport in transports:
        transport.abort()
    return Load(dict(tally.statuses), tally.errors, seconds, tally.percentile(50), tally.percentile(99))


if __name__ == "__main__":
    load = uvloop.run(put_load(msgspec.json.decode(sys.argv[1], type=Order)))
    sys.stdout.write(msgspec.json.encode(load).decode())
