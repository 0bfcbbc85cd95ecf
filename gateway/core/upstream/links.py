"""Addresses in a backend's answer: its own are replaced by the public ones.

Rule 1: its own are the addresses of the policy's targets and the Host that it gets. So is the public address with http
if the client used https: a backend behind plain HTTP cannot know.
Rule 2: a path is translated back through the path of the target's URL and through `rewrite`. A path without a public
path is left unchanged, and so is everything that is not the backend's own.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

import msgspec

from gateway.core.http.fields import DEFAULT_PORTS, parse_authority
from gateway.core.http.messages import RequestHead, ResponseHead
from gateway.core.policies.model import CLIENT_HOST, TARGET_HOST, UNIX, Upstream
from gateway.core.upstream.forwarding import restore_path, rewrite_target

# link-value = "<" URI-Reference ">" *( OWS ";" OWS link-param ), RFC 8288 3; a quoted string may have brackets in it,
# and some backends (datasette 0.65) write the reference without any
_LINK = re.compile(r'("(?:[^"\\]|\\.)*")|(<)([^>]*)(>)|(\A\s*|,\s*)([^<>",;\s]+)')
# delay-seconds and the target, as in HTML ("shared declarative refresh steps")
_REFRESH = re.compile(r"""(\s*[0-9.]*\s*[;,]\s*(?:url\s*=\s*)?["']?)([^"']*)(.*)""", re.IGNORECASE | re.DOTALL)


class Own(msgspec.Struct, frozen=True):
    """The addresses that a backend takes for its own."""

    authorities: frozenset[str]
    hosts: frozenset[str]
    """The authorities without ports: cookies have none."""
    bases: tuple[str, ...]
    """The paths of the targets' URLs, the longest first."""
    is_plain: bool
    """Whether it is reached by http."""


class Way(msgspec.Struct, frozen=True):
    """One request on its way: how the client asked, and how the backend was asked."""

    scheme: str
    authority: str
    host: str
    path: str
    inner_path: str
    """The path after `rewrite`."""
    upstream: Upstream
    own: Own


def publish(head: ResponseHead, request: RequestHead, target: str, upstream: Upstream) -> ResponseHead:
    """Return a backend's answer to a request for `target`, with public addresses instead of its own."""
    if not upstream.targets or all(name not in NAMING for name, _ in head.fields):
        return head
    path = target.partition("?")[0]
    inner_path = path if upstream.rewrite is None else rewrite_target(path, upstream.rewrite)
    own = _find_own(upstream)
    way = Way(request.scheme, request.authority, request.host, path, inner_path, upstream, own)
    return ResponseHead(
        head.status,
        [
            (name, NAMING[name](value.decode("latin-1"), way).encode("latin-1")) if name in NAMING else (name, value)
            for name, value in head.fields
        ],
    )


def publish_reference(reference: str, way: Way) -> str:
    """Return a URI reference (RFC 3986 4.1) of a backend as clients can use it."""
    try:
        url = urlsplit(reference)
        authority = _authority_of(url)
    except ValueError:
        return reference
    if url.scheme not in ("", "http", "https"):
        return reference
    if not url.netloc:
        return _publish_path(reference, url, way)
    is_told = authority == way.authority
    if not is_told and authority not in way.own.authorities:
        return reference
    path = _find_public_path(url.path or "/", way)
    if path is None:
        return reference
    scheme = way.scheme
    if is_told:  # it names the public address: only the scheme that it cannot know is corrected
        scheme = "https" if way.scheme == "https" and way.own.is_plain else url.scheme
        if (scheme, path) == (url.scheme, url.path or "/"):
            return reference
    return url._replace(scheme=scheme, netloc=way.authority, path=path).geturl()


def _publish_path(reference: str, url: SplitResult, way: Way) -> str:
    """Return a reference without a host as clients can use it.

    Clients resolve it by the public path, but the backend meant its own.
    """
    base = way.own.bases[-1] if len(way.own.bases) == 1 else ""
    path = _find_public_path(_resolve(base + way.inner_path, url.path), way) if url.path else None
    if path is None or path == _resolve(way.path, url.path):
        return reference
    return url._replace(path=path).geturl()


def _resolve(base: str, path: str) -> str:
    """Return the path that a relative one means at `base`; too many `..` end at the root (RFC 3986 5.2.4)."""
    joined = urljoin(base, path)
    return joined if joined.startswith("/") else f"/{joined}"


def publish_cookie(cookie: str, way: Way) -> str:
    """Return a Set-Cookie (RFC 6265 4.1) with public Domain and Path. A Path of `/` matches everything and is kept."""
    pair, *attributes = cookie.split(";")
    return ";".join([pair, *(_publish_attribute(attribute, way) for attribute in attributes)])


def _publish_attribute(attribute: str, way: Way) -> str:
    name, equals, value = attribute.partition("=")
    kind, told = name.strip().lower(), value.strip()
    if kind == "domain" and told.lower().lstrip(".") in way.own.hosts:
        return f"{name}{equals}{way.host}"
    if kind == "path" and told.startswith("/") and told != "/":
        return f"{name}{equals}{_find_public_path(told, way) or told}"
    return attribute


def publish_links(value: str, way: Way) -> str:
    """Return a Link field (RFC 8288 3) with public targets."""
    return _LINK.sub(lambda match: _publish_link(match, way), value)


def _publish_link(match: re.Match[str], way: Way) -> str:
    text, opening, bracketed, closing, before, bare = match.groups(default="")
    if text:
        return text
    return opening + before + publish_reference(bracketed or bare, way) + closing


def publish_refresh(value: str, way: Way) -> str:
    """Return a Refresh field with a public address."""
    match = _REFRESH.fullmatch(value)
    return f"{match[1]}{publish_reference(match[2], way)}{match[3]}" if match and match[2] else value


NAMING: Mapping[bytes, Callable[[str, Way], str]] = {
    b"location": publish_reference,
    b"content-location": publish_reference,
    b"link": publish_links,
    b"refresh": publish_refresh,
    b"set-cookie": publish_cookie,
}
"""The fields of an answer that name addresses."""


@functools.lru_cache(maxsize=1024)
def _find_own(upstream: Upstream) -> Own:
    urls = [urlsplit("http://localhost" if url.startswith(UNIX) else url) for url in upstream.targets]
    names = [(url.netloc, url.scheme) for url in urls]
    if upstream.host not in (CLIENT_HOST, TARGET_HOST):
        names += [(upstream.host, scheme) for scheme in DEFAULT_PORTS]
    found = [pair for name, scheme in names if (pair := parse_authority(name.encode("latin-1"), scheme))]
    return Own(
        authorities=frozenset(authority for _, authority in found),
        hosts=frozenset(host for host, _ in found),
        bases=tuple(sorted({url.path for url in urls}, key=len, reverse=True)),
        is_plain=any(url.scheme == "http" for url in urls),
    )


def _authority_of(url: SplitResult) -> str:
    """Return host and port in their normal form; empty if the URL has none."""
    scheme = url.scheme if url.scheme in DEFAULT_PORTS else "http"
    found = parse_authority(url.netloc.encode("latin-1"), scheme)
    return found[1] if found else ""


def _find_public_path(path: str, way: Way) -> str | None:
    """Return the public path that leads to a path of the backend, or None."""
    inner = _without_base(path, way.own.bases)
    rewrite = way.upstream.rewrite
    if inner is None or rewrite is None:
        return inner
    return restore_path(inner, rewrite, is_rewritten=way.inner_path != way.path)


def _without_base(path: str, bases: Sequence[str]) -> str | None:
    for base in bases:
        if path == base or path.startswith(f"{base}/"):
            return path[len(base) :] or "/"
    return None
