"""Entity tags (RFC 9110 8.8.3) made from content.

They are weak: one tag stands for the same content in any encoding. They depend on the content alone, so every token,
worker and node makes the same one, also after a restart.
"""

import base64
import hashlib
from collections.abc import Iterable

from gateway.core.fields import parse_entity_tags

TAG_BYTES = 16
"""128 bits: no two exports of a project will ever share a tag by chance."""


def build_weak_tag(content: bytes) -> bytes:
    """The weak entity tag of `content`."""
    opaque = base64.urlsafe_b64encode(hashlib.blake2b(content, digest_size=TAG_BYTES).digest()).rstrip(b"=")
    return b'W/"' + opaque + b'"'


def matches_weakly(if_none_match: Iterable[bytes], tag: bytes) -> bool:
    """Whether If-None-Match names the representation with `tag`, by weak comparison (RFC 9110 8.8.3.2, 13.1.2).

    A malformed list matches nothing: the client gets the whole answer, which is always right.
    """
    tags = parse_entity_tags(if_none_match)
    if tags is None:
        return False
    opaque = tag.removeprefix(b"W/")
    return tags == [b"*"] or any(listed.removeprefix(b"W/") == opaque for listed in tags)
