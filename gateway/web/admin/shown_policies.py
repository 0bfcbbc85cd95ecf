"""What the management API gives of policies: what there is to choose from when a token is made."""

import msgspec

from gateway.core.policies.rules import Policy
from gateway.core.variants.offers import Offer


class ShownProject(msgspec.Struct, frozen=True):
    """A project that tokens are bound to."""

    project: str
    tokens: int
    """How many were ever made for it."""


class ShownProjects(msgspec.Struct, frozen=True):
    """The projects of a policy that have tokens."""

    projects: list[ShownProject]


class ShownScope(msgspec.Struct, frozen=True):
    """A scope that a policy knows."""

    name: str
    description: str
    implies: list[str]


class ShownPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to choose from when a token is made."""

    name: str
    bound_to: str
    scopes: list[ShownScope]
    plans: list[str]


class ShownPolicies(msgspec.Struct, frozen=True):
    """The policies of the moment."""

    policies: list[ShownPolicy]


class ShownOffers(msgspec.Struct, frozen=True):
    """What can be asked of each shaped rule of a policy."""

    exports: list[Offer]


def show_policy(policy: Policy) -> ShownPolicy:
    """A policy, for who makes tokens of it."""
    scopes = [ShownScope(name, scope.description, list(scope.implies)) for name, scope in policy.scopes.items()]
    return ShownPolicy(
        name=policy.name, bound_to=policy.bound_to, scopes=scopes, plans=[plan for plan in policy.plans if plan]
    )
