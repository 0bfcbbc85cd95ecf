"""Entity tags made from content, and which tag an answer carries.

They are weak: one tag stands for the same content in any encoding. They depend on the content alone, so every token,
worker and node makes the same one, also after a restart.
"""

import base64
import hashlib
from collections.abc import Sequence

from gateway.core.etags.canonical_json import canonical_json
from gateway.core.etags.canonical_text import canonical_rows, without_lines
from gateway.core.etags.canonical_xml import canonical_xml
from gateway.core.etags.ignoring import BY_VALUE, TagRule
from gateway.core.fields import is_entity_tag, parse_entity_tags, parse_media_type

TAG_BYTES = 16
"""128 bits: no two exports of a project will ever share a tag by chance."""
CSV_TYPES = frozenset({b"text/csv", b"application/csv", b"text/tab-separated-values"})


def build_weak_tag(content: bytes, content_type: bytes | None = None, rule: TagRule = BY_VALUE) -> bytes:
    """The weak entity tag of `content`: JSON by value, all else by its bytes, without what the rule ignores.

    Any content has a tag; what is not what its type says is taken by its bytes.
    """
    form, canonical = _canonical(content, parse_media_type(content_type), rule)
    digest = hashlib.blake2b(
        content if canonical is None else canonical,
        digest_size=TAG_BYTES,
        person=b"" if canonical is None else form,  # a canonical form is not mistaken for a content that is spelt so
    ).digest()
    return b'W/"' + base64.urlsafe_b64encode(digest).rstrip(b"=") + b'"'


def choose_tag(
    backend_tag: bytes | None, content: bytes, content_type: bytes | None, rule: TagRule, *, is_encoded: bool
) -> bytes:
    """The tag under which an answer is stored and sent.

    A backend's own passes unchanged, but for the strength it loses where the gateway encodes the content: a strong tag
    promises the same bytes to all (RFC 9110 8.8.1). One is made where the backend sent none, none that is well-formed
    (no client could ask with it), or one that the rule replaces.
    """
    if backend_tag is None or rule.replaces or not is_entity_tag(backend_tag):
        return build_weak_tag(content, content_type, rule)
    return weaken(backend_tag) if is_encoded else backend_tag


def weaken(tag: bytes) -> bytes:
    """The weak tag with the same opaque part."""
    return tag if tag.startswith(b"W/") else b"W/" + tag


def matches_weakly(if_none_match: Sequence[bytes], tag: bytes) -> bool:
    """Whether If-None-Match names the representation with `tag`, by weak comparison (RFC 9110 8.8.3.2, 13.1.2).

    A malformed list matches nothing: the client gets the whole answer, which is always right.
    """
    opaque = tag.removeprefix(b"W/")
    if len(if_none_match) == 1:  # nearly always, and then it needs no parser: it is our tag, or does not have it in it
        value = if_none_match[0]
        if value and value in (tag, opaque):
            return True
        if opaque not in value and b"*" not in value:
            return False
    tags = parse_entity_tags(if_none_match)
    if tags is None:
        return False
    return tags == [b"*"] or any(listed.removeprefix(b"W/") == opaque for listed in tags)


def _canonical(content: bytes, media_type: bytes, rule: TagRule) -> tuple[bytes, bytes | None]:
    """The name of the form in which the content is compared, and the form; None: the bytes as they are."""
    subtype = media_type.rpartition(b"/")[2]
    if subtype == b"json" or subtype.endswith(b"+json"):
        return b"json", canonical_json(content, rule.pointers)
    if subtype == b"xml" or subtype.endswith(b"+xml"):
        if rule.elements or rule.attributes:
            return b"xml", canonical_xml(content, rule.elements, rule.attributes)
        return b"", None
    is_csv = media_type in CSV_TYPES
    if rule.lines or (is_csv and rule.columns):
        lines = without_lines(content, rule.lines, is_csv=is_csv)
        rows = canonical_rows(lines, rule.columns) if is_csv and rule.columns else None
        return (b"lines", b"".join(lines)) if rows is None else (b"rows", rows)
    return b"", None
