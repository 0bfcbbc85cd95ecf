"""The key of one entry, and its groups.

Rule 1: an entry belongs to one entitlement. Two tokens of a project share it, two projects never do.
Rule 2: each part of a key has its length before it, so no path, query, host or name can be taken for another part.
Rule 3: every entry is in the groups of its policy, its entitlement and its URI. So purging, invalidation by unsafe
methods (RFC 9111 4.4) and by the backend's groups (RFC 9875) are one thing.
"""

import functools
import hashlib
import re

from gateway.core.cache.model import Selection, StoredHead
from gateway.core.http.fields import parse_string_list
from gateway.core.http.messages import Fields, RequestHead, field_values
from gateway.core.http.targets import parse_path
from gateway.core.policies.matching import bind_parameters
from gateway.core.policies.model import CacheRule, Entitlement, Rule
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id
from gateway.core.variants.model import RENDERING, InvalidOptions, Variant

WHOLE_POLICY = "all"
"""The group of all entries of a policy."""
MAXIMUM_GROUPS = 64
"""The most groups of one answer's Cache-Groups; RFC 9875 2.1 asks for 32 of at least 32 characters."""
MAXIMUM_GROUP_LENGTH = 256
PARAMETER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def is_cacheable(rule: Rule, head: RequestHead) -> bool:
    """Return whether the cache may answer the request at all."""
    return rule.cache is not None and head.method in ("GET", "HEAD") and not head.upgrade


def entitlement(cache: CacheRule, record: TokenRecord | None) -> str:
    """Return the entitlement that shares the exports of a rule; empty for a token without one, which shares none."""
    if cache.shared_by == "public":
        return "everybody"
    if record is None:
        return ""
    if cache.shared_by == "token":
        return token_id(record.digest)
    return record.project if cache.shared_by == "project" else record.owner


def export_key(rule: Rule, head: RequestHead, variant: Variant | InvalidOptions | None = None) -> str:
    """Return the key of a request's export within its entitlement; empty if no export can answer it.

    Scheme and authority are part of it as the backend gets them: its answer may link to them, or redirect from one
    scheme to the other. The admission script adds the entitlement as a prefix. For a rule with variants, the key has
    the variant, however the query spells it, the policy's form of the document, and the version of the renderers. It
    also has the groups that the rule names: an entry that another policy file stored is in other groups, where no purge
    of these would find it.
    """
    if rule.cache is None or not is_cacheable(rule, head) or isinstance(variant, InvalidOptions):
        return ""
    common = (rule.policy.name, rule.pattern.text, _digest(*rule.cache.groups), head.scheme, head.authority)
    if rule.variants is None or variant is None:
        return _digest(*common, rule.source or head.target)
    return _digest(*common, head.path, variant.identity, rule.variants.form.identity, RENDERING)


def variant_of(head: StoredHead) -> str:
    """Return the name of a variant of a URI (RFC 9111 4.1), from the request's values of the fields in Vary."""
    return selection_key(head.varying)


def selection_key(selection: Selection) -> str:
    """Return a short name for a request's values of some fields; an absent field differs from an empty one."""
    parts = [
        part.decode("latin-1") for name, value in selection for part in (name, b"" if value is None else b"=" + value)
    ]
    return _digest(*parts)[:16]


def named_group(name: str) -> str:
    """Return the group that a rule or the backend names."""
    return f"group:{name}"


def entitlement_group(shared_by: Entitlement, who: str) -> str:
    """Return the group of everything that a project, an owner or a token can reach."""
    return f"{shared_by}:{who}"


def uri_group(host: str, target: str) -> str:
    """Return the group of a URI, for all entitlements, schemes and ports: they are invalidated together.

    A host has no slash, and a target begins with one, so no two URIs have the same group.
    """
    return f"uri:{host}{target}"


def groups_of(rule: Rule, request: RequestHead, who: str, fields: Fields) -> tuple[str, ...]:
    """Return the groups of an answer with `fields` to the request: rule 3's, the rule's own and the backend's."""
    if rule.cache is None:
        return ()
    named = [*_bind(rule, request.path), *parse_groups(field_values(fields, b"cache-groups"))]
    own = [WHOLE_POLICY, entitlement_group(rule.cache.shared_by, who), uri_group(request.host, request.target)]
    if rule.variants is not None and request.query:
        own.append(uri_group(request.host, request.path))  # the document's group: its variants are purged with it
    return (*own, *(named_group(name) for name in dict.fromkeys(named)))


def parse_groups(values: list[bytes]) -> list[str]:
    """Return the groups of Cache-Groups or Cache-Group-Invalidation (RFC 9875 2, 3), none if it is malformed."""
    names = parse_string_list(values) or []
    return [name for name in names if name and len(name) <= MAXIMUM_GROUP_LENGTH][:MAXIMUM_GROUPS]


def is_bound(template: str, group: str) -> bool:
    """Return whether a rule's template yields the group for some path."""
    between = map(re.escape, PARAMETER.split(template)[::2])
    return re.fullmatch(".+".join(between), group, re.DOTALL) is not None


def _bind(rule: Rule, path: str) -> list[str]:
    if rule.cache is None or not rule.cache.groups:
        return []
    values = bind_parameters(rule.pattern, parse_path(path) or ())
    return [PARAMETER.sub(lambda match: values[match[1]], template) for template in rule.cache.groups]


@functools.lru_cache(maxsize=1024)
def _digest(*parts: str) -> str:
    encoded = [part.encode() for part in parts]
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in encoded)).hexdigest()
