"""The records of a token and of each request.

The scripts read `TokenRecord` by position, so fields are only ever appended, with a default. Its last use comes first
because admissions overwrite it in place: it has a fixed place and a fixed width, whatever follows. Everything else is
changed by people only, and comparisons of two records compare that (`without_use`).

A million tokens are a million records, so nothing is written twice: of the digest only what the token's id does not
have, in base64url, and no lineage if that is the token itself.
"""

import functools
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import attrgetter

import msgspec

from gateway.core.quotas.model import Override
from gateway.core.tokens.text import ID_LENGTH, token_id

LAST_USE_OFFSET = 1
"""The offset of the last use in an encoded record, in bytes: after the bracket of the array."""
LAST_USE_WIDTH = 10
"""The length of the last use, with blanks before the digits: it suffices until the year 2286."""


class TokenRecord(msgspec.Struct, frozen=True, array_like=True):
    """The record of a token in Redis; nothing in it is secret. Times are Unix seconds by Redis' clock."""

    last_use: int
    """Exact to the policy's resolution; 0 means never. Only admissions overwrite it: a change keeps what Redis has."""
    digest: str
    policy: str
    is_active: bool
    not_before: int | None
    expires_at: int | None
    """The first second in which the token no longer works."""
    scopes: str
    """Scope tokens separated by one space (RFC 6749 3.3), in the order in which they were given."""
    plan: str
    """Empty if the policy has no plans."""
    lineage: str
    """The id of the first token of a chain of rotations; its quotas are shared by the whole chain."""
    project: str
    owner: str
    name: str
    shown: str
    created_at: int
    predecessor: str = ""
    """The id of the token that this one was rotated from; empty for the first of a lineage."""
    successor: str = ""
    """The id of the token that this one was rotated to."""
    parent: str = ""
    """The id of the token that this one is a child of (core/tokens/lifecycle.py)."""
    overrides: tuple[Override, ...] = ()
    """Limits of its own, which replace its plan's; those that have ended no longer hold."""
    description: str = ""
    updated_at: int | None = None
    """When it was last changed; None means never. Its use is no change."""
    number: int = 0
    """An id for products that use integers, counted by policy; 0 if the policy has none."""
    made_by: str = ""
    """The id of the token that was presented to create this one; empty if none was, or if that is unknown."""
    disabled_by: str = ""
    """The id of the policy's own token that disabled it; empty if an operator did, or if it is not disabled."""

    @property
    def identity(self) -> str:
        """The token's id."""
        return token_id(self.digest)

    @property
    def is_exchanged(self) -> bool:
        """Whether it was given to a job for an ID token: it is of a lineage whose first token nobody has."""
        return self.lineage != self.identity and not self.predecessor and not self.parent

    @property
    def revoked_with(self) -> tuple[str, ...]:
        """The ids of the tokens whose revocation ends this one: itself, and its parent if it has one."""
        return (self.identity, self.parent) if self.parent else (self.identity,)


def newest_first(records: Iterable[TokenRecord]) -> list[TokenRecord]:
    """Sort by creation, newest first, then by name; equal ones keep their order."""
    by_name = sorted(records, key=attrgetter("name"))
    return sorted(by_name, key=attrgetter("created_at"), reverse=True)


class AccessRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the access log: what was decided, from which inputs, and how the answer ended.

    No field can hold a credential.
    """

    time: str
    """When the request came, RFC 3339 in UTC."""
    request_id: str
    client: str
    method: str
    host: str
    path: str
    status: int
    """It is 499 if the client had left before the answer."""
    ended: str
    """How the answer ended: core/http/messages.Ended."""
    sent_bytes: int
    """Bytes of content."""
    duration_seconds: float
    """From the end of the request's head to the end of the answer."""
    decided: int = 0
    """When it was decided and its quotas were charged, by Redis' clock in Unix milliseconds; 0 without Redis."""
    policy: str = ""
    rule: str = ""
    token: str = ""
    token_name: str = ""
    reason: str = ""
    upstream_error: str = ""
    """Why the backend failed, even if another answer could be given: core/upstream/causes.Cause."""
    cache: str = ""
    plan: str = ""
    lineage: str = ""
    """Empty if it is the token's own id."""
    project: str = ""
    owner: str = ""
    cost: int = 0
    """Units that its quotas were charged in the end."""
    near: tuple[str, ...] = ()
    """Quotas of which NEAR_SHARE or more is used after this request."""
    shadow_exceeded: tuple[str, ...] = ()
    """Quotas that had no room and would have refused the request were they not in shadow."""
    trace: str = ""
    """The trace id of the client's traceparent, or of the new one that the backend gets."""
    span: str = ""
    """The gateway's own span in the trace: the backend's is its child."""


_DEFAULTS = TokenRecord.__struct_defaults__
_REQUIRED = len(TokenRecord.__struct_fields__) - len(_DEFAULTS)
_DIGEST, _LINEAGE = (TokenRecord.__struct_fields__.index(name) for name in ("digest", "lineage"))
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TokenRecord)


@functools.lru_cache(maxsize=4096)
def digest_rest(token_digest: str) -> str:
    """Return what a record holds of its digest: all but the id, base64url without padding."""
    return urlsafe_b64encode(bytes.fromhex(token_digest[ID_LENGTH:])).rstrip(b"=").decode()


def encode_record(record: TokenRecord) -> bytes:
    """Encode a record as a JSON array: readable in redis-cli, decoded by cjson in the script and by msgspec here.

    Appended fields that have their default are left out from the end. So a record that was written before they existed
    is encoded as it was, byte for byte: that is how a change detects that no other one came first.
    """
    identity = token_id(record.digest)
    values = list(msgspec.structs.astuple(record))
    values[_DIGEST] = digest_rest(record.digest)
    if record.lineage == identity:
        values[_LINEAGE] = ""
    while len(values) > _REQUIRED and values[-1] == _DEFAULTS[len(values) - 1 - _REQUIRED]:
        values.pop()
    return f"[{record.last_use:{LAST_USE_WIDTH}},".encode() + _encoder.encode(values[1:])[1:]


def without_use(encoded: bytes) -> bytes:
    """Return the part of an encoded record that differs after every change of the token, but not after its use."""
    return encoded[LAST_USE_OFFSET + LAST_USE_WIDTH :]


@functools.lru_cache(maxsize=4096)
def decode_record(identity: str, raw: bytes) -> TokenRecord:
    """Decode the record of a token. The result is cached by its bytes, so a changed or used record is decoded again."""
    record = _decoder.decode(raw)
    whole = identity + urlsafe_b64decode(record.digest + "=" * (-len(record.digest) % 4)).hex()
    return msgspec.structs.replace(record, digest=whole, lineage=record.lineage or identity)


def build_time(seconds: float) -> str:
    """Format a Unix time as logs have it: RFC 3339 in UTC, to the millisecond."""
    return _build_millisecond(int(seconds * 1000))


@functools.lru_cache(maxsize=64)
def _build_millisecond(milliseconds: int) -> str:
    whole, thousandths = divmod(milliseconds, 1000)
    return f"{_build_second(whole)}.{thousandths:03}+00:00"


@functools.lru_cache(maxsize=8)
def _build_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
