"""The tokens that a page shows: searched, sorted and paginated on the server, for ten thousand as for ten."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gateway.core.tokens.changes import TokenState
from gateway.core.tokens.records import TokenRecord

PAGE_SIZE = 25
"""Rows that fit on two screens; the search finds what is further down."""
MAXIMUM_SEARCH_LENGTH = 200
LATEST = 2**63
"""Later than any time: a token without an expiry sorts after all others."""


class Listed(Protocol):
    """The properties of each token that may be listed."""

    @property
    def record(self) -> TokenRecord: ...
    @property
    def state(self) -> TokenState: ...


Row = TypeVar("Row", bound=Listed)

SORTS: Mapping[str, Callable[[Any], Any]] = {
    "name": lambda row: row.record.name.casefold(),
    "created": lambda row: row.record.created_at,
    "used": lambda row: row.record.last_use,
    "expires": lambda row: LATEST if row.record.expires_at is None else row.record.expires_at,
}
"""The keys by which a list can be sorted."""
DESCENDING = "-"
DEFAULT_SORT = "-created"
STATES: Mapping[str, tuple[TokenState, ...]] = {
    "live": (TokenState.ACTIVE, TokenState.NOT_YET_VALID, TokenState.DISABLED),
    "active": (TokenState.ACTIVE,),
    "disabled": (TokenState.DISABLED,),
    "expired": (TokenState.EXPIRED,),
    "revoked": (TokenState.REVOKED,),
    "all": tuple(TokenState),
}
"""The states by which a list can be filtered; the first is the default."""
DEFAULT_STATE = next(iter(STATES))


class Listing(msgspec.Struct, frozen=True):
    """The query of a list. Unknown sorts and states become the defaults, because they come from an address."""

    text: str = ""
    state: str = DEFAULT_STATE
    sort: str = DEFAULT_SORT
    page: int = 1

    @property
    def key(self) -> str:
        """The key by which it is sorted."""
        return self.sort.removeprefix(DESCENDING)

    @property
    def is_descending(self) -> bool:
        """Whether the largest comes first."""
        return self.sort.startswith(DESCENDING)


class Page(msgspec.Struct, Generic[Row], frozen=True):
    """A page of the list, and the size of the list."""

    rows: list[Row]
    number: int
    count: int
    """The number of pages, at least one."""
    found: int
    """Tokens that match the search and the filter."""
    total: int
    """Tokens before search and filter."""


def parse_listing(text: str, state: str, sort: str, page: str) -> Listing:
    """Parse the query of an address; anything unknown in it becomes the default."""
    return Listing(
        text=" ".join(text[:MAXIMUM_SEARCH_LENGTH].split()),
        state=state if state in STATES else DEFAULT_STATE,
        sort=sort if sort.removeprefix(DESCENDING) in SORTS else DEFAULT_SORT,
        page=int(page) if page.isascii() and page.isdecimal() and len(page) < 8 else 1,
    )


def select(rows: Sequence[Row], listing: Listing) -> Page[Row]:
    """Return the requested page of the rows, or the last one if there are fewer.

    Rows that compare equal keep their order, so no row is on two pages if the input order is stable.
    """
    states, words = STATES[listing.state], listing.text.casefold().split()
    found = [row for row in rows if row.state in states and (not words or _agrees(row.record, words))]
    found.sort(key=SORTS[listing.key], reverse=listing.is_descending)
    count = max(1, -(-len(found) // PAGE_SIZE))
    number = min(max(1, listing.page), count)
    start = (number - 1) * PAGE_SIZE
    return Page(found[start : start + PAGE_SIZE], number, count, len(found), len(rows))


def _agrees(record: TokenRecord, words: Sequence[str]) -> bool:
    """Return whether each word is part of what is shown of the token, or the beginning of its id."""
    parts = (record.name, record.shown, record.policy, record.project, record.owner, record.scopes)
    text = "\n".join(parts).casefold()
    return all(word in text or record.identity.startswith(word) for word in words)
