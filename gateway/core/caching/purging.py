"""What an operator names to be purged, the groups that it is, and its entry of the history."""

from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from gateway.core.audit import Action, Actor, AuditEntry, id_or_nothing
from gateway.core.caching.keys import WHOLE_POLICY, entitlement_group, is_bound, named_group, uri_group
from gateway.core.errors import ChangeRefused
from gateway.core.fields import parse_host
from gateway.core.policies.matching import Matcher
from gateway.core.policies.rules import Rule
from gateway.core.targets import parse_path


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly one of these."""

    url: str = ""
    group: str = ""
    project: str = ""
    owner: str = ""
    token: str = ""
    everything: bool = False


def find_groups(purge: Purge) -> list[str]:
    """The groups that end; ChangeRefused says what is wrong with what is named."""
    groups = [
        *([_group_of_url(purge.url)] if purge.url else []),
        *([named_group(purge.group)] if purge.group else []),
        *([entitlement_group("project", purge.project)] if purge.project else []),
        *([entitlement_group("owner", purge.owner)] if purge.owner else []),
        *([entitlement_group("token", purge.token)] if purge.token else []),
        *([WHOLE_POLICY] if purge.everything else []),
    ]
    if len(groups) != 1:
        raise ChangeRefused("name exactly one of url, group, project, owner, token, everything")
    return groups


def can_name(rules: Iterable[Rule], purge: Purge) -> bool:
    """Whether the rules can store something under the group or the URL that is named; groups of backends aside."""
    cached = [(rule, rule.cache) for rule in rules if rule.cache is not None]
    if purge.url:
        parts = urlsplit(purge.url)
        host, segments = parse_host(parts.netloc.encode("ascii", "replace")), parse_path(parts.path)
        matcher = Matcher[bool]()
        for rule, _ in cached:
            if not rule.policy.hosts or host in rule.policy.hosts:
                matcher.add(rule.pattern, True)
        return segments is not None and matcher.match("GET", segments) is not None
    return any(is_bound(template, purge.group) for _, cache in cached for template in cache.groups)


def about_purge(actor: Actor, policy: str, purge: Purge) -> AuditEntry:
    """What the history says of a purge: what was named, and how many exports have `ended`, which the store counts.

    Of a token only an id is kept: people paste a token's text in its place.
    """
    identity = id_or_nothing(purge.token)
    named = msgspec.structs.asdict(purge) | {"token": identity}
    return AuditEntry(
        actor=actor,
        action=Action.PURGE,
        policy=policy,
        target=identity,
        project=purge.project,
        owner=purge.owner,
        changes={what: (None, named[what]) for what in named if getattr(purge, what)} | {"ended": (None, 0)},
    )


def _group_of_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    host = parse_host(parts.netloc.encode("ascii", "replace"))
    if not host or not parts.path.startswith("/"):
        raise ChangeRefused(
            f"{url!r} is no URL of an export: write it with its host, such as http://app.example/export"
        )
    return uri_group(host, f"{parts.path}?{parts.query}" if parts.query else parts.path)
