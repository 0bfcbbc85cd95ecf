"""The backend of a policy: where it is, how long it may take, what is changed on the way to it."""

import msgspec

from gateway.core.messages import Field
from gateway.core.tracing import NewTrace

CLIENT_HOST = "client"
TARGET_HOST = "target"
"""In the place of a name: the Host that the client sent, or the one of the target's URL."""


UNIX = "unix:"
"""What the path of a socket stands behind, in the place of a URL."""


class Tls(msgspec.Struct, frozen=True):
    """Whom a backend's certificate has to convince, and what we show: files in PEM form, empty for none."""

    ca: str = ""
    """The authorities that are trusted in the place of the system's."""
    certificate: str = ""
    key: str = ""
    """Empty: it is in the file of the certificate."""
    server_name: str = ""
    """The name that the certificate must be for; empty: the target's host."""

    @property
    def files(self) -> list[str]:
        """The files that are named; none if the policy leaves all to the system."""
        return [file for file in (self.ca, self.certificate, self.key) if file]


class HealthCheck(msgspec.Struct, frozen=True):
    """What each target is asked again and again; it is well where it answers with a status below 400."""

    path: str
    interval_seconds: float
    timeout_seconds: float


class Rewrite(msgspec.Struct, frozen=True):
    """The beginning of a path, by its decoded segments, and what the backend gets in its place."""

    segments: tuple[str, ...]
    replacement: str
    """A path without a trailing slash; empty: nothing."""


class FieldEdits(msgspec.Struct, frozen=True):
    """Fields that are removed, by their folded names (core/client_fields.py), and then added."""

    removed: frozenset[bytes]
    added: tuple[Field, ...]

    def __repr__(self) -> str:
        return f"FieldEdits({sorted(self.removed)})"  # a value may be a secret between gateway and backend


class Upstream(msgspec.Struct, frozen=True, cache_hash=True):
    """Where a policy's requests go, and how."""

    targets: tuple[str, ...]
    """URLs without a trailing slash, or `unix:` and the path of a socket; all answer alike. Empty: there is none."""
    connect_timeout_seconds: float = 2.0
    """Until there is a connection, waiting for a free one included."""
    response_timeout_seconds: float = 60.0
    """From the request's end to the end of the response's head."""
    idle_timeout_seconds: float = 300.0
    """Between two pieces of the response's content."""
    total_timeout_seconds: float | None = None
    """From the request's beginning to the end of the response."""
    max_connections: int = 1000
    """To each target, of one worker."""
    max_waiting: int = 1000
    """Requests that wait for one of them."""
    retries: int = 2
    host: str = TARGET_HOST
    """The Host field: CLIENT_HOST, TARGET_HOST, or a name with or without a port."""
    pass_fields: frozenset[bytes] = frozenset()
    """Fields of clients that are removed by default and pass here, by their names in lower case."""
    health: HealthCheck | None = None
    tls: Tls = Tls()
    rewrite: Rewrite | None = None
    sends_forwarded: bool = False
    """Whether it gets Forwarded (RFC 7239)."""
    new_trace: NewTrace = "sampled"
    """What it is told of a request that is part of no trace."""
    audience: str | None = None
    """Whom assertions are for (core/assertions.py); empty: it is not said; None: it gets none."""
    request_edits: FieldEdits | None = None
    response_edits: FieldEdits | None = None
