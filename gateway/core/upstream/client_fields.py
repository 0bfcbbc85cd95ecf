"""The fields of a client that reach a backend. `never_passes` decides; nothing else does.

Rule 1: names are compared folded: without every byte that is no letter or digit. CGI writes such bytes as `_`, so many
backends take `X.Gateway.Owner` for X-Gateway-Owner (RFC 3875 4.1.18).
Rule 2: a client never sets what the gateway sets.
Rule 3: a field by which a backend would see another request than the one that was decided on does not pass, unless the
policy names it in `pass_fields`.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from gateway.core.http.tracing import PARENT_FIELD, STATE_FIELD

MAXIMUM_REMEMBERED = 4096
"""The most names whose result is cached. Clients choose names, so the cache is bounded, in number and in length."""
MAXIMUM_REMEMBERED_LENGTH = 64

IDENTITY_FIELDS = (
    b"x-gateway-token-id",
    b"x-gateway-token-name",
    b"x-gateway-project",
    b"x-gateway-owner",
    b"x-gateway-scopes",
)
"""The fields that say who asks. All of them are sent with every request, empty if there is no value."""
ASSERTION_FIELD = b"x-gateway-assertion"
"""The signed statement of who asks (core/http/assertions.py)."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",  # not a standard, but sent: treated as Connection
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields about one connection, not about the message (RFC 9110 7.6.1)."""

SET_BY_GATEWAY = frozenset(
    {
        b"host",
        b"expect",  # 100 (Continue) has been sent by our server already
        b"forwarded",
        PARENT_FIELD,
        STATE_FIELD,
        b"max-forwards",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-request-id",
    }
)
"""Fields that the gateway sets: a client's values could not be distinguished from its own."""

MISLEADING = frozenset(
    {
        # The method: Rack::MethodOverride, Symfony, ASP.NET Core's HttpMethodOverride, Express' method-override.
        b"x-http-method-override",
        b"x-http-method",
        b"x-method-override",
        # The path: IIS URL Rewrite, Yii and laminas read the first two (CVE-2018-14773 in Symfony), ingress-nginx and
        # forward-auth servers the next two, gunicorn Script-Name and Path-Info, mod_wsgi X-Script-Name.
        b"x-original-url",
        b"x-rewrite-url",
        b"x-original-uri",
        b"x-original-method",
        b"script-name",
        b"path-info",
        b"x-script-name",
        # The host: Yii reads the first, mod_wsgi the second.
        b"x-original-host",
        b"x-host",
        # The scheme: mod_wsgi and many a WSGI middleware; Yii and older gunicorn for the last.
        b"x-scheme",
        b"x-https",
        b"x-url-scheme",
        b"front-end-https",
        # The client's address: nginx' realip examples and mod_wsgi, Rails for Client-IP, CDNs and the libraries that
        # read what these say (request-ip).
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
        # The client's certificate (RFC 9440 4).
        b"client-cert",
        b"client-cert-chain",
        # The proxy of the backend's own requests (CVE-2016-5385), and where it leaves files for a proxy to send
        # (Rack::Sendfile, CVE-2025-61780).
        b"proxy",
        b"x-sendfile-type",
        b"x-accel-mapping",
    }
)
"""Fields that frameworks trust, with their names; in addition, all that begin with X-Forwarded or Forwarded."""

_ODD = bytes(set(range(256)) - set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
_LOWER = bytes(range(256)).lower()
_IDENTITY = b"xgateway"
_FORWARDED = (b"xforwarded", b"forwarded")
_LENGTH = b"content-length"
"""The one field that frames a message and passes, and only in this spelling."""

Found = TypeVar("Found")


class ByName(dict[bytes, Found], Generic[Found]):
    """A function of field names whose results are cached in a dict."""

    def __init__(self, find: Callable[[bytes], Found]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, name: bytes) -> Found:
        found = self._find(name)
        if len(self) < MAXIMUM_REMEMBERED and len(name) <= MAXIMUM_REMEMBERED_LENGTH:
            self[name] = found
        return found


def fold(name: bytes) -> bytes:
    """Return the name in the form for comparisons: its letters and digits, in lower case."""
    return name.translate(_LOWER, _ODD)


def fold_all(names: Iterable[bytes]) -> frozenset[bytes]:
    """Return each of the names in the form for comparisons."""
    return frozenset(map(fold, names))


_ALWAYS_REMOVED = fold_all(HOP_BY_HOP | SET_BY_GATEWAY | {_LENGTH})
_REMOVED_BY_DEFAULT = fold_all(MISLEADING)


def is_identity(name: bytes) -> bool:
    """Return whether a field says who asks, in any spelling: only the gateway may send one."""
    return fold(name).startswith(_IDENTITY)


def is_set_by_gateway(name: bytes) -> bool:
    """Return whether the gateway sets the field, in any spelling."""
    return fold(name) in _ALWAYS_REMOVED or is_identity(name)


def is_misleading(name: bytes) -> bool:
    """Return whether a backend may see another request by a field, in any spelling; the gateway does not set these."""
    folded = fold(name)
    return folded in _REMOVED_BY_DEFAULT or (folded.startswith(_FORWARDED) and not is_set_by_gateway(name))


def never_passes(name: bytes, removed: frozenset[bytes], passed: frozenset[bytes]) -> bool:
    """Return whether a client's field does not reach the backend.

    `removed` are names, folded, that a policy or this request removes. `passed` are names in lower case, of the
    misleading ones, that the policy lets pass: in this spelling only.
    """
    if fold(name) in removed or (name != _LENGTH and is_set_by_gateway(name)):
        return True
    return is_misleading(name) and name not in passed


FOLDED = ByName(fold)
"""Each name in the form for comparisons."""
IS_IDENTITY = ByName(is_identity)
