"""How a change is stored: against what was read, with its name, its number, its key and its entry of the history."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from gateway.core.administration import Bounds, TokenRequest
from gateway.core.audit import (
    Action,
    Actor,
    AuditEntry,
    about_token,
    compare_records,
    id_or_nothing,
)
from gateway.core.errors import CallRepeated, ChangedMeanwhile, ChangeRefused, NameTaken, TokenEnded
from gateway.core.idempotency import fingerprint, key_digest
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.token_views import TokenView, version_of
from gateway.core.tokens import random_bytes_needed
from gateway.management.reading import Reading

ATTEMPTS = 5
"""Times that a change is made anew while others change the same."""

GATEWAY = Actor("gateway", "system")
"""Who ends what nobody may have made."""
REPEATED = {
    "theirs": ("idempotency_replayed", "this call was made already; its token's text is not kept: rotate the token"),
    "pending": ("idempotency_in_progress", "this call is being made at the moment"),
    "mismatch": ("idempotency_mismatch", "this idempotency key was used for another call"),
}
Changed = TypeVar("Changed")


class Writing(Reading):
    """What all changes have in common."""

    async def _at(self, now: int | None) -> int:
        """When a change is made, in Unix seconds: its caller's, who reckoned with it, else the store's."""
        return await self._tokens.now() if now is None else now

    @asynccontextmanager
    async def refusals(self, actor: Actor, action: Action, policy: str = "", identity: str = "") -> AsyncIterator[None]:
        """Notes that a change was refused, but none of the texts that were asked for; what it says has no token."""
        try:
            yield
        except ChangeRefused as refused:
            if refused.is_noted:
                raise
            refused.args = (self.mask(str(refused)),)
            known = policy if policy and policy in self._policies.current.policies else ""
            entry = AuditEntry(actor=actor, action=action, policy=known, target=id_or_nothing(identity))
            record = await self._tokens.find(entry.target) if entry.target else None
            entry = about_token(actor, action, record, {}) if record else entry
            await self._audit.note(msgspec.structs.replace(entry, outcome=refused.code))
            refused.is_noted = True
            raise

    @asynccontextmanager
    async def _once(
        self, actor: Actor, policy: str, request: TokenRequest, key: str, identity: str
    ) -> AsyncIterator[None]:
        """Makes the token under the key, where there is one, unless that has made one already."""
        if not key:
            yield
            return
        name, asked = key_digest(actor, key), fingerprint(policy, request)
        claim = await self._claims.claim_key(name, asked, identity)
        if claim.state != "ours":
            raise CallRepeated(*REPEATED[claim.state], claim.identity)
        try:
            yield
        except ChangeRefused:
            await self._claims.release_key(name, asked, identity)
            raise

    def _check_texts(self, *asked: Any) -> None:
        """Raise ChangeRefused if anything of what is asked for, at any depth, holds what looks like a token."""
        for text in _texts(msgspec.to_builtins(asked)):
            if self.mask(text) != text:
                raise ChangeRefused(
                    "names, descriptions and ids are shown to others: this one holds what looks like a token, "
                    f"{self.mask(text)!r}; choose another"
                )

    async def _create(self, actor: Actor, action: Action, policy: Policy, record: TokenRecord) -> TokenView:
        record = msgspec.structs.replace(record, made_by=actor.token)
        claim = await self._claim_name(policy, record)
        try:
            record = await self._claims.give_number(policy, record)
            await self._tokens.create(record, about_token(actor, action, record, compare_records(None, record)))
            await self._check_maker(record)
        except ChangeRefused:
            await self._claims.release_name(policy, record, claim)
            raise
        return (await self._view([record]))[0]

    async def _check_maker(self, made: TokenRecord) -> None:
        """Ends what was just made, and raises TokenEnded, if the token that made it is revoked by now.

        Whoever ends a token with all that it has made (`revoke_with_made`) revokes it first: so what it makes at the
        same time is either found then, or ends here.
        """
        if made.made_by and (await self._tokens.are_revoked([made.made_by]))[0]:
            await self._tokens.revoke(made.identity, AuditEntry(actor=GATEWAY, action=Action.REVOKE))
            raise TokenEnded(f"token {made.made_by} was revoked meanwhile: it makes nothing any more")

    async def _replace(
        self, actor: Actor, action: Action, policy: Policy, old: TokenRecord, new: TokenRecord, now: int
    ) -> TokenRecord | None:
        """The record that is there now; None where it was changed meanwhile. What changes nothing is not written."""
        changes = compare_records(old, new)
        if not changes:
            return old
        new, is_renamed = msgspec.structs.replace(new, updated_at=now), old.name != new.name
        held = await self._claims.find_claim(policy, old) if is_renamed else ""
        claim = await self._claim_name(policy, new) if is_renamed else ""
        is_done = await self._tokens.replace(old, new, about_token(actor, action, new, changes))
        if is_renamed:
            await self._claims.release_name(policy, *((old, held) if is_done else (new, claim)))
        return new if is_done else None

    async def _claim_name(self, policy: Policy, record: TokenRecord) -> str:
        claim = await self._claims.claim_name(policy, record)
        if claim is None:
            among = f"the policy {policy.name}" if policy.bound_to == "none" else f"the same {policy.bound_to}"
            raise NameTaken(f"another token of {among} is named {record.name!r}")
        return claim

    async def _change(
        self,
        identity: str,
        attempt: Callable[[Policy, TokenRecord], Awaitable[Changed | None]],
        expected: str | None = None,
    ) -> Changed:
        """What `attempt` makes of the token; None from it says that the record was changed meanwhile."""
        for _ in range(ATTEMPTS):
            record = await self._record(identity)
            (is_revoked,) = await self._tokens.are_revoked([identity])
            if is_revoked:
                raise TokenEnded(f"token {identity} is revoked, for good")
            if expected not in (None, version_of(record, is_revoked)):
                raise ChangedMeanwhile(f"token {identity} has been changed since it was read")
            changed = await attempt(self.policy(record.policy), record)
            if changed is not None:
                return changed
        raise ChangedMeanwhile(f"token {identity} is being changed by somebody else, try again")

    async def _bounds(self, record: TokenRecord) -> Bounds:
        """The token's owner and parent, as far as they bound it."""
        owner = await self._owners.find(record.policy, record.owner) if record.owner else None
        return Bounds(owner, await self._tokens.find(record.parent) if record.parent else None)

    def _draw(self, policy: Policy) -> bytes:
        return self._random_bytes(random_bytes_needed(policy.token_format))

    def _draws(self, policy: Policy) -> Iterator[bytes]:
        return iter(partial(self._draw, policy), b"")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(tuple(value.items()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
