"""One fetch of an answer for all that wait for it: the role of each, and how the fetch ended."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from gateway.core.admission.decision import Authorized
from gateway.core.cache import reuse
from gateway.core.cache.model import Export
from gateway.core.errors import UpstreamError
from gateway.core.http.messages import RequestHead, Response
from gateway.core.policies.model import CacheRule


class Leader(msgspec.Struct, frozen=True):
    """The caller fetches: others wait until it reports the result."""

    lease: str
    holder: str
    """The holder of the lease in Redis; empty if Redis could not be asked, so that others cannot know."""
    began_at: int | None
    """Unix milliseconds by Redis' clock; None if it could not be asked."""


class Shared(msgspec.Struct, frozen=True):
    """The answer was fetched meanwhile: the heads stored now, and the content if it is at hand.

    No heads means that a purge came first: waiting requests must not take what was requested before it.
    """

    heads: Sequence[bytes]
    now: int
    content: bytes | None = None


class Bypass(msgspec.Struct, frozen=True):
    """The request does not wait: the answer cannot be shared, or the backend has just failed."""

    has_failed: bool = False


class Failed(msgspec.Struct, frozen=True):
    """The backend gave no answer; waiting requests get the same error."""

    error: UpstreamError


Stored: TypeAlias = Literal["stored", "outdated", "full", "large", "refused"]
"""The outcome of storing an answer.

It was stored; a purge came since the fetch began (outdated); exports have used up their share of the store (full); it
exceeds the limit of one entitlement (large); or the store refused it.
"""
DETAILS: Mapping[Stored, str] = {"full": "store-full", "large": "store-large", "refused": "store-refused"}
"""What Cache-Status says if an answer was not stored though it might have been (RFC 9211 2.8)."""
FetchRole: TypeAlias = Leader | Shared | Bypass
FetchResult: TypeAlias = Shared | Bypass | Failed


class Shaped(msgspec.Struct, frozen=True):
    """An answer that is made from a document, as a backend would give it."""

    answer: Response
    began_at: int | None
    """When the document was requested, if it was stored: the answer is as old, and a later purge applies to it."""
    cache_status: bytes
    """The Cache-Status of the document, if it was stored; empty if the backend was asked."""
    name: str = ""
    """The name of the document's export; empty if it has none."""


class Storing(msgspec.Struct, frozen=True):
    """An answer to store, and the conditions for it."""

    policy: str
    name: str
    """The name of the export."""
    variant: str
    raw_head: bytes
    digest: bytes
    content: bytes
    is_content_new: bool
    """Whether the content is stored too; otherwise it must be stored already, as after a 304."""
    groups: tuple[str, ...]
    began_at: int
    """When the fetch began: a purge since then prevents storing."""
    keep_milliseconds: int
    leader: Leader | None
    """Its lease ends when the answer is stored."""
    document: str = ""
    """The export of the document that it was made from, which ends together with it; empty if there is none."""


class Fetch(msgspec.Struct, frozen=True):
    """A request to the backend under a rule with a cache."""

    request: RequestHead
    admission: Authorized
    cache: CacheRule
    name: str | None
    """The name of the export; None for a token without an entitlement: its answers are not stored."""
    why: str
    stored: Export | None
    """The stored response that may still be good."""
    leader: Leader | None
    """The lead whose end others wait for."""
    shaped: Shaped | None = None
    """The variant that replaces the backend's answer."""

    @property
    def began_at(self) -> int:
        """Unix milliseconds by Redis' clock, before the backend was asked."""
        if self.shaped is not None and self.shaped.began_at is not None:
            return self.shaped.began_at
        if self.leader is None or self.leader.began_at is None:
            return self.admission.facts.stored_now
        return self.leader.began_at

    def cache_status(self, stored: Stored | None, status: int | None = None, objection: str = "") -> bytes:
        """Return Cache-Status (RFC 9211) for the result; `status` is the backend's if it is not passed on.

        `stored` is None if there was nothing to store; `objection` is what prevented it.
        """
        if self.shaped is not None and self.shaped.cache_status:
            return self.shaped.cache_status
        detail = DETAILS.get(stored, "") if stored else objection
        is_stored = stored == "stored"
        return reuse.build_cache_status_forwarded(self.why, is_stored=is_stored, status=status, detail=detail)
