"""What is kept: of a token, and of each request.

The admission script reads `TokenRecord` by position, so fields are only ever appended, with a default.
"""

import functools

import msgspec

from gateway.core.quotas import Override


class TokenRecord(msgspec.Struct, frozen=True, array_like=True):
    """What Redis knows of a token; nothing in it is secret. Times are Unix seconds by Redis' clock."""

    digest: str
    policy: str
    is_active: bool
    not_before: int | None
    expires_at: int | None
    """The first second in which the token no longer works."""
    scopes: str
    """Scope tokens separated by one space (RFC 6749 3.3), sorted."""
    plan: str
    """Empty where the policy has no plans."""
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
    overrides: tuple[Override, ...] = ()
    """Limits of its own in the place of its plan's; those that have ended hold no longer."""


class AccessRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the access log: what was decided, from which inputs. No field can hold a credential."""

    time: float
    request_id: str
    client: str
    method: str
    host: str
    path: str
    status: int
    policy: str = ""
    rule: str = ""
    token: str = ""
    token_name: str = ""
    reason: str = ""
    cache: str = ""
    plan: str = ""
    lineage: str = ""
    """Where it is not the token's own id."""
    project: str = ""
    owner: str = ""
    cost: int = 0
    """Units that its quotas were charged in the end."""
    near: tuple[str, ...] = ()
    """Quotas that are used to quotas.NEAR_SHARE or more after this request."""
    shadow_exceeded: tuple[str, ...] = ()
    """Quotas that had no room and would have refused the request were they not in shadow."""


_DEFAULTS = TokenRecord.__struct_defaults__
_REQUIRED = len(TokenRecord.__struct_fields__) - len(_DEFAULTS)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TokenRecord)


def encode_record(record: TokenRecord) -> bytes:
    """A JSON array: readable in redis-cli, decoded by cjson in the script and by msgspec here.

    Fields that were appended are left out from the end while they say nothing. So a record that was written before they
    were thought of is encoded as it was, byte for byte: that is how a change knows that no other one came first.
    """
    values = list(msgspec.structs.astuple(record))
    while len(values) > _REQUIRED and values[-1] == _DEFAULTS[len(values) - 1 - _REQUIRED]:
        values.pop()
    return _encoder.encode(values)


@functools.lru_cache(maxsize=4096)
def decode_record(raw: bytes) -> TokenRecord:
    """The record that `raw` holds; remembered by its bytes, so a changed record is decoded anew."""
    return _decoder.decode(raw)
