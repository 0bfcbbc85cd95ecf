"""The stored responses that an answer to an unsafe request invalidates (RFC 9111 4.4, RFC 9875 3), and purges.

A purge is what an operator names, the groups that it stands for, and its entry in the history.
"""

from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

import msgspec

from gateway.core.cache.keys import WHOLE_POLICY, entitlement_group, is_bound, named_group, parse_groups, uri_group
from gateway.core.errors import ChangeRefused
from gateway.core.http.fields import DEFAULT_PORTS, parse_authority, parse_host
from gateway.core.http.messages import Field, RequestHead, ResponseHead, field_value, field_values
from gateway.core.http.targets import parse_path
from gateway.core.policies.matching import Matcher
from gateway.core.policies.model import Policy, Rule
from gateway.core.tokens.audit import Action, Actor, AuditEntry, id_or_nothing

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The safe methods (RFC 9110 9.2.1); an unknown method counts as unsafe."""


def find_invalidated(policy: Policy, request: RequestHead, head: ResponseHead) -> tuple[str, ...]:
    """Return the groups whose entries an answer invalidates; empty for a safe method or an error.

    These are the target URI, those of Location and Content-Location if they are of the same origin, and the groups of
    Cache-Group-Invalidation. The backend of a policy is one origin, whichever of its hosts a client used.
    """
    if not policy.has_cache or request.method in SAFE_METHODS or not 200 <= head.status < 400:
        return ()
    targets = [request.target, *_own_targets(request, head.fields)]
    groups = parse_groups(field_values(head.fields, b"cache-group-invalidation"))
    uris = [uri_group(request.host, target) for target in dict.fromkeys(targets)]
    return (*uris, *(named_group(group) for group in groups))


def _own_targets(request: RequestHead, fields: list[Field]) -> list[str]:
    """Return the targets of Location and Content-Location.

    By now they name public addresses (core/upstream/links.py).
    """
    targets = []
    for name in (b"location", b"content-location"):
        value = field_value(fields, name)
        if value is None:
            continue
        try:
            url = urlsplit(urljoin(f"{request.scheme}://{request.authority}{request.target}", value.decode("latin-1")))
        except ValueError:
            continue  # no URI
        named = parse_authority(url.netloc.encode("latin-1"), url.scheme) if url.scheme in DEFAULT_PORTS else None
        if named is not None and named[1] == request.authority:
            targets.append(f"{url.path}?{url.query}" if url.query else url.path)
    return targets


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """The request of a purge: exactly one of these is set."""

    url: str = ""
    group: str = ""
    project: str = ""
    owner: str = ""
    token: str = ""
    everything: bool = False


def find_groups(purge: Purge) -> list[str]:
    """Return the groups to purge. Raise ChangeRefused that says what is wrong."""
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
    """Return whether the rules can store anything under the group or the URL, apart from groups of backends."""
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
    """Build the history's entry of a purge: what was named, and how many exports `ended`, which the store counts.

    For a token only an id is kept: people paste a token's text there.
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
