"""Changes of tokens and owners. Each is in the history with its actor; so is what was asked for and refused.

Like exchange.py it orders what core decides and adapters do. A change is made from what was just read and stored only
where that is still so; else it is made anew. What is refused raises a ChangeRefused.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import msgspec

from gateway.core.admin_tokens import bind_admin
from gateway.core.administration import Bounds, TokenChange, TokenRequest, mint_token, update_record
from gateway.core.audit import (
    Action,
    Actor,
    AuditEntry,
    about_token,
    compare_owners,
    compare_records,
    id_or_nothing,
)
from gateway.core.children import make_child
from gateway.core.errors import ChangedMeanwhile, ChangeRefused, NameTaken, NotFound, TokenEnded
from gateway.core.importing import Imported, import_token
from gateway.core.overrides import OverrideRequest, override_quota, remove_override
from gateway.core.owners import OwnerChange, OwnerRecord, OwnerStatus, change_owner
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.rotation import Rotation, rotate_record
from gateway.core.token_views import CreatedToken, TokenView, version_of
from gateway.core.tokens import random_bytes_needed
from gateway.management.reading import Reading

ATTEMPTS = 5
"""Times that a change is made anew while others change the same."""

Changed = TypeVar("Changed")


class Management(Reading):
    """All that may be seen and changed."""

    async def create_token(self, actor: Actor, policy: str, request: TokenRequest) -> CreatedToken:
        """A new token; its text is in the answer and nowhere else."""
        async with self._refusals(actor, Action.CREATE, policy):
            found, now = self.policy(policy), await self._tokens.now()
            request = bind_admin(found, request)
            owner = await self._owners.find(policy, request.owner) if request.owner else None
            text, record = mint_token(found, request, self._draw(found), self._pepper, now, owner)
            return CreatedToken(await self._create(actor, Action.CREATE, found, record), text)

    async def create_child(self, actor: Actor, parent: str, request: TokenRequest) -> CreatedToken:
        """A child of a token: never with more than the parent has."""
        async with self._refusals(actor, Action.CREATE, identity=parent):
            record = await self._record(parent)
            policy, (view,), now = self.policy(record.policy), await self._view([record]), await self._tokens.now()
            owner = (await self._bounds(record)).owner
            draws, pepper, maker = self._draws(policy), self._pepper, actor.token if actor.kind == "token" else ""
            text, child = make_child(policy, record, view.state, owner, request, draws, pepper, now, maker)
            return CreatedToken(await self._create(actor, Action.CREATE, policy, child), text)

    async def import_token(self, actor: Actor, policy: str, request: TokenRequest, imported: Imported) -> TokenView:
        """Takes a token over that exists elsewhere."""
        async with self._refusals(actor, Action.IMPORT, policy):
            found, now = self.policy(policy), await self._tokens.now()
            owner = await self._owners.find(policy, request.owner) if request.owner else None
            record = import_token(found, request, imported, self._pepper, now, owner)
            return await self._create(actor, Action.IMPORT, found, record)

    async def update_token(
        self, actor: Actor, identity: str, change: TokenChange, expected: str | None = None
    ) -> TokenView:
        """Changes a token in place; where it no longer has the `expected` version, ChangedMeanwhile."""
        now = await self._tokens.now()

        async def attempt(policy: Policy, record: TokenRecord) -> TokenRecord | None:
            updated = update_record(policy, record, change, now, await self._bounds(record))
            return await self._replace(actor, Action.UPDATE, policy, record, updated, now)

        async with self._refusals(actor, Action.UPDATE, identity=identity):
            return (await self._view([await self._change(identity, attempt, expected)]))[0]

    async def override_quota(
        self, actor: Actor, identity: str, quota: str, request: OverrideRequest | None
    ) -> TokenView:
        """Gives a token a limit of its own for a while; without a request, takes it away."""
        now = await self._tokens.now()

        async def attempt(policy: Policy, record: TokenRecord) -> TokenRecord | None:
            if request is None:
                updated = remove_override(policy, record, quota, now)
            else:
                updated = override_quota(policy, record, quota, request, now)
            return await self._replace(actor, Action.OVERRIDE, policy, record, updated, now)

        async with self._refusals(actor, Action.OVERRIDE, identity=identity):
            return (await self._view([await self._change(identity, attempt)]))[0]

    async def rotate_token(
        self,
        actor: Actor,
        identity: str,
        overlap_seconds: int,
        expires_at: int | msgspec.UnsetType | None = msgspec.UNSET,
        expected: str | None = None,
    ) -> CreatedToken:
        """A successor with the token's settings; the token ends after the overlap. `expires_at` is the successor's."""
        rotation = Rotation(overlap_seconds=overlap_seconds, expires_at=expires_at)
        now = await self._tokens.now()

        async def attempt(policy: Policy, record: TokenRecord) -> CreatedToken | None:
            (view,), bounds = await self._view([record]), await self._bounds(record)
            rotated = rotate_record(
                policy, record, view.state, rotation, self._draws(policy), self._pepper, now, bounds
            )
            successor = await self._claims.give_number(policy, rotated.successor)
            ending = msgspec.structs.replace(rotated.old, updated_at=now)
            entry = about_token(actor, Action.ROTATE, record, compare_records(record, ending))
            if not await self._tokens.rotate(record, ending, successor, entry):
                return None
            new, old = await self._view([successor, ending])
            return CreatedToken(new, rotated.text, old)

        async with self._refusals(actor, Action.ROTATE, identity=identity):
            return await self._change(identity, attempt, expected)

    async def revoke_token(self, actor: Actor, identity: str) -> TokenView:
        """Ends a token for good; a second time changes nothing."""
        async with self._refusals(actor, Action.REVOKE, identity=identity):
            await self._record(identity)
            await self._tokens.revoke(identity, AuditEntry(actor=actor, action=Action.REVOKE))
            return (await self._view([await self._record(identity)]))[0]  # it can have been rotated until then

    async def revoke_lineage(self, actor: Actor, identity: str) -> list[str]:
        """Ends a token with all that it was rotated from and to; the ids not revoked before."""
        async with self._refusals(actor, Action.REVOKE, identity=identity):
            await self._record(identity)
            return await self._tokens.revoke_lineage(identity, AuditEntry(actor=actor, action=Action.REVOKE))

    async def revoke_all(
        self, actor: Actor, policy: str, project: str | None = None, owner: str | None = None
    ) -> list[str]:
        """Ends all tokens of a project or of an owner; the ids not revoked before."""
        if not project and not owner:
            raise ValueError("of whom?")
        entry = AuditEntry(actor=actor, action=Action.REVOKE)
        return await self._tokens.revoke_all(policy, project or None, owner or None, entry)

    async def change_owner(self, actor: Actor, policy: str, owner: str, change: OwnerChange) -> OwnerRecord:
        """Says what an owner may do, for the next request of each of its tokens."""
        async with self._refusals(actor, Action.CHANGE_OWNER, policy):
            found = self.policy(policy)
            for _ in range(ATTEMPTS):
                old = await self._owners.find(policy, owner)
                is_removal = old is None and change.status is OwnerStatus.REMOVED
                if is_removal and not await self._tokens.find_all(policy, None, owner):
                    raise NotFound(f"the policy {policy} has no owner {owner}")
                new = change_owner(found, owner, old, change)
                entry = AuditEntry(
                    actor=actor,
                    action=Action.CHANGE_OWNER,
                    policy=policy,
                    target=owner,
                    changes=compare_owners(old, new),
                )
                if await self._owners.replace(policy, owner, old, new, entry):
                    return new
            raise ChangedMeanwhile(f"the owner {owner} is being changed by somebody else, try again")

    @asynccontextmanager
    async def _refusals(
        self, actor: Actor, action: Action, policy: str = "", identity: str = ""
    ) -> AsyncIterator[None]:
        """Notes that a change was refused, but none of the texts that were asked for."""
        try:
            yield
        except ChangeRefused as refused:
            known = policy if policy and policy in self._policies.current.policies else ""
            entry = AuditEntry(actor=actor, action=action, policy=known, target=id_or_nothing(identity))
            record = await self._tokens.find(entry.target) if entry.target else None
            entry = about_token(actor, action, record, {}) if record else entry
            await self._audit.note(msgspec.structs.replace(entry, outcome=refused.code))
            raise

    async def _create(self, actor: Actor, action: Action, policy: Policy, record: TokenRecord) -> TokenView:
        claim = await self._claim_name(policy, record)
        try:
            record = await self._claims.give_number(policy, record)
            await self._tokens.create(record, about_token(actor, action, record, compare_records(None, record)))
        except ChangeRefused:
            await self._claims.release_name(policy, record, claim)
            raise
        return (await self._view([record]))[0]

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
            raise NameTaken(f"another token of the same {policy.bound_to} is named {record.name!r}")
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
