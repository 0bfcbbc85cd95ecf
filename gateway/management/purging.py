"""Purges of stored exports, by command line and API: the names must be possible ones."""

from gateway.adapters.ports import Exports
from gateway.core.cache.invalidation import Purge, about_purge, can_name, find_groups
from gateway.core.errors import NotFound
from gateway.core.tokens.audit import Action, Actor, id_or_nothing
from gateway.management.management import Management


async def purge(management: Management, exports: Exports, actor: Actor, policy: str, meant: Purge) -> int:
    """Purge the matching exports of a policy, with an entry in the history. Return how many there were.

    Raise ChangeRefused if the names are unclear, and NotFound for a name that was never seen: a slip would purge
    nothing, and report success.
    """
    async with management.refusals(actor, Action.PURGE, policy):
        (group,) = find_groups(meant)
        if not await exports.is_seen(policy, group):
            await _check(management, policy, meant)
    return await exports.purge(policy, [group], about_purge(actor, policy, meant))


async def _check(management: Management, policy: str, meant: Purge) -> None:
    """Raise NotFound if nothing can be stored under the name."""
    await management.check_seen(policy, meant.project or None, meant.owner or None)
    if meant.token and await management.show_token(id_or_nothing(meant.token)) is None:
        raise NotFound("there is no token of this id")
    if (meant.url or meant.group) and not can_name(management.known_rules(policy), meant):
        what = f"the URL {meant.url}" if meant.url else f"the group {meant.group!r}"
        raise NotFound(
            f"nothing is stored under {what}, and no rule of {policy} that is known here could store it there"
        )
