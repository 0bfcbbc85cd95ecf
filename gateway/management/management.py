"""Changes of tokens and owners. Each is in the history with its actor; so is each refused one.

Like pipeline/exchange.py it orders what core decides and adapters do. A change is made from what was just read and is
stored only if that is unchanged; otherwise it is made again. A refusal raises a ChangeRefused. Changes that an incident
needs (revoke, disable, rotate, block) return once Redis has them on its disk, if it can tell: otherwise they raise
NotKept, and repeating them waits again.

In the order of the class: what there is to see, the changes, and how a change is stored: against what was read, with
its name, its number, its key and its entry of the history.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import msgspec

from gateway.adapters.admin_ports import Audit, Claims, Owners, Tokens
from gateway.adapters.ports import PolicySource
from gateway.core.admission.decision import AdmissionRequest, Authorized, Refused, Verdict, decide
from gateway.core.admission.explanation import build_facts
from gateway.core.errors import (
    CallRepeated,
    ChangedMeanwhile,
    ChangeRefused,
    ConfigurationError,
    NameTaken,
    NotFound,
    NotKept,
    TokenEnded,
)
from gateway.core.http.reasons import Reason
from gateway.core.masking import NO_POLICIES
from gateway.core.moving.rows import ImportRow, RowOutcome, RowResult, find_differences
from gateway.core.pages.permissions import AccessScope
from gateway.core.policies.model import Policy, Rule
from gateway.core.policies.reading import unknown_name
from gateway.core.tokens.admin_tokens import ADMIN, NAME, bind_admin, check_maker
from gateway.core.tokens.audit import (
    ACTIONS,
    Action,
    Actor,
    AuditEntry,
    AuditQuery,
    about_token,
    compare_owners,
    compare_records,
    id_or_nothing,
)
from gateway.core.tokens.changes import Bounds, TokenChange, TokenRequest, mint_token, update_record
from gateway.core.tokens.idempotency import fingerprint, key_digest
from gateway.core.tokens.lifecycle import (
    Imported,
    Rotation,
    import_token,
    make_child,
    mint_in_lineage,
    rotate_record,
)
from gateway.core.tokens.overrides import OverrideRequest, override_quota, remove_override
from gateway.core.tokens.owners import OwnerChange, OwnerRecord, OwnerStatus, bind_plan, change_owner
from gateway.core.tokens.records import TokenRecord, newest_first
from gateway.core.tokens.text import MAXIMUM_TEXT_LENGTH, digest, random_bytes_needed, token_id
from gateway.core.tokens.views import CreatedToken, TokenView, build_views, version_of, why_not_found
from gateway.core.tokens.whoami import identity_rule

AT_ONCE = 1000
"""Tokens that are handled at once: they delay others in this process by milliseconds."""

ATTEMPTS = 5
"""The number of attempts at a change that concurrent changes invalidate."""

GATEWAY = Actor("gateway", "system")
"""The actor that revokes tokens whose maker was revoked meanwhile."""
REPEATED = {
    "theirs": ("idempotency_replayed", "this call was made already; its token's text is not kept: rotate the token"),
    "pending": ("idempotency_in_progress", "this call is being made at the moment"),
    "mismatch": ("idempotency_mismatch", "this idempotency key was used for another call"),
}
Changed = TypeVar("Changed")


class Management:
    """All that may be seen and changed, by whichever door. `random_bytes` gives so many; `pepper` is the exchange's."""

    def __init__(
        self,
        policies: PolicySource,
        tokens: Tokens,
        owners: Owners,
        audit: Audit,
        claims: Claims,
        random_bytes: Callable[[int], bytes],
        pepper: bytes,
    ) -> None:
        self._policies = policies
        self._tokens = tokens
        self._owners = owners
        self._audit = audit
        self._claims = claims
        self._random_bytes = random_bytes
        self._pepper = pepper

    def policy(self, name: str) -> Policy:
        """Return the policy of a name, including the admin tokens' own. Raise NotFound if there is none."""
        if name == NAME:
            return ADMIN
        known = self._policies.current.policies
        if name not in known:
            raise NotFound(f"no policy is named {self.mask(name)!r}: there are {', '.join(sorted(known))}")
        return known[name]

    def mask(self, text: str) -> str:
        """Return the text with tokens masked; if no policy can be read, only those of the gateway's own format."""
        try:
            masking = self._policies.current.masking
        except ConfigurationError:
            masking = NO_POLICIES
        return masking.mask(text)

    def policies(self) -> list[Policy]:
        """Return the current policies, sorted by name."""
        return [policy for _, policy in sorted(self._policies.current.policies.items())]

    def rules(self, policy: str) -> Sequence[Rule]:
        """Return a policy's rules. Raise NotFound if there is no such policy."""
        return self._policies.current.rules.get(self.policy(policy).name, ())

    def known_rules(self, policy: str) -> Sequence[Rule]:
        """Return a policy's rules; empty if it is in no file."""
        return self._policies.current.rules.get(policy, ())

    async def list_projects(self, policy: str) -> dict[str, int]:
        """Return the projects for which tokens were ever created, with their numbers of tokens. Raise NotFound."""
        return await self._tokens.projects(self.policy(policy).name)

    async def now(self) -> int:
        """Return Unix seconds by the store's clock, by which all times of tokens are measured."""
        return await self._tokens.now()

    async def list_tokens(
        self, policy: str | None, project: str | None = None, owner: str | None = None
    ) -> list[TokenView]:
        """Return the tokens that match, newest first. Without project and owner, all tokens are scanned."""
        return await self._view(await self._tokens.find_all(policy, project, owner))

    async def list_known(
        self, policy: str | None, project: str | None = None, owner: str | None = None, maker: str | None = None
    ) -> list[TokenView]:
        """Return the tokens that match, as `list_tokens`, of those created with a `maker` if one is given.

        Raise NotFound if a name was never seen, which is a slip rather than an empty list.
        """
        if maker is None:
            views = await self.list_tokens(policy, project, owner)
        else:
            meant = AccessScope(policy, project, owner)
            views = [view for view in await self.list_made(maker) if meant.covers(view.record)]
        if not views:
            await self.check_seen(policy, project, owner)
        return views

    async def check_seen(self, policy: str | None, project: str | None = None, owner: str | None = None) -> None:
        """Raise NotFound if no policy has the name, or no token or owner was ever seen under the given names.

        A policy that is no longer in any file is known by the tokens that it has left.
        """
        known = self._policies.current.policies
        if policy not in (None, NAME, *known) and not await self._tokens.is_seen(policy):
            raise NotFound(f"{unknown_name('policy', policy or '', known)}; no token of it was ever made")
        under = f" of the policy {policy}" if policy else ""
        if project and not await self._tokens.is_seen(policy, project=project):
            raise NotFound(f"no token{under} was ever made for the project {project!r}")
        if owner and not await self._tokens.is_seen(policy, owner=owner):
            raise NotFound(f"no token{under} was ever made for the owner {owner!r}, and it has no record")

    async def get_token(self, identity: str) -> TokenView:
        """Return the token of an id. Raise NotFound if there is none."""
        return (await self._view([await self._record(identity)]))[0]

    async def show_token(self, identity: str) -> TokenView | None:
        """Return the token of an id, or None."""
        record = await self._tokens.find(identity)
        return None if record is None else (await self._view([record]))[0]

    async def show_number(self, policy: str, number: int) -> TokenView | None:
        """Return the token of a number, or None."""
        record = await self._claims.find_number(policy, number)
        return None if record is None else (await self._view([record]))[0]

    async def list_children(self, identity: str) -> list[TokenView]:
        """Return the children of a token, newest first."""
        return await self._view(await self._tokens.children(identity))

    async def list_made(self, identity: str, most: int | None = None) -> list[TokenView]:
        """Return what was created with a token, directly or indirectly, newest first. Raise NotFound.

        If `most` is given, the search stops soon after that number: an admin token can have created a million.
        """
        await self._record(identity)
        seen, pending = {identity}, {identity}
        while pending and (most is None or len(seen) <= most):
            pending = await self._tokens.made_with(sorted(pending), None if most is None else most + 1) - seen
            seen |= pending
        return await self._view(newest_first(await self._tokens.find_each(sorted(seen - {identity}))))

    async def list_lineage(self, identity: str) -> list[TokenView]:
        """Return the token with all that it was rotated from and to, if their records exist. Raise NotFound."""
        found = {identity: await self._record(identity)}
        pending = [identity]
        while pending:
            record = found[pending.pop()]
            for relative in (record.predecessor, record.successor):
                other = await self._tokens.find(relative) if relative and relative not in found else None
                if other is not None:
                    found[relative] = other
                    pending.append(relative)
        return await self._view(list(found.values()))

    async def find_presented(self, text: str) -> TokenView | None:
        """Return the token of a presented text, of any policy and in any state, or None."""
        if not text or len(text) > MAXIMUM_TEXT_LENGTH or not text.isascii():
            return None
        presented = digest(text, self._pepper)
        view = await self.show_token(token_id(presented))
        return view if view is not None and view.record.digest == presented else None

    async def identify(self, text: str) -> Authorized | None:
        """Return the token of a presented text if a rule without further needs would admit it, else None."""
        view = await self.find_presented(text)
        if view is None or view.record.policy not in self._policies.current.policies:
            return None
        rule = identity_rule(self.policy(view.record.policy))
        verdict = await self.examine(view.identity, lambda _: rule)
        return None if isinstance(verdict, Refused) else verdict

    async def examine(self, identity: str, find_rule: Callable[[TokenRecord], Rule | None]) -> Verdict:
        """Return the verdict on a token, without quotas, by the rule for its record; without a rule it is unknown."""
        inspection = await self._tokens.inspect(identity, None, "")
        rule = find_rule(inspection.record) if inspection else None
        if inspection is None or rule is None:
            return Refused(Reason.UNKNOWN_TOKEN)
        return decide(build_facts(AdmissionRequest(rule, inspection.record.digest), inspection))

    async def list_owners(self, policy: str) -> dict[str, OwnerRecord]:
        """Return the records of a policy's owners, by name. Raise NotFound.

        Owners without a record are only names, and restrict nothing.
        """
        owners = await self._owners.find_all(policy)
        if not owners:
            await self.check_seen(policy)
        return owners

    async def show_owner(self, policy: str, owner: str) -> OwnerRecord | None:
        """Return the owner's record, or None."""
        return await self._owners.find(policy, owner)

    async def search_audit(self, query: AuditQuery, limit: int = 100, before: str = "") -> list[AuditEntry]:
        """Return the matching entries, newest first, at most `limit`; `before` is the id of the last one seen."""
        return await self._audit.search(query, limit, before)

    async def ask_audit(self, query: AuditQuery, limit: int = 100, before: str = "") -> list[AuditEntry]:
        """Return the matching entries as `search_audit`.

        Raise NotFound if a name was never seen, even by the history.
        """
        if query.action not in (None, *ACTIONS):
            raise NotFound(unknown_name("action", query.action or "", sorted(ACTIONS)))
        entries = await self.search_audit(query, limit, before)
        if not entries and not before:
            await self.check_seen(query.policy, query.project, query.owner)
            if query.target is not None and await self._tokens.find(query.target) is None:
                raise NotFound("there is no token of this id, nor any entry about one")
        return entries

    async def create_token(
        self, actor: Actor, policy: str, request: TokenRequest, idempotency_key: str = "", *, now: int | None = None
    ) -> CreatedToken:
        """Create a token; its text is only in the answer. Raise CallRepeated if the actor used the key before."""
        async with self.refusals(actor, Action.CREATE, policy):
            check_maker(actor, policy)
            self._check_texts(request)
            found, at = self.policy(policy), await self._at(now)
            request = bind_admin(found, request)
            owner = await self._owners.find(policy, request.owner) if request.owner else None
            text, record = mint_token(found, request, self._draw(found), self._pepper, at, owner)
            async with self._once(actor, policy, request, idempotency_key, record.identity):
                return CreatedToken(await self._create(actor, Action.CREATE, found, record), text)

    async def create_for_job(
        self,
        actor: Actor,
        policy: Policy,
        request: TokenRequest,
        lineage: tuple[str, str],
        proof: str,
        proof_seconds: int,
        now: int,
    ) -> tuple[str, TokenRecord] | None:
        """Create the token of a job, and return its text and its record; None if its ID token was exchanged before.

        `lineage` names the issuer and whose counters the token shares, `proof` is the digest of the ID token, which is
        remembered for `proof_seconds`.
        """
        self._check_texts(request)
        named = msgspec.json.encode((policy.name, *lineage)).decode()
        first = token_id(digest(named, self._pepper))
        owner = await self._owners.find(policy.name, request.owner) if request.owner else None
        text, record = mint_in_lineage(policy, request, first, self._draws(policy), self._pepper, now, owner)
        entry = about_token(actor, Action.EXCHANGE, record, compare_records(None, record))
        is_new = await self._tokens.exchange(record, entry, proof, proof_seconds, now)
        return (text, record) if is_new else None

    async def create_child(
        self, actor: Actor, parent: str, request: TokenRequest, *, now: int | None = None
    ) -> CreatedToken:
        """Create a child of a token, which never has more than the parent."""
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
        """Import a token that exists elsewhere."""
        async with self.refusals(actor, Action.IMPORT, policy):
            self._check_texts(request)
            found, at = self.policy(policy), await self._at(now)
            owner = await self._owners.find(policy, request.owner) if request.owner else None
            record = import_token(found, request, imported, self._pepper, at, owner)
            return await self._create(actor, Action.IMPORT, found, record)

    async def import_tokens(self, actor: Actor, policy: str, rows: Sequence[ImportRow]) -> list[RowOutcome]:
        """Import many tokens, and return what came of each. One that is there with the same settings is no change."""
        found, at = self.policy(policy), await self._at(None)
        owners = await self._owners.find_each({(policy, row.request.owner) for row in rows if row.request.owner})
        refusals: dict[int, ChangeRefused] = {}
        made: dict[int, TokenRecord] = {}
        for row in rows:
            try:
                self._check_texts(row.request)
                owner = owners.get((policy, row.request.owner))
                record = import_token(found, row.request, row.imported, self._pepper, at, owner)
                made[row.line] = msgspec.structs.replace(record, made_by=actor.token, is_active=row.is_active)
            except ChangeRefused as error:
                refusals[row.line] = error
        known = {one.identity: one for one in await self._tokens.find_each([one.identity for one in made.values()])}
        revoked = dict(zip(known, await self._tokens.are_revoked(list(known)), strict=True))
        new = [line for line, record in made.items() if record.identity not in known]
        created = await self._create_each(actor, found, [made[line] for line in new])
        refusals |= {line: refused for line, refused in zip(new, created, strict=True) if refused}
        for line in made.keys() - set(new):
            old = known[made[line].identity]
            if refused := _why_not_imported(old, made[line], is_revoked=revoked[old.identity]):
                refusals[line] = refused
        outcomes = [
            RowOutcome(
                line, RowResult.IMPORTED if one.identity not in known else RowResult.PRESENT, one.identity, one.name
            )
            for line, one in made.items()
            if line not in refusals
        ]
        outcomes += [
            await self._refuse_row(actor, policy, row, refusals[row.line]) for row in rows if row.line in refusals
        ]
        return sorted(outcomes, key=lambda outcome: outcome.line)

    async def update_token(
        self, actor: Actor, identity: str, change: TokenChange, expected: str | None = None, *, now: int | None = None
    ) -> TokenView:
        """Change a token in place. Raise ChangedMeanwhile if it no longer has the `expected` version."""
        at = await self._at(now)

        async def attempt(policy: Policy, record: TokenRecord) -> TokenRecord | None:
            check_maker(actor, record.policy)
            asker = actor.token if actor.kind == "token" else ""
            updated = update_record(policy, record, change, at, await self._bounds(record), asker)
            return await self._replace(actor, Action.UPDATE, policy, record, updated, at)

        async with self.refusals(actor, Action.UPDATE, identity=identity), self._kept():
            self._check_texts(change)
            return (await self._view([await self._change(identity, attempt, expected)]))[0]

    async def override_quota(
        self, actor: Actor, identity: str, quota: str, request: OverrideRequest | None, *, now: int | None = None
    ) -> TokenView:
        """Give a token a limit of its own for a while; without a request, remove it."""
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
        """Create a successor with the token's settings and return it; the token expires after the overlap.

        `expires_at` is the successor's.
        """
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
            try:
                async with self._kept():
                    created = await self._change(identity, attempt, expected)
            except NotKept as error:  # only the caller has the text
                return msgspec.structs.replace(created, warning=str(error))
            return created

    async def revoke_token(self, actor: Actor, identity: str) -> TokenView:
        """Revoke a token for good; a second call changes nothing."""
        async with self.refusals(actor, Action.REVOKE, identity=identity), self._kept():
            await self._record(identity)
            await self._tokens.revoke(identity, AuditEntry(actor=actor, action=Action.REVOKE))
            return (await self._view([await self._record(identity)]))[0]  # it can have been rotated until then

    async def revoke_with_made(self, actor: Actor, identity: str) -> list[str]:
        """Revoke a token and all that was created with it, directly or indirectly.

        Return the ids not revoked before.
        """
        async with self.refusals(actor, Action.REVOKE, identity=identity), self._kept():
            await self._record(identity)
            entry, revoked = AuditEntry(actor=actor, action=Action.REVOKE), list[str]()
            seen, pending = {identity}, {identity}
            while pending:  # each is revoked before the tokens created with it are listed
                revoked += await self._tokens.revoke_each(sorted(pending), entry)
                pending = await self._tokens.made_with(sorted(pending)) - seen
                seen |= pending
            return revoked

    async def revoke_lineage(self, actor: Actor, identity: str) -> list[str]:
        """Revoke a token with all that it was rotated from and to; return the ids not revoked before."""
        async with self.refusals(actor, Action.REVOKE, identity=identity), self._kept():
            await self._record(identity)
            return await self._tokens.revoke_lineage(identity, AuditEntry(actor=actor, action=Action.REVOKE))

    async def revoke_all(
        self, actor: Actor, policy: str, project: str | None = None, owner: str | None = None
    ) -> list[str]:
        """Revoke all tokens of a project or of an owner; return the ids not revoked before.

        Raise NotFound for a name that was never seen, and ValueError if none is given.
        """
        if not project and not owner:
            raise ValueError("of whom?")
        async with self.refusals(actor, Action.REVOKE, policy), self._kept():
            entry = AuditEntry(actor=actor, action=Action.REVOKE)
            revoked = await self._tokens.revoke_all(policy, project or None, owner or None, entry)
            if not revoked:
                await self.check_seen(policy, project or None, owner or None)
            return revoked

    async def change_owner(self, actor: Actor, policy: str, owner: str, change: OwnerChange) -> OwnerRecord:
        """Change what an owner may do, for the next request of each of its tokens."""
        async with self.refusals(actor, Action.CHANGE_OWNER, policy), self._kept():
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

    @asynccontextmanager
    async def _kept(self) -> AsyncIterator[None]:
        """Wait until the changes of the block are on the disk of the Redis that has made them. Raise NotKept."""
        server = await self._tokens.server()
        yield
        await self._tokens.keep(server)

    @asynccontextmanager
    async def refusals(self, actor: Actor, action: Action, policy: str = "", identity: str = "") -> AsyncIterator[None]:
        """Record a refused change, but no text of the request; its message has no token."""
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
            await self._audit.append_entry(msgspec.structs.replace(entry, outcome=refused.code))
            refused.is_noted = True
            raise

    async def _at(self, now: int | None) -> int:
        """Return when a change is made, in Unix seconds: the caller's time, if it used one, else the store's."""
        return await self._tokens.now() if now is None else now

    @asynccontextmanager
    async def _once(
        self, actor: Actor, policy: str, request: TokenRequest, key: str, identity: str
    ) -> AsyncIterator[None]:
        """Create the token under the idempotency key, if there is one. Raise CallRepeated if the key was used."""
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

    async def _create_each(
        self, actor: Actor, policy: Policy, records: Sequence[TokenRecord]
    ) -> list[ChangeRefused | None]:
        """Create tokens and return for each why it was refused, or None; one by one if they need names or numbers."""
        if not (policy.has_unique_names or policy.has_numbers):
            entries = [about_token(actor, Action.IMPORT, one, compare_records(None, one)) for one in records]
            refused = await self._tokens.create_each(list(zip(records, entries, strict=True)))
            await self._check_maker(*(one for one, why in zip(records, refused, strict=True) if why is None))
            return refused
        refusals: list[ChangeRefused | None] = []
        for record in records:
            try:
                await self._create(actor, Action.IMPORT, policy, record)
                refusals.append(None)
            except ChangeRefused as refused:
                refusals.append(refused)
        return refusals

    async def _refuse_row(self, actor: Actor, policy: str, row: ImportRow, refused: ChangeRefused) -> RowOutcome:
        """Record that a row was refused, and return so."""
        with suppress(ChangeRefused):
            async with self.refusals(actor, Action.IMPORT, policy):
                raise refused
        return RowOutcome(row.line, RowResult.REFUSED, name=self.mask(row.request.name), reason=str(refused))

    async def _check_maker(self, *made: TokenRecord) -> None:
        """Revoke tokens that were just created, and raise TokenEnded, if the token that created them is revoked by now.

        `revoke_with_made` revokes the maker first: so a token that it creates at the same time is either found then, or
        revoked here.
        """
        maker = made[0].made_by if made else ""
        if maker and (await self._tokens.are_revoked([maker]))[0]:
            await self._tokens.revoke_each(
                [one.identity for one in made], AuditEntry(actor=GATEWAY, action=Action.REVOKE)
            )
            raise TokenEnded(f"token {maker} was revoked meanwhile: it makes nothing any more")

    async def _replace(
        self, actor: Actor, action: Action, policy: Policy, old: TokenRecord, new: TokenRecord, now: int
    ) -> TokenRecord | None:
        """Return the record that is stored now, or None if it was changed meanwhile.

        Without changes, nothing is written.
        """
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
        """Return the result of `attempt` on the token, which returns None if the record was changed meanwhile.

        Raise TokenEnded if the token is revoked, and ChangedMeanwhile if it has not the `expected` version, or if all
        attempts fail.
        """
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
        """Return the token's owner and parent, as far as they bound it."""
        owner = await self._owners.find(record.policy, record.owner) if record.owner else None
        return Bounds(owner, await self._tokens.find(record.parent) if record.parent else None)

    def _draw(self, policy: Policy) -> bytes:
        return self._random_bytes(random_bytes_needed(policy.token_format))

    def _draws(self, policy: Policy) -> Iterator[bytes]:
        return iter(partial(self._draw, policy), b"")

    async def _record(self, identity: str) -> TokenRecord:
        record = await self._tokens.find(identity)
        if record is None:
            raise NotFound(why_not_found(identity))
        return record

    async def _view(self, records: Sequence[TokenRecord]) -> list[TokenView]:
        """Return the views of the records, as they are now: three or four questions, however many tokens."""
        identities = [record.identity for record in records]
        found = await self._tokens.find_each([record.parent for record in records if record.parent])
        parents = {parent.identity: parent for parent in found}
        asked = [*identities, *parents]
        revoked = dict(zip(asked, await self._tokens.are_revoked(asked), strict=True))
        plans = await self._owners.plans({(record.policy, record.owner) for record in records if record.owner})

        def bind(record: TokenRecord) -> TokenRecord:
            if record.policy == NAME:  # the command line makes these without policy files
                return record
            owners = plans.get((record.policy, record.owner), "")
            return bind_plan(record, self._policies.current.policies.get(record.policy), owners)

        now, views = await self._tokens.now(), list[TokenView]()
        for start in range(0, len(records), AT_ONCE):
            views += build_views(records[start : start + AT_ONCE], parents, revoked, now, bind)
            await asyncio.sleep(0)
        return views


def _why_not_imported(known: TokenRecord, record: TokenRecord, *, is_revoked: bool) -> ChangeRefused | None:
    """Return why a token that is there already cannot be imported; None if it is there as it should be."""
    if is_revoked:
        return ChangeRefused(f"token {record.identity} was revoked, for good: mint another one")
    differences = find_differences(known, record)
    if not differences:
        return None
    return ChangeRefused(f"token {record.identity} exists already, with another {', another '.join(differences)}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(tuple(value.items()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
