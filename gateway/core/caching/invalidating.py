"""What an answer to an unsafe request ends (RFC 9111 4.4, RFC 9875 3)."""

from urllib.parse import urljoin, urlsplit

from gateway.core.caching.keys import named_group, parse_groups, uri_group
from gateway.core.fields import DEFAULT_PORTS, parse_authority
from gateway.core.messages import Field, RequestHead, ResponseHead, field_value, field_values
from gateway.core.policies.rules import Policy

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 9.2.1; of a method that is not known here nothing can be promised."""


def find_invalidated(policy: Policy, request: RequestHead, head: ResponseHead) -> tuple[str, ...]:
    """The groups whose entries an answer ends; none for a safe method or an error.

    These are the target URI, those of Location and Content-Location where they are of the same origin, and the groups
    of Cache-Group-Invalidation. The backend of a policy is one origin, whichever of its hosts a client used.
    """
    if not policy.has_cache or request.method in SAFE_METHODS or not 200 <= head.status < 400:
        return ()
    targets = [request.target, *_own_targets(request, head.fields)]
    groups = parse_groups(field_values(head.fields, b"cache-group-invalidation"))
    uris = [uri_group(request.host, target) for target in dict.fromkeys(targets)]
    return (*uris, *(named_group(group) for group in groups))


def _own_targets(request: RequestHead, fields: list[Field]) -> list[str]:
    """The targets of Location and Content-Location: by now they name public addresses (core/links.py)."""
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
