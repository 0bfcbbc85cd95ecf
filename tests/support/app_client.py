"""Clients of an application that runs in this process: they share its start, and nothing else."""

from ipaddress import IPv4Address
from itertools import count
from typing import Any

import httpx
from litestar import Litestar
from litestar.testing import TestClient
from litestar.testing.transport import TestClientTransport

_NUMBERS = count(1)


def client_of(running: TestClient[Litestar], base_url: str = "http://testserver.local") -> httpx.Client:
    """A client with cookies and an address of its own: its failures count for no other."""
    address = str(IPv4Address("10.0.0.0") + next(_NUMBERS))
    return httpx.Client(base_url=base_url, follow_redirects=True, transport=_Transport(running, address))


class _Transport(TestClientTransport["TestClient[Litestar]"], httpx.BaseTransport):
    def __init__(self, running: TestClient[Litestar], address: str) -> None:
        super().__init__(running)
        self._address = address

    def parse_request(self, request: httpx.Request) -> dict[str, Any]:
        return super().parse_request(request) | {"client": (self._address, 50_000)}
