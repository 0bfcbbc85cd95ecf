"""Forward-auth: a proxy asks by a subrequest if a request may pass, and passes it on itself.

Rule 1: the address of the subrequest names the proxy that asks, and each proxy has one place for the original request.
No other place is read: a field that this proxy does not set was set by its client.
Rule 2: if the original request is not there once and completely, the subrequest is refused. So a line that is missing
in a proxy's configuration shows with the first request, not with the first forged one.
Rule 3: only trusted proxies are answered; server/forward_auth.py ensures that. To allow is 200 without content, because
Envoy accepts nothing else.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.core.admission.decision import Authorized, effective_scopes
from gateway.core.http.client_address import ForwardingField, names_client
from gateway.core.http.fields import parse_authority
from gateway.core.http.messages import Field, RequestHead, Response, ResponseHead, single_values
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import MAXIMUM_TARGET_BYTES
from gateway.core.policies.matching import METHOD
from gateway.core.upstream.client_fields import ASSERTION_FIELD
from gateway.core.upstream.forwarding import build_identity_fields

MAXIMUM_CONTENT_IN_FIELD = 2048
"""Content of a refusal that nginx gets as a field: all fields of an answer must fit into its buffer of 4 KiB."""

_METHOD = re.compile(METHOD.pattern.encode())
_ORIGINAL = (b"x-original-method", b"x-original-url", b"x-original-url")
_FORWARDED = (b"x-forwarded-method", b"x-forwarded-host", b"x-forwarded-uri")
"""The fields that have method, host and target."""


class Lacking(msgspec.Struct, frozen=True):
    """A subrequest cannot be used: `what` is missing, repeated or incomplete in it."""

    what: str


class AskingProxy(msgspec.Struct, frozen=True):
    """How one kind of proxy asks, and which answers it understands."""

    read: Callable[[RequestHead, str], RequestHead | Lacking]
    """Finds the original request; the second argument is what follows the proxy's name in the address."""
    takes_401_and_403_only: bool = False
    """Whether the proxy takes every other refusal for an error of its own."""
    removal_field: bytes = b""
    """The field that names fields of the original request to keep from the backend, if the proxy has one."""


def find_proxy(asked: str) -> tuple[AskingProxy, str] | None:
    """Return the proxy that asks, and what follows its name in the address; None for an unknown proxy.

    For Envoy, the whole original target follows.
    """
    name, slash, rest = asked.partition("/")
    proxy = PROXIES.get(name)
    return None if proxy is None else (proxy, slash + rest)


def read_original(
    proxy: AskingProxy, subrequest: RequestHead, rest: str, client_field: ForwardingField = "x-forwarded-for"
) -> RequestHead | Reason | Lacking:
    """Return the request that a subrequest asks about: its credential is the subrequest's own.

    `client_field` is the field in which trusted proxies report the client's address. Return a reason or what is lacking
    if the original request cannot be read.
    """
    if not names_client(subrequest.fields, client_field):
        # Without it all clients would look like one, and a client that guesses tokens would lock out all others.
        return Lacking(client_field)
    original = proxy.read(subrequest, rest)
    if isinstance(original, RequestHead) and len(original.path) + len(original.query) > MAXIMUM_TARGET_BYTES:
        return Reason.TARGET_TOO_LONG
    return original


def build_allowed(proxy: AskingProxy, admission: Authorized, assertion: Sequence[Field] = ()) -> Response:
    """Return the answer that lets a request pass: all identity fields, which tell the backend who asks.

    Fields without a value are sent too, empty: the proxy replaces with them what its client sent.
    """
    policy, record = admission.rule.policy, admission.facts.record
    fields: list[Field] = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
    scopes = effective_scopes(admission.rule, admission.facts) if record else ""
    identity = [*build_identity_fields(record, scopes), *(assertion or ((ASSERTION_FIELD, b""),))]
    if proxy.removal_field:
        fields.append((proxy.removal_field, b",".join(sorted(policy.credential_fields))))
    return Response(ResponseHead(200, fields + identity), b"")


def translate(proxy: AskingProxy, refusal: Response) -> Response:
    """Return the refusal as the proxy understands it.

    If it accepts only 401 and 403, status and content of the real answer are fields, for its configuration to use.
    """
    head, content = refusal.head, refusal.content
    if not proxy.takes_401_and_403_only:
        return refusal
    fields = [*head.fields, (b"x-error-status", b"%d" % head.status)]
    if isinstance(content, bytes) and len(content) <= MAXIMUM_CONTENT_IN_FIELD:
        fields.append((b"x-error-content", content))
    return msgspec.structs.replace(refusal, head=ResponseHead(head.status if head.status == 401 else 403, fields))


def _read_own_line(subrequest: RequestHead, rest: str) -> RequestHead | Lacking:
    """Read Envoy's subrequest: it has the original's method, Host and query, and its path after a prefix."""
    return msgspec.structs.replace(subrequest, path=rest) if rest else Lacking("the original path behind the address")


def _read_original_url(subrequest: RequestHead, rest: str) -> RequestHead | Lacking:
    """Read nginx's subrequest: its configuration sets X-Original-Method and X-Original-URL by convention."""
    said = single_values(subrequest.fields)
    # The client sent the host: it ends at the first slash, and must be a valid one.
    scheme, _, rest_of_url = said.get(b"x-original-url", b"").partition(b"://")
    host, slash, target = rest_of_url.partition(b"/")
    if rest or scheme not in (b"http", b"https"):
        return Lacking("x-original-url")
    return _build_original(subrequest, _ORIGINAL, said.get(b"x-original-method", b""), host, slash + target)


def _read_forwarded(subrequest: RequestHead, rest: str) -> RequestHead | Lacking:
    """Read the subrequest of Caddy or Traefik, which set X-Forwarded-Method, -Host and -Uri by themselves."""
    if rest:
        return Lacking("an address that ends with the name of the proxy")
    said = single_values(subrequest.fields)
    method, host, target = (said.get(name, b"") for name in _FORWARDED)
    return _build_original(subrequest, _FORWARDED, method, host, target)


def _build_original(
    subrequest: RequestHead, names: tuple[bytes, bytes, bytes], method: bytes, host: bytes, target: bytes
) -> RequestHead | Lacking:
    """Build the original request from its parts; `names` are the fields that they come from."""
    named = parse_authority(host, subrequest.scheme)
    path, _, query = target.decode("latin-1").partition("?")
    if _METHOD.fullmatch(method) is None:
        return Lacking(names[0].decode())
    if named is None:
        return Lacking(names[1].decode())
    if not path.startswith("/"):
        return Lacking(names[2].decode())
    return msgspec.structs.replace(
        subrequest, method=method.decode(), path=path, query=query, host=named[0], authority=named[1]
    )


PROXIES: Mapping[str, AskingProxy] = {
    "nginx": AskingProxy(_read_original_url, takes_401_and_403_only=True),
    "caddy": AskingProxy(_read_forwarded),
    "traefik": AskingProxy(_read_forwarded),
    "haproxy": AskingProxy(_read_forwarded),
    "envoy": AskingProxy(_read_own_line, removal_field=b"x-envoy-auth-headers-to-remove"),
}
