"""What the admission script reads of a rule: JSON that is encoded once, when the policies are loaded."""

import msgspec

from gateway.core.policies.rules import Rule
from gateway.core.quotas import Quota


def encode_terms(rule: Rule) -> bytes:
    """The terms of a rule, as adapters/scripts/admit.lua names them."""
    return msgspec.json.encode(
        {
            "policy": rule.policy.name,
            "is_public": rule.is_public,
            "needed": [sorted(scopes) for scopes in rule.granting],
            "plans": {
                name: {
                    "permits": name in rule.permitted_plans,
                    "quotas": [_quota_terms(quota) for quota in plan.quotas],
                }
                for name, plan in rule.policy.plans.items()
            },
            "cost": rule.cost,
            "resolution": rule.policy.last_used_resolution_seconds,
            "shared_by": rule.cache.shared_by if rule.cache else "",
        }
    )


def _quota_terms(quota: Quota) -> list[str | int]:
    """By position, as adapters/scripts/quotas.lua names them; a fixed window needs the first three only."""
    terms: list[str | int] = [quota.counter, quota.capacity, quota.window]
    if quota.algorithm != "fixed-window":
        terms += [quota.algorithm, quota.tick, quota.ticks, quota.limit]
    return terms
