"""Token exchange (RFC 8693): an ID token of a CI provider for a token of some minutes, so that no secret is stored.

Rule 1: each refusal is in the log, with the claim that failed and its value, never with the ID token. The client learns
what core/trust/checking.py lets it know.
Rule 2: the first trust that is met counts, in the order of the policies' names and of their files.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from gateway.adapters.ports import PolicySource
from gateway.core.errors import ChangeRefused, IssuerUnavailable
from gateway.core.policies.model import Policy, policies_of
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import MAXIMUM_NAME_LENGTH
from gateway.core.trust.checking import (
    NO_TRUST,
    ClaimMistake,
    find_mistake,
    find_time_mistake,
    nearest,
    remembered_until,
)
from gateway.core.trust.id_token import IdToken
from gateway.core.trust.messages import ExchangeRefused, ExchangeRequest
from gateway.core.trust.model import Trust, fill
from gateway.management.management import Management

ISSUER_RETRY_SECONDS = 10
"""Retry-After while an issuer does not show its keys: about as long as it is not asked again."""

logger = logging.getLogger(__name__)


class Verifier(Protocol):
    """Verifies ID tokens: adapters/outside/id_tokens.py."""

    async def verify(self, text: str, issuers: Collection[str]) -> IdToken | ClaimMistake:
        """Return the ID token if one of `issuers` has signed it, else what is wrong. Raise IssuerUnavailable."""
        ...


class Exchanged(msgspec.Struct, frozen=True):
    """The token that a job got, and its text."""

    policy: Policy
    record: TokenRecord
    text: str
    now: int
    """Unix seconds by the store's clock."""

    def __repr__(self) -> str:
        return f"Exchanged({self.record!r})"


class TokenExchange:
    """Exchanges ID tokens for tokens of the policies that trust them."""

    def __init__(self, policies: PolicySource, id_tokens: Verifier, management: Management) -> None:
        self._policies = policies
        self._id_tokens = id_tokens
        self._management = management

    async def exchange(
        self, asked: ExchangeRequest, host: str, client: str, request_id: str
    ) -> Exchanged | ExchangeRefused:
        """Return the token for a job, or the refusal. `client` is its address. Raise StoreUnavailable."""
        here = sorted(policies_of(self._policies.current, host), key=lambda policy: policy.name)
        trusting = [policy for policy in here if policy.trusts and asked.policy in ("", policy.name)]
        if not trusting:
            return ExchangeRefused(
                "invalid_target", "No policy of this host and this name (audience) trusts an issuer."
            )
        issuers = frozenset(trust.issuer for policy in trusting for trust in policy.trusts)
        try:
            verified = await self._id_tokens.verify(asked.subject_token, issuers)
        except IssuerUnavailable as error:
            logger.warning("token exchange %s: the issuer's keys are not known: %s", request_id, error)
            told = "The gateway cannot verify ID tokens of this issuer at the moment; retry later."
            return ExchangeRefused("temporarily_unavailable", told, 503, ISSUER_RETRY_SECONDS)
        if isinstance(verified, ClaimMistake):
            return _refuse(request_id, verified, is_proven=False)
        now = await self._management.now()
        mistake = find_time_mistake(verified.claims, now)
        if mistake is not None:
            return _refuse(request_id, mistake)
        return await self._grant(asked, trusting, verified, now, client, request_id)

    async def _grant(
        self,
        asked: ExchangeRequest,
        trusting: Sequence[Policy],
        id_token: IdToken,
        now: int,
        client: str,
        request_id: str,
    ) -> Exchanged | ExchangeRefused:
        mistakes: list[ClaimMistake] = []
        for policy in trusting:
            for trust in policy.trusts:
                if trust.issuer == id_token.issuer:
                    mistake = find_mistake(trust, id_token.claims)
                    if mistake is None:
                        return await self._create(asked, policy, trust, id_token, now, client, request_id)
                    mistakes.append(mistake)
        for mistake in mistakes:
            _refuse(request_id, mistake)
        return ExchangeRefused("invalid_grant", nearest(mistakes))

    async def _create(
        self,
        asked: ExchangeRequest,
        policy: Policy,
        trust: Trust,
        id_token: IdToken,
        now: int,
        client: str,
        request_id: str,
    ) -> Exchanged | ExchangeRefused:
        scopes = policy.own_scopes(asked.scopes).split() or list(trust.scopes)
        unknown = [scope for scope in scopes if scope not in trust.scopes]
        if unknown:
            known = [repr(scope) for scope in unknown if scope in policy.scopes]
            what = f"scope {known[0]}" if known else "a scope that the policy does not have"  # it may be a token
            logger.warning("token exchange %s: %s is not granted", request_id, what)
            return ExchangeRefused("invalid_scope", "The job is not granted all scopes that it asks for.")
        claims, until = id_token.claims, remembered_until(id_token.claims)
        named = fill(trust.names, claims) or ""  # a workflow's name may have line breaks
        name = "".join([one if one.isprintable() else " " for one in named])[:MAXIMUM_NAME_LENGTH]
        request = TokenRequest(
            name=name,
            project=fill((trust.project,), claims) or "",
            owner=fill((trust.owner,), claims) or "",
            scopes=tuple(scopes),
            plan=trust.plan,
            expires_at=now + trust.lifetime_seconds,
        )
        actor = Actor(name, "job", address=client)
        lineage = (trust.issuer, fill(trust.lineages, claims) or "")
        try:
            created = await self._management.create_for_job(
                actor, policy, request, lineage, id_token.digest, until - now, now
            )
        except ChangeRefused as refused:
            logger.warning("token exchange %s: %s", request_id, refused)
            return ExchangeRefused("invalid_grant", NO_TRUST)
        if created is None:
            told = "The ID token was exchanged already: each is good for one token."
            return _refuse(request_id, ClaimMistake("jti", repr(claims.get("jti"))[:64], "it was used before", told))
        return Exchanged(policy, created[1], created[0], now)


def _refuse(request_id: str, mistake: ClaimMistake, *, is_proven: bool = True) -> ExchangeRefused:
    """Return the refusal, and log which claim failed."""
    logger.warning(
        "token exchange %s refused: %s of the ID token is %s: %s",
        request_id,
        mistake.claim,
        mistake.value,
        mistake.problem,
    )
    return ExchangeRefused("invalid_grant", mistake.told, is_guess=not is_proven)
