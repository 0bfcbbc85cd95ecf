"""A load generator for machines without wrk: `python -m benchmarks.client ORDER TURN`, ORDER being JSON.

It keeps each connection busy with one request after the other for the given time, and prints a `Load` as JSON.
"""

import asyncio
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import cast

import httptools
import msgspec
import uvloop

from benchmarks.clients import TOKEN, TURN
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

    def __init__(self, requests: Iterator[bytes], tally: Tally) -> None:
        self._requests = requests
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
        self._transport.write(next(self._requests))


def make_requests(order: Order, start: str) -> Iterator[bytes]:
    """Yield the bytes of requests without end."""
    tokens = Path(order.tokens).read_text().split() if order.tokens else [""]
    heads = [order.head.replace(TOKEN, token).partition(TURN) for token in tokens]
    parts = [(before.encode(), after.encode()) for before, _, after in heads]
    for turn in count():
        word = f"{start}-{turn}".encode() if order.repeats else b""
        for _ in range(order.repeats or 1):
            for before, after in parts:
                yield before + word + after


async def put_load(order: Order, start: str) -> Load:
    """Put the ordered load on the port; return what came back."""
    tally, requests = Tally(), make_requests(order, start)
    context = None
    if order.is_tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as wrk does it
    loop = asyncio.get_running_loop()
    began_at = time.perf_counter()
    opened = [
        loop.create_connection(lambda: Connection(requests, tally), "127.0.0.1", order.port, ssl=context)
        for _ in range(order.connections)
    ]
    transports = [transport for transport, _ in await asyncio.gather(*opened)]
    await asyncio.sleep(order.seconds)
    tally.is_over = True
    seconds = time.perf_counter() - began_at
    for transport in transports:
        transport.abort()
    waited = [tally.percentile(percent) for percent in (50, 95, 99)]
    return Load(dict(tally.statuses), tally.errors, seconds, *waited)


if __name__ == "__main__":
    load = uvloop.run(put_load(msgspec.json.decode(sys.argv[1], type=Order), sys.argv[2]))
    sys.stdout.write(msgspec.json.encode(load).decode())
