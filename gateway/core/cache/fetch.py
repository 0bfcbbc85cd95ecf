"""One fetch of an answer for all who wait for it: the role of each, and what became of it."""

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
    """The caller fetches: others wait until it says what became of it."""

    lease: str
    holder: str
    """Who holds the lease in Redis; empty where Redis could not be asked, and others cannot know."""
    began_at: int | None
    """Unix milliseconds by Redis' clock; None where it could not be asked."""


class Shared(msgspec.Struct, frozen=True):
    """It was fetched meanwhile: the heads stored now, and the content where it is at hand.

    No heads: a purge came first, and who waited must not take what was asked for before it.
    """

    heads: Sequence[bytes]
    now: int
    content: bytes | None = None


class Bypass(msgspec.Struct, frozen=True):
    """Nobody need wait: the answer cannot be shared, or the backend has just failed."""

    has_failed: bool = False


class Failed(msgspec.Struct, frozen=True):
    """The backend gave no answer; who waited for it gets the same error."""

    error: UpstreamError


Stored: TypeAlias = Literal["stored", "outdated", "full", "large", "refused"]
"""What became of storing: done; a purge came since the fetch began; the store is as full as exports may make it; it is
more than one entitlement may have; or the store did not take it."""
DETAILS: Mapping[Stored, str] = {"full": "store-full", "large": "store-large", "refused": "store-refused"}
"""What Cache-Status says of what was not stored though it might have been (RFC 9211 2.8)."""
FetchRole: TypeAlias = Leader | Shared | Bypass
FetchResult: TypeAlias = Shared | Bypass | Failed


class Shaped(msgspec.Struct, frozen=True):
    """An answer that is made of another one: as a backend would give it."""

    answer: Response
    began_at: int | None
    """When the other one was asked for, where it was stored: it is as old as that, and a purge since is for it too."""
    cache_status: bytes
    """Of the other one, where that was stored; empty where the backend was asked."""
    name: str = ""
    """Of the other one's export; empty where it has none."""


class Storing(msgspec.Struct, frozen=True):
    """What is to be stored, and under which conditions."""

    policy: str
    name: str
    """Of the export."""
    variant: str
    raw_head: bytes
    digest: bytes
    content: bytes
    is_content_new: bool
    """Whether the content is stored too; else it must be there already, as after a 304."""
    groups: tuple[str, ...]
    began_at: int
    """When the fetch began: a purge since then keeps the answer out."""
    keep_milliseconds: int
    leader: Leader | None
    """Its lease ends with the storing."""
    document: str = ""
    """The export that it was made of: what ends this one ends that too. Empty where it was made of none."""


class Fetch(msgspec.Struct, frozen=True):
    """A request that the backend is asked for, under a rule with a cache."""

    request: RequestHead
    admission: Authorized
    cache: CacheRule
    name: str | None
    """Of the export; None for a token that shares with nobody: its answers are not stored."""
    why: str
    stored: Export | None
    """What is stored and may still be good."""
    leader: Leader | None
    """Whose end others wait for."""
    shaped: Shaped | None = None
    """What was made in the place of the backend's answer."""

    @property
    def began_at(self) -> int:
        """Unix milliseconds by Redis' clock, before the backend was asked."""
        if self.shaped is not None and self.shaped.began_at is not None:
            return self.shaped.began_at
        if self.leader is None or self.leader.began_at is None:
            return self.admission.facts.stored_now
        return self.leader.began_at

    def cache_status(self, stored: Stored | None, status: int | None = None, objection: str = "") -> bytes:
        """Cache-Status (RFC 9211) of what came of it; `status` is the backend's where that is not told.

        `stored` is None where there was nothing to store; `objection` is what spoke against it.
        """
        if self.shaped is not None and self.shaped.cache_status:
            return self.shaped.cache_status
        detail = DETAILS.get(stored, "") if stored else objection
        is_stored = stored == "stored"
        return reuse.build_cache_status_forwarded(self.why, is_stored=is_stored, status=status, detail=detail)
