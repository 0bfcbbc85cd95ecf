"""The terms of a rule for the admission script: JSON that is encoded once, when the policies are loaded."""

from itertools import groupby
from typing import Any

import msgspec

from gateway.core.policies.model import Allotment, Rule
from gateway.core.quotas.model import FIXED_WINDOW, Quota


def encode_script_rule(rule: Rule) -> bytes:
    """Encode a rule as adapters/scripts/admit.lua reads it."""
    return msgspec.json.encode(
        {
            "policy": rule.policy.name,
            "is_public": rule.is_public,
            "needed": [sorted(scopes) for scopes in rule.granting],
            "plans": {
                name: {"permits": name in rule.permitted_plans, **_script_allotment(allotment)}
                for name, allotment in rule.allotments.items()
            },
            "plan": rule.policy.first_plan,
            "own_plans": rule.policy.has_own_plans,
            "cost": rule.cost.reserved,
            "resolution": rule.policy.last_used_resolution_seconds,
            "shared_by": rule.cache.shared_by if rule.cache else "",
        }
    )


def encode_quota(quota: Quota) -> bytes:
    """Encode one quota as the settling script reads it."""
    return msgspec.json.encode(_script_quota(quota))


def _script_allotment(allotment: Allotment) -> dict[str, Any]:
    """Return the quotas of the token itself and, if there are some, those that it shares, by partition."""
    parts = {
        per: [_script_quota(quota) for quota in quotas]
        for per, quotas in groupby(allotment.quotas, lambda one: one.per)
    }
    own = {"quotas": parts.pop("token", [])}
    return {**own, "shared": list(parts.items())} if parts else own


def _script_quota(quota: Quota) -> list[str | int | bool]:
    """Return a quota by position, as adapters/scripts/quotas.lua names it.

    An enforced fixed window needs only the first three.
    """
    encoded: list[str | int | bool] = [quota.counter, quota.capacity, quota.window]
    if quota.algorithm != FIXED_WINDOW or quota.is_shadow:
        encoded += [quota.algorithm, quota.tick, quota.ticks, quota.limit, quota.field]
    if quota.is_shadow:
        encoded.append(True)
    return encoded
