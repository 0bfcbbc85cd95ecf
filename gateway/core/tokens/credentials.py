"""Find the one credential of a request, without IO: a missing or malformed one never reaches Redis."""

import base64
import functools
from collections.abc import Callable, Iterable, Mapping

from gateway.core.http.fields import is_of_scheme, parse_basic_password, parse_bearer
from gateway.core.http.messages import Field, Fields
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import USUAL, CredentialSource, Policy, Scheme
from gateway.core.tokens.text import is_well_formed


def find_credential(fields: Fields, policy: Policy) -> str | Reason:
    """Return the token text that the request presents under the policy, or the reason why there is none to look up.

    There must be one credential, once: a second one is ambiguous even if it is equal (RFC 6750 2: a client must not use
    more than one method in a request).
    """
    names = _names_of(policy.credentials)
    presented = [field for field in fields if field[0] in names]
    if len(presented) != 1:
        return Reason.AMBIGUOUS_CREDENTIALS if presented else Reason.MISSING_CREDENTIALS
    name, value = presented[0]
    reason = Reason.MISSING_CREDENTIALS
    for source in policy.credentials:
        if source.field == name:
            text = _PARSERS[source.scheme.value](value)
            if text is not None and is_well_formed(text, policy.token_format):
                return text
            if source.scheme is Scheme.BARE or is_of_scheme(value, source.scheme.value):
                reason = Reason.MALFORMED_CREDENTIALS
    return reason


@functools.lru_cache(maxsize=128)
def _names_of(sources: tuple[CredentialSource, ...]) -> frozenset[bytes]:
    """Return the names of the fields in which a policy looks for the credential."""
    return frozenset(source.field for source in sources)


def build_credential(text: str, source: CredentialSource) -> Field:
    """Return the field that presents a token of ASCII characters; the inverse of `find_credential`."""
    value = text.encode("ascii")
    if source.scheme is Scheme.BEARER:
        value = b"Bearer " + value
    elif source.scheme is Scheme.BASIC:
        value = b"Basic " + base64.b64encode(b"token:" + value)
    return source.field, value


def credential_fields(sources: Iterable[CredentialSource]) -> frozenset[bytes]:
    """Return the names of the fields that can hold a token, if any policy takes one from these sources.

    None of them reaches a backend, whichever of them counts: a client may send its token in another one, too.
    """
    return USUAL.union(source.field for source in sources)


def _parse_bare(value: bytes) -> str | None:
    return value.decode("ascii") if value.isascii() and value.decode("ascii").isprintable() else None


_PARSERS: Mapping[str, Callable[[bytes], str | None]] = {
    Scheme.BEARER: parse_bearer,
    Scheme.BASIC: parse_basic_password,
    Scheme.BARE: _parse_bare,
}
