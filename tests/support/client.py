"""An HTTP client that sends what it is told, repeats and odd bytes included, and shows all that comes back."""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 15


@dataclass(frozen=True)
class Answer:
    """A response as it came: field lines in order, names in lower case."""

    status: int
    fields: list[tuple[str, str]]
    content: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for field, value in self.fields if field == name]

    def field(self, name: str) -> str | None:
        """The one value of a field, None where it is absent; more than one is an error of the test."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        """The content, decoded."""
        return json.loads(self.content)


def ask(
    port: int,
    method: str,
    target: str,
    *,
    token: str | None = None,
    host: str = "app.tokencraft.dev",
    fields: Sequence[tuple[str, str | bytes]] = (),
    content: bytes | None = None,
) -> Answer:
    """One request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        if token is not None:
            connection.putheader("Authorization", f"Bearer {token}")
        for name, value in fields:
            connection.putheader(name, value)
        if content is not None:
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        response = connection.getresponse()
        answer_fields = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, answer_fields, response.read())
    finally:
        connection.close()
