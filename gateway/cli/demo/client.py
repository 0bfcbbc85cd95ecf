"""The demo's client: one request over a connection of its own, as a curl line makes it."""

import http.client
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec

TIMEOUT_SECONDS = 30.0


class Reply(msgspec.Struct, frozen=True):
    """A response; names of fields in lower case."""

    status: int
    fields: dict[str, str]
    content: bytes

    @property
    def status_line(self) -> str:
        """The status as people say it: 304 Not Modified."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    def field(self, name: str) -> str:
        """The field's value, empty where it is absent."""
        return self.fields.get(name.lower(), "")


def ask(method: str, url: str, fields: Mapping[str, str], content: bytes | None = None) -> Reply:
    """The response to a request; OSError or http.client.HTTPException where there is none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, parts.path, content, dict(fields))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read())
    finally:
        connection.close()
