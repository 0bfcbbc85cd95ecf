"""The demo's client: one request over a connection of its own, as a curl command sends it."""

import http.client
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec

TIMEOUT_SECONDS = 15.0
"""For each connect, send and receive. An answer takes milliseconds; a busy machine needs more."""


class Reply(msgspec.Struct, frozen=True):
    """A response; field names in lower case."""

    status: int
    fields: dict[str, str]
    content: bytes

    @property
    def status_line(self) -> str:
        """Status code and phrase: 304 Not Modified."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    def field(self, name: str) -> str:
        """Return the field's value, or "" if the response does not have the field."""
        return self.fields.get(name.lower(), "")


def ask(method: str, url: str, fields: Mapping[str, str], content: bytes | None = None) -> Reply:
    """Send a request and return the response; raise OSError or http.client.HTTPException if there is none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, parts.path, content, dict(fields))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read())
    finally:
        connection.close()
