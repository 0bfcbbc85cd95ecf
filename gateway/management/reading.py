"""What there is to see of tokens, owners and the history."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.adapters.admin_protocols import Audit, Claims, Owners, Tokens
from gateway.core.admin_tokens import ADMIN, NAME
from gateway.core.audit import AuditEntry, AuditQuery
from gateway.core.decision import Deny, decide
from gateway.core.errors import ConfigurationError, NotFound
from gateway.core.explanation import build_facts
from gateway.core.masking import Masking
from gateway.core.outcomes import Authorized
from gateway.core.owners import OwnerRecord
from gateway.core.policies.rules import Policy, Rule
from gateway.core.records import TokenRecord
from gateway.core.token_views import TokenView, build_views, why_not_found
from gateway.core.tokens import MAXIMUM_TEXT_LENGTH, digest, token_id
from gateway.core.whoami import identity_rule
from gateway.exchange import PolicySource

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
            masking = Masking(())
        return masking.mask(text)

    def policies(self) -> list[Policy]:
        """Those of the moment, by name."""
        return [policy for _, policy in sorted(self._policies.current.policies.items())]

    def rules(self, policy: str) -> Sequence[Rule]:
        """A policy's rules; NotFound."""
        return self._policies.current.rules.get(self.policy(policy).name, ())

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
        standing = await self._tokens.standing(view.identity, rule, "")
        if standing is None or standing.record.digest != view.record.digest:
            return None
        verdict = decide(rule, build_facts(rule, standing))
        return None if isinstance(verdict, Deny) else Authorized(rule, verdict.record, verdict.facts)

    async def list_owners(self, policy: str) -> dict[str, OwnerRecord]:
        """The records of a policy's owners, by name. Owners without one are names only, and bound nothing."""
        return await self._owners.find_all(policy)

    async def show_owner(self, policy: str, owner: str) -> OwnerRecord | None:
        """The owner's record."""
        return await self._owners.find(policy, owner)

    async def search_audit(self, query: AuditQuery, limit: int = 100, before: str = "") -> list[AuditEntry]:
        """The entries that are meant, newest first, at most `limit`; `before` is the id of the last one seen."""
        return await self._audit.search(query, limit, before)

    async def _record(self, identity: str) -> TokenRecord:
        record = await self._tokens.find(identity)
        if record is None:
            raise NotFound(why_not_found(identity))
        return record

    async def _view(self, records: Sequence[TokenRecord]) -> list[TokenView]:
        """As they are now: two or three questions, however many tokens."""
        identities = [record.identity for record in records]
        found = await self._tokens.find_each([record.parent for record in records if record.parent])
        parents = {parent.identity: parent for parent in found}
        asked = [*identities, *parents]
        revoked = dict(zip(asked, await self._tokens.are_revoked(asked), strict=True))
        now, views = await self._tokens.now(), list[TokenView]()
        for start in range(0, len(records), AT_ONCE):
            views += build_views(records[start : start + AT_ONCE], parents, revoked, now)
            await asyncio.sleep(0)
        return views
