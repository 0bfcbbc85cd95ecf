"""What there is to see of tokens, owners and the history."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.adapters.admin_protocols import Audit, Claims, Owners, Tokens
from gateway.adapters.protocols import PolicySource
from gateway.core.admin_tokens import ADMIN, NAME
from gateway.core.audit import ACTIONS, AuditEntry, AuditQuery
from gateway.core.decision import Deny, Verdict, decide
from gateway.core.errors import ConfigurationError, NotFound
from gateway.core.explanation import build_facts
from gateway.core.masking import NO_POLICIES
from gateway.core.outcomes import Authorized
from gateway.core.owners import OwnerRecord, bind_plan
from gateway.core.pages.reach import Reach
from gateway.core.policies.reading import unknown_name
from gateway.core.policies.rules import Policy, Rule
from gateway.core.reasons import Reason
from gateway.core.records import TokenRecord, newest_first
from gateway.core.token_views import TokenView, build_views, why_not_found
from gateway.core.tokens import MAXIMUM_TEXT_LENGTH, digest, token_id
from gateway.core.whoami import identity_rule

AT_ONCE = 1000
"""Tokens that are looked at in one go: others who wait for this process wait for milliseconds."""


class Reading:
    """What Management shows. `random_bytes` gives so many; `pepper` is that of the exchange."""

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
        """The policy of a name, the admin tokens' own included; NotFound where there is none."""
        if name == NAME:
            return ADMIN
        known = self._policies.current.policies
        if name not in known:
            raise NotFound(f"no policy is named {self.mask(name)!r}: there are {', '.join(sorted(known))}")
        return known[name]

    def mask(self, text: str) -> str:
        """Return the text without what looks like a token in it; where no policy can be read, one of our own making."""
        try:
            masking = self._policies.current.masking
        except ConfigurationError:
            masking = NO_POLICIES
        return masking.mask(text)

    def policies(self) -> list[Policy]:
        """Those of the moment, by name."""
        return [policy for _, policy in sorted(self._policies.current.policies.items())]

    def rules(self, policy: str) -> Sequence[Rule]:
        """A policy's rules; NotFound."""
        return self._policies.current.rules.get(self.policy(policy).name, ())

    def known_rules(self, policy: str) -> Sequence[Rule]:
        """A policy's rules; none where it is in no file."""
        return self._policies.current.rules.get(policy, ())

    async def list_projects(self, policy: str) -> dict[str, int]:
        """The projects that tokens were ever made for, and how many; NotFound."""
        return await self._tokens.projects(self.policy(policy).name)

    async def now(self) -> int:
        """Unix seconds by the store's clock, which all times of tokens are by."""
        return await self._tokens.now()

    async def list_tokens(
        self, policy: str | None, project: str | None = None, owner: str | None = None
    ) -> list[TokenView]:
        """The tokens that agree with what is given, newest first. Without project and owner all tokens are scanned."""
        return await self._view(await self._tokens.find_all(policy, project, owner))

    async def list_known(
        self, policy: str | None, project: str | None = None, owner: str | None = None, maker: str | None = None
    ) -> list[TokenView]:
        """The same; NotFound where one of them was never seen, which is a slip rather than an empty list.

        If a `maker` is given, of what was made with that token.
        """
        if maker is None:
            views = await self.list_tokens(policy, project, owner)
        else:
            meant = Reach(policy, project, owner)
            views = [view for view in await self.list_made(maker) if meant.covers(view.record)]
        if not views:
            await self.check_seen(policy, project, owner)
        return views

    async def check_seen(self, policy: str | None, project: str | None = None, owner: str | None = None) -> None:
        """NotFound where no policy has the name, or no token or owner was ever seen of what is named.

        A policy that is in no file any more is known by the tokens that it has left.
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
        """The token of an id; NotFound where there is none."""
        return (await self._view([await self._record(identity)]))[0]

    async def show_token(self, identity: str) -> TokenView | None:
        """The token of an id."""
        record = await self._tokens.find(identity)
        return None if record is None else (await self._view([record]))[0]

    async def show_number(self, policy: str, number: int) -> TokenView | None:
        """The token of a number."""
        record = await self._claims.find_number(policy, number)
        return None if record is None else (await self._view([record]))[0]

    async def list_children(self, identity: str) -> list[TokenView]:
        """The children of a token, newest first."""
        return await self._view(await self._tokens.children(identity))

    async def list_made(self, identity: str, most: int | None = None) -> list[TokenView]:
        """What was made with a token, and with what was made with it, newest first; NotFound.

        If `most` is given, not much more than so many are looked for: an admin token can have made a million.
        """
        await self._record(identity)
        seen, pending = {identity}, {identity}
        while pending and (most is None or len(seen) <= most):
            pending = await self._tokens.made_with(sorted(pending), None if most is None else most + 1) - seen
            seen |= pending
        return await self._view(newest_first(await self._tokens.find_each(sorted(seen - {identity}))))

    async def list_lineage(self, identity: str) -> list[TokenView]:
        """The token with all that it was rotated from and to, as far as their records are there; NotFound."""
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
        """The token of a presented text, of whatever policy and in whatever state; None for a text of none."""
        if not text or len(text) > MAXIMUM_TEXT_LENGTH or not text.isascii():
            return None
        presented = digest(text, self._pepper)
        view = await self.show_token(token_id(presented))
        return view if view is not None and view.record.digest == presented else None

    async def identify(self, text: str) -> Authorized | None:
        """The token of a presented text, as it would be let in by a rule that asks for nothing else; None if not."""
        view = await self.find_presented(text)
        if view is None or view.record.policy not in self._policies.current.policies:
            return None
        rule = identity_rule(self.policy(view.record.policy))
        verdict = await self.examine(view.identity, lambda _: rule)
        return None if isinstance(verdict, Deny) else Authorized(rule, verdict.record, verdict.facts)

    async def examine(self, identity: str, find_rule: Callable[[TokenRecord], Rule | None]) -> Verdict:
        """The verdict on a token, quotas aside, by the rule that its record leads to; without one it is unknown."""
        standing = await self._tokens.standing(identity, None, "")
        rule = find_rule(standing.record) if standing else None
        if standing is None or rule is None:
            return Deny(Reason.UNKNOWN_TOKEN)
        return decide(rule, build_facts(rule, standing))

    async def list_owners(self, policy: str) -> dict[str, OwnerRecord]:
        """The records of a policy's owners, by name; NotFound. Owners without one are names only, and bound nothing."""
        owners = await self._owners.find_all(policy)
        if not owners:
            await self.check_seen(policy)
        return owners

    async def show_owner(self, policy: str, owner: str) -> OwnerRecord | None:
        """The owner's record."""
        return await self._owners.find(policy, owner)

    async def search_audit(self, query: AuditQuery, limit: int = 100, before: str = "") -> list[AuditEntry]:
        """The entries that are meant, newest first, at most `limit`; `before` is the id of the last one seen."""
        return await self._audit.search(query, limit, before)

    async def ask_audit(self, query: AuditQuery, limit: int = 100, before: str = "") -> list[AuditEntry]:
        """The same; NotFound where what is named was never seen, and the history does not know it either."""
        if query.action not in (None, *ACTIONS):
            raise NotFound(unknown_name("action", query.action or "", sorted(ACTIONS)))
        entries = await self.search_audit(query, limit, before)
        if not entries and not before:
            await self.check_seen(query.policy, query.project, query.owner)
            if query.target is not None and await self._tokens.find(query.target) is None:
                raise NotFound("there is no token of this id, nor any entry about one")
        return entries

    async def _record(self, identity: str) -> TokenRecord:
        record = await self._tokens.find(identity)
        if record is None:
            raise NotFound(why_not_found(identity))
        return record

    async def _view(self, records: Sequence[TokenRecord]) -> list[TokenView]:
        """As they are now: three or four questions, however many tokens."""
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
