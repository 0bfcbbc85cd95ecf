"""What is shown of owners."""

from typing import Any

import click

from gateway.core.errors import NotFound
from gateway.core.owners import OwnerRecord
from gateway.management import Management

policy_option = click.option("--policy", "policy_name", required=True, help="The policy whose tokens it owns.")


async def find(management: Management, policy: str, owner: str) -> tuple[OwnerRecord | None, int]:
    """The record, and how many tokens the owner has; NotFound where there is neither."""
    record, count = await management.show_owner(policy, owner), len(await management.list_tokens(policy, owner=owner))
    if record is None and not count:
        await management.check_seen(policy)
        raise NotFound(f"the policy {policy} has no owner {owner}")
    return record, count


def describe(owner: str, policy: str, record: OwnerRecord | None, tokens: int | None) -> dict[str, Any]:
    """All there is to know of an owner; one without a record is active, and its permissions are not bounded."""
    described = {
        "owner": owner,
        "policy": policy,
        "status": record.status if record else "active",
        "plan": record.plan or None if record else None,
        "permissions": {name: held.split() for name, held in sorted(record.permissions.items())} if record else None,
        "version": record.version if record else None,
    }
    return described if tokens is None else {**described, "tokens": tokens}
