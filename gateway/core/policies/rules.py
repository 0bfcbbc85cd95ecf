"""What a request meets: rules and policies compiled from the documents, everything looked up beforehand."""

import functools
from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.core.policies.matching import Matcher, Pattern
from gateway.core.quotas import Quota
from gateway.core.scopes import Scope, implied_by
from gateway.core.tokens import TokenFormat
from gateway.core.variants.options import VariantRule

Entitlement = Literal["project", "owner", "token", "public"]


class CredentialSource(msgspec.Struct, frozen=True):
    """A field that carries the credential; with the scheme Bearer (RFC 6750 2.1) or the bare text."""

    field: bytes
    is_bearer: bool


class Upstream(msgspec.Struct, frozen=True):
    """Where a policy's requests go. `url` has no trailing slash."""

    url: str
    connect_timeout_seconds: float
    response_timeout_seconds: float


class Plan(msgspec.Struct, frozen=True):
    """What the tokens of a plan may do, and how often."""

    held: frozenset[str] | None
    """The plan's scopes and all they imply; None: the plan restricts nothing."""
    quotas: tuple[Quota, ...]
    policy_field: bytes
    """The value of RateLimit-Policy, the same on every answer; empty without quotas."""

    def covers(self, scopes: tuple[str, ...]) -> bool:
        """Whether the plan lets a token use `scopes`."""
        return self.held is None or self.held.issuperset(scopes)


class CacheRule(msgspec.Struct, frozen=True):
    """How a rule's answers are kept."""

    fresh_seconds: int | None
    shared_by: Entitlement
    stale_if_error_seconds: int = 0


class Policy(msgspec.Struct, frozen=True):
    """One product's policy, shared by its rules."""

    name: str
    hosts: tuple[str, ...]
    """Empty: any host."""
    upstream: Upstream
    token_format: TokenFormat
    credentials: tuple[CredentialSource, ...]
    bound_to: Literal["project", "owner"]
    scopes: Mapping[str, Scope]
    scope_grants: Mapping[str, frozenset[str]]
    """For each scope, the scopes that grant it."""
    plans: Mapping[str, Plan]
    """By name; a policy without plans has one, named by the empty string."""
    last_used_resolution_seconds: int
    errors: Mapping[str, bytes]
    """Status or reason to the JSON content of the product's own dialect."""
    rule_count: int
    test_count: int

    def effective_scopes(self, scopes: str, plan: str) -> str:
        """What a token that holds `scopes` may use under its plan, implied scopes included where a plan restricts."""
        held = self.plans[plan].held
        if held is None:
            return scopes
        return " ".join(sorted(held & set[str]().union(*(implied_by(scope, self.scopes) for scope in scopes.split()))))


class Rule(msgspec.Struct, frozen=True):
    """A rule of a policy, ready to be decided on."""

    policy: Policy
    pattern: Pattern
    scopes: tuple[str, ...]
    granting: tuple[frozenset[str], ...]
    """For each required scope, the scopes that grant it."""
    permitted_plans: frozenset[str]
    """The plans whose scopes cover the rule's."""
    cost: int
    cache: CacheRule | None
    is_public: bool = False
    """Whether no credential is asked for."""
    project_segment: int | None = None
    """Where in the path the project stands that the request is about; None where it is not said."""
    variants: VariantRule | None = None
    """How its exports are made of one document; None: the backend's answers are passed on as they are."""
    terms: bytes = b""
    """The same as the admission script reads it: JSON."""

    def project_of(self, segments: tuple[str, ...]) -> str:
        """The project that a matching path names; empty where the rule says nothing of it."""
        return "" if self.project_segment is None else segments[self.project_segment]


class PolicySet:
    """All policies at one moment. A request takes one reference and keeps it to its end."""

    def __init__(self, policies: Mapping[str, Policy], matchers: Mapping[str | None, Matcher[Rule]]) -> None:
        self.policies = policies
        self._matchers = matchers
        # The same requests come again and again (builds pull the same exports): remember what they matched.
        self.match = functools.lru_cache(maxsize=1024)(self._match)

    def _match(self, host: str, method: str, segments: tuple[str, ...]) -> Rule | None:
        """The rule for a request; rules of policies that name the host come before those of any host."""
        for name in (host, None):
            matcher = self._matchers.get(name)
            rule = matcher.match(method, segments) if matcher else None
            if rule is not None:
                return rule
        return None
