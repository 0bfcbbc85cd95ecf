"""Changes of tokens and owners. Each is in the history with its actor; so is what was asked for and refused.

Like exchange.py it orders what core decides and adapters do. A change is made from what was just read and stored only
where that is still so; else it is made anew. What is refused raises a ChangeRefused.
"""

import msgspec

from gateway.core.admin_tokens import bind_admin, check_maker
from gateway.core.administration import TokenChange, TokenRequest, mint_token, update_record
from gateway.core.audit import (
    Action,
    Actor,
    AuditEntry,
    about_token,
    compare_owners,
    compare_records,
)
from gateway.core.children import make_child
from gateway.core.errors import ChangedMeanwhile, NotFound
from gateway.core.importing import Imported, import_token
from gateway.core.overrides import OverrideRequest, override_quota, remove_override
from gateway.core.owners import OwnerChange, OwnerRecord, OwnerStatus, change_owner
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.rotation import Rotation, rotate_record
from gateway.core.token_views import CreatedToken, TokenView
from gateway.management.writing import ATTEMPTS, Writing


class Management(Writing):
    """All that may be seen and changed."""

    async def create_token(
        self, actor: Actor, policy: str, request: TokenRequest, idempotency_key: str = "", *, now: int | None = None
    ) -> CreatedToken:
        """A new token; its text is in the answer and nowhere else. CallRepeated where the actor used the key before."""
        async with self.refusals(actor, Action.CREATE, policy):
            check_maker(actor, policy)
            self._check_texts(request)
            found, at = self.policy(policy), await self._at(now)
            request = bind_admin(found, request)
            owner = await self._owners.find(policy, request.owner) if request.owner else None
            text, record = mint_token(found, request, self._draw(found), self._pepper, at, owner)
            async with self._once(actor, policy, request, idempotency_key, record.identity):
                return CreatedToken(await self._create(actor, Action.CREATE, found, record), text)

    async def create_child(
        self, actor: Actor, parent: str, request: TokenRequest, *, now: int | None = None
    ) -> CreatedToken:
        """A child of a token: never with more than the parent has."""
        async with self.refusals(actor, Action.CREATE, identity=parent):
            self._check_texts(request)
            record = await self._record(parent)
            check_maker(actor, record.policy)
            policy, (view,), at = self.policy(record.policy), await self._view([record]), await self._at(now)
            owner = (await self._bounds(record)).owner
            draws, pepper, maker = self._draws(policy), self._pepper, actor.token if actor.kind == "token" else ""
            text, child = make_child(policy, record, view.state, owner, request, draws, pepper, at, maker)
            return CreatedToken(await self._create(actor, Action.CREATE, policy, child), text)

    async def import_token(
        self, actor: Actor, policy: str, request: TokenRequest, imported: Imported, *, now: int | None = None
    ) -> TokenView:
        """Takes a token over that exists elsewhere."""
        async with self.refusals(actor, Action.IMPORT, policy):
            self._check_texts(request)
            found, at = self.policy(policy), await self._at(now)
            owner = await self._owners.find(policy, request.owner) if request.owner else None
            record = import_token(found, request, imported, self._pepper, at, owner)
            return await self._create(actor, Action.IMPORT, found, record)

    async def update_token(
        self, actor: Actor, identity: str, change: TokenChange, expected: str | None = None, *, now: int | None = None
    ) -> TokenView:
        """Changes a token in place; where it no longer has the `expected` version, ChangedMeanwhile."""
        at = await self._at(now)

        async def attempt(policy: Policy, record: TokenRecord) -> TokenRecord | None:
            check_maker(actor, record.policy)
            asker = actor.token if actor.kind == "token" else ""
            updated = update_record(policy, record, change, at, await self._bounds(record), asker)
            return await self._replace(actor, Action.UPDATE, policy, record, updated, at)

        async with self.refusals(actor, Action.UPDATE, identity=identity):
            self._check_texts(change)
            return (await self._view([await self._change(identity, attempt, expected)]))[0]

    async def override_quota(
        self, actor: Actor, identity: str, quota: str, request: OverrideRequest | None, *, now: int | None = None
    ) -> TokenView:
        """Gives a token a limit of its own for a while; without a request, takes it away."""
        at = await self._at(now)

        async def attempt(policy: Policy, record: TokenRecord) -> TokenRecord | None:
            owner = (await self._bounds(record)).owner
            plan = policy.plan_of(record.plan, owner.plan if owner else "")
            if request is None:
                updated = remove_override(policy, record, quota, at, plan)
            else:
                updated = override_quota(policy, record, quota, request, at, plan)
            return await self._replace(actor, Action.OVERRIDE, policy, record, updated, at)

        async with self.refusals(actor, Action.OVERRIDE, identity=identity):
            self._check_texts(request)
            return (await self._view([await self._change(identity, attempt)]))[0]

    async def rotate_token(
        self,
        actor: Actor,
        identity: str,
        overlap_seconds: int,
        expires_at: int | msgspec.UnsetType | None = msgspec.UNSET,
        expected: str | None = None,
        *,
        now: int | None = None,
    ) -> CreatedToken:
        """A successor with the token's settings; the token ends after the overlap. `expires_at` is the successor's."""
        rotation = Rotation(overlap_seconds=overlap_seconds, expires_at=expires_at)
        at = await self._at(now)

        async def attempt(policy: Policy, record: TokenRecord) -> CreatedToken | None:
            check_maker(actor, record.policy, identity if expires_at is msgspec.UNSET else "")
            (view,), bounds = await self._view([record]), await self._bounds(record)
            rotated = rotate_record(policy, record, view.state, rotation, self._draws(policy), self._pepper, at, bounds)
            successor = msgspec.structs.replace(rotated.successor, made_by=actor.token)
            successor = await self._claims.give_number(policy, successor)
            ending = msgspec.structs.replace(rotated.old, updated_at=at)
            entry = about_token(actor, Action.ROTATE, record, compare_records(record, ending))
            if not await self._tokens.rotate(record, ending, successor, entry):
                return None
            await self._check_maker(successor)
            new, old = await self._view([successor, ending])
            return CreatedToken(new, rotated.text, old)

        async with self.refusals(actor, Action.ROTATE, identity=identity):
            return await self._change(identity, attempt, expected)

    async def revoke_token(self, actor: Actor, identity: str) -> TokenView:
        """Ends a token for good; a second time changes nothing."""
        async with self.refusals(actor, Action.REVOKE, identity=identity):
            await self._record(identity)
            await self._tokens.revoke(identity, AuditEntry(actor=actor, action=Action.REVOKE))
            return (await self._view([await self._record(identity)]))[0]  # it can have been rotated until then

    async def revoke_with_made(self, actor: Actor, identity: str) -> list[str]:
        """Ends a token, all that was made with it, and what was made with that; the ids not revoked before."""
        async with self.refusals(actor, Action.REVOKE, identity=identity):
            await self._record(identity)
            entry, revoked = AuditEntry(actor=actor, action=Action.REVOKE), list[str]()
            seen, pending = {identity}, {identity}
            while pending:  # each is revoked before it is asked what was made with it
                revoked += await self._tokens.revoke_each(sorted(pending), entry)
                pending = await self._tokens.made_with(sorted(pending)) - seen
                seen |= pending
            return revoked

    async def revoke_lineage(self, actor: Actor, identity: str) -> list[str]:
        """Ends a token with all that it was rotated from and to; the ids not revoked before."""
        async with self.refusals(actor, Action.REVOKE, identity=identity):
            await self._record(identity)
            return await self._tokens.revoke_lineage(identity, AuditEntry(actor=actor, action=Action.REVOKE))

    async def revoke_all(
        self, actor: Actor, policy: str, project: str | None = None, owner: str | None = None
    ) -> list[str]:
        """Ends all tokens of a project or of an owner; the ids not revoked before. NotFound for what was never seen."""
        if not project and not owner:
            raise ValueError("of whom?")
        async with self.refusals(actor, Action.REVOKE, policy):
            entry = AuditEntry(actor=actor, action=Action.REVOKE)
            revoked = await self._tokens.revoke_all(policy, project or None, owner or None, entry)
            if not revoked:
                await self.check_seen(policy, project or None, owner or None)
            return revoked

    async def change_owner(self, actor: Actor, policy: str, owner: str, change: OwnerChange) -> OwnerRecord:
        """Says what an owner may do, for the next request of each of its tokens."""
        async with self.refusals(actor, Action.CHANGE_OWNER, policy):
            self._check_texts(change)
            found = self.policy(policy)
            for _ in range(ATTEMPTS):
                old = await self._owners.find(policy, owner)
                is_ended = change.status in (OwnerStatus.REMOVED, OwnerStatus.BLOCKED) and not change.permissions
                if old is None and is_ended and not await self._tokens.find_all(policy, None, owner):
                    raise NotFound(f"the policy {policy} has no owner {owner}")
                if old is None:
                    self._check_texts(owner)
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
