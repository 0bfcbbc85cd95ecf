"""What may be seen of a token: its record as it counts at the moment, and what the record does not say."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.core.tokens.audit import id_or_nothing
from gateway.core.tokens.changes import TokenState, state_of
from gateway.core.tokens.lifecycle import bound_by
from gateway.core.tokens.records import TokenRecord, encode_record, without_use
from gateway.core.tokens.text import ID_LENGTH

VERSION_DIGITS = 20


class TokenView(msgspec.Struct, frozen=True, gc=False):
    """A token at one moment; nothing in it is secret, and nothing leads back to it, so none is searched for cycles."""

    record: TokenRecord
    """With the plan that counts, its owner's where that is so; of a child, bound by its parent's."""
    state: TokenState
    is_revoked: bool
    """The token itself; of a child whose parent is revoked the state says so, and this does not."""
    stored: TokenRecord
    """The record as it is without its parent's and its owner's: what a change is made from."""

    @property
    def version(self) -> str:
        """Another one after every change of the token; using it changes nothing. Most of a long list is never asked."""
        return version_of(self.stored, self.is_revoked)

    @property
    def identity(self) -> str:
        """The token's id."""
        return self.record.identity

    @property
    def number(self) -> int:
        """Its number among the policy's tokens; 0 where the policy has none."""
        return self.record.number

    @property
    def last_use(self) -> int | None:
        """Unix seconds, exact to the policy's resolution; None: never."""
        return self.record.last_use or None


class CreatedToken(msgspec.Struct, frozen=True):
    """A new token, and the only copy of its text."""

    view: TokenView
    text: str
    predecessor: TokenView | None = None
    """What it was rotated from."""
    warning: str = ""
    """Why this may be undone; empty where nothing speaks for that."""

    def __repr__(self) -> str:
        return f"CreatedToken({self.view!r})"


def build_views(
    records: Sequence[TokenRecord],
    parents: Mapping[str, TokenRecord],
    revoked: Mapping[str, bool],
    now: int,
    bind: Callable[[TokenRecord], TokenRecord] = lambda record: record,
) -> list[TokenView]:
    """A view of each record at `now`, Unix seconds; `revoked` is of the tokens and of their parents, by id.

    A child whose parent is gone is over. `bind` gives a record the plan that counts.
    """
    views = []
    for record in records:
        parent, is_revoked, bound = parents.get(record.parent), revoked[record.identity], record
        parents_state = TokenState.REVOKED if record.parent else TokenState.ACTIVE
        if parent is not None:
            bound, parents_state = bound_by(parent, record), state_of(parent, revoked[record.parent], now)
        views.append(TokenView(bind(bound), state_of(record, is_revoked, now, parents_state), is_revoked, record))
    return views


def why_not_found(identity: str) -> str:
    """Return why there is no token of this id. What is no id is not repeated: it may be the text of a token."""
    if id_or_nothing(identity):
        return f"there is no token {identity}"
    length = f"{ID_LENGTH} hexadecimal digits"
    return f"there is no token of this id: an id has {length}, this text has {len(identity)} characters"


def version_of(record: TokenRecord, is_revoked: bool) -> str:
    """A digest of all that a change can change."""
    settings = without_use(encode_record(record))
    return hashlib.sha256(settings + (b"revoked" if is_revoked else b"")).hexdigest()[:VERSION_DIGITS]
