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
    category: str | None
    implies: list[str]
    aliases: list[str]


class ShownBundle(msgspec.Struct, frozen=True):
    """Scopes that are often needed together."""

    name: str
    description: str
    scopes: list[str]


class ShownPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to choose from when a token is made."""

    name: str
    bound_to: str
    scopes: list[ShownScope]
    bundles: list[ShownBundle]
    plans: list[str]


class ShownPolicies(msgspec.Struct, frozen=True):
    """The policies of the moment."""

    policies: list[ShownPolicy]


class ShownOffers(msgspec.Struct, frozen=True):
    """What can be asked of each shaped rule of a policy."""

    exports: list[Offer]


def show_policy(policy: Policy) -> ShownPolicy:
    """A policy, for who makes tokens of it."""
    return ShownPolicy(
        name=policy.name,
        bound_to=policy.bound_to,
        scopes=[
            ShownScope(name, scope.description, scope.category or None, list(scope.implies), list(scope.aliases))
            for name, scope in policy.scopes.items()
        ],
        bundles=[ShownBundle(name, bundle.description, list(bundle.scopes)) for name, bundle in policy.bundles.items()],
        plans=[plan for plan in policy.plans if plan],
    )
