"""What a policy file says of quotas and of what requests cost; part of document.py."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.core.policies.grammar import END, Units
from gateway.core.quotas import MAXIMUM_NUMBER, Algorithm, Partition

MAXIMUM_CONCURRENT = 10_000
"""Each request in flight is an entry in Redis, a tenth of a kilobyte."""


class QuotaTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A quota that is more than a limit of each token in fixed windows."""

    limit: str | None = None
    """In the grammar of the library limits, such as "100/minute"."""
    concurrent: Annotated[int, Meta(ge=1, le=MAXIMUM_CONCURRENT)] | None = None
    """In the place of a limit: how many requests may be in flight at once."""
    algorithm: Algorithm | None = None
    """How a limit is counted; absent: fixed-window. moving-window is exact and keeps every request."""
    burst: Annotated[int, Meta(ge=1, le=MAXIMUM_NUMBER)] | None = None
    """With token-bucket: the units that may be taken at once, the limit being the steady rate; absent: the limit."""
    per: Partition = "token"
    """Who shares it: a token with those it is rotated to, an owner, a project, a plan, a client's address."""
    shadow: bool = False
    """Whether it is decided and recorded in the access log only, and never enforced."""


class CostTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request costs by its outcome: the most of these is reserved, and the rest given back after."""

    miss: Units = 1
    """The backend was asked."""
    hit: Units | None = None
    """Answered from the cache; absent: as a miss, and so are the others."""
    not_modified: Units | None = None
    """304: the client has it already."""
    error: Units | None = None
    """The backend failed: no answer, or a status of 500 and more."""
    reported_by: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}" + END, description="A field name, such as X-Request-Cost")]
        | None
    ) = None
    """A field of the backend's answer that says what the request cost it; never more than what is reserved."""
