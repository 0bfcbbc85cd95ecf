"""What a policy file says of its backend; part of document.py."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.core.policies.grammar import (
    BackendHost,
    Duration,
    FieldName,
    FieldValue,
    FilePath,
    Host,
    PathPrefix,
    Url,
)
from gateway.core.tracing import NewTrace


class HealthTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks each target again and again, and sends no requests to one that does not answer below 400."""

    path: PathPrefix
    """Asked for with GET, as it stands here: behind no prefix, and not rewritten."""
    interval: Duration = "5s"
    timeout: Duration = "2s"


class TlsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How backends of scheme https are known; their certificates are always verified. Files are PEM."""

    ca: FilePath | None = None
    """The authorities that are trusted; absent: those of the system."""
    certificate: FilePath | None = None
    """What the gateway shows of itself."""
    key: FilePath | None = None
    """Its key; absent: it is in the file of the certificate."""
    server_name: Host | None = None
    """The name that certificates must be for; absent: the target's host."""


class RewriteTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replaces the beginning of a path: whole segments of it. What begins in another way is left as it is."""

    prefix: PathPrefix
    """Written decoded, as in a rule's match."""
    replacement: PathPrefix = "/"
    """Absent: the prefix is stripped."""


class FieldsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes field lines. What the gateway itself says cannot be set, nor what is about one connection be changed."""

    set: dict[FieldName, FieldValue] = {}
    remove: list[FieldName] = []


class AssertionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said in assertions."""

    audience: Annotated[str, Meta(min_length=1, max_length=255)]
    """Whom they are for (`aud`): a backend refuses those for another."""


class UpstreamTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend that a policy's requests are passed on to."""

    url: Url | None = None
    targets: Annotated[list[Url], Meta(min_length=1)] | None = None
    """In the place of `url`: several that answer alike. The one with the fewest requests under way gets the next."""
    connect_timeout: Duration = "2s"
    response_timeout: Duration = "60s"
    """How long the backend may take from the request's end to the end of its response's head. A rule may say more."""
    idle_timeout: Duration = "5m"
    """How long it may be silent between two pieces of content. A rule may say more."""
    total_timeout: Duration | None = None
    """How long request and response may take in all; absent: any time."""
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    """To each target, of each worker."""
    max_waiting: Annotated[int, Meta(ge=0, le=100_000)] = 1000
    """Requests that wait for one of these connections, no longer than connect_timeout; more are answered 503."""
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """How many other targets are tried for a request that no backend can have acted upon."""
    host: BackendHost = "client"
    """The Host field that backends get: `client` for the one that the client sent, `target` for that of the target's
    URL, or a name, with or without a port. Backends build links and redirects from it."""
    pass_fields: list[FieldName] = []
    """Fields of clients that pass although backends may take them for another request than the one that was decided on,
    such as X-Real-IP: by default they are removed. Whoever asks can set them."""
    health: HealthTable | None = None
    tls: TlsTable | None = None
    rewrite: RewriteTable | None = None
    forwarded: bool = False
    """Whether backends get Forwarded (RFC 7239) beside X-Forwarded-For, -Host and -Proto."""
    new_trace: NewTrace = "sampled"
    """What backends are told of a request that is part of no trace: a new one, sampled or not; `none`: nothing."""
    assertion: bool | AssertionTable = False
    """Whether backends get X-Gateway-Assertion: signed, who asks and for what."""
    request_headers: FieldsTable | None = None
    response_headers: FieldsTable | None = None
